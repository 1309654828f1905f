package pulumi_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/pulumi"
	"github.com/pregoi/provision-tenant/internal/sandbox/hetzner"
)

func TestSharedStack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.program(t)
	first, second := up(t, p, shared("job-1")), up(t, p, shared("job-2"))
	if first.Servers[0].ID == second.Servers[0].ID {
		t.Errorf("both jobs got server %s", first.Servers[0].ID)
	}
	before := w.Mutations(token)
	again := up(t, p, shared("job-1"))
	want := provision.StackResult{Servers: first.Servers}
	if diff := cmp.Diff(want, again); diff != "" {
		t.Errorf("the same job again (-want +got):\n%s", diff)
	}
	if n := w.Mutations(token) - before; n != 0 {
		t.Errorf("the same job again changed something at Hetzner %d times", n)
	}
	wantNames(t, w, "prego-sg-job-1", "prego-sg-job-2")
	// The second job must not have changed whose the first server is.
	labels := w.Servers(token)[0].Labels
	if labels["job_id"] != "job-1" || labels["tenant_id"] != "tenant-of-job-1" {
		t.Errorf("the first server's labels are %v", labels)
	}
}

func TestDedicatedStack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.program(t)
	acme := dedicated("job-1", "acme")
	result := up(t, p, acme)
	var got []provision.Server
	for i, s := range w.Servers(token) {
		got = append(got, provision.Server{Role: []provision.Role{provision.App, provision.DB, provision.Redis}[i], ID: text(s.ID), IPv4: s.IPv4})
		if len(s.PrivateIPs) != 1 || s.PlacementGroup == 0 || len(s.Firewalls) != 1 {
			t.Errorf("server %s is not in a network, a placement group and a firewall: %+v", s.Name, s)
		}
	}
	slices.SortFunc(got, func(a, b provision.Server) int { return strings.Compare(a.ID, b.ID) })
	have := slices.Clone(result.Servers)
	slices.SortFunc(have, func(a, b provision.Server) int { return strings.Compare(a.ID, b.ID) })
	for i := range got {
		got[i].Role = have[i].Role // Hetzner does not know roles
	}
	if diff := cmp.Diff(got, have); diff != "" {
		t.Errorf("servers (-at Hetzner +result):\n%s", diff)
	}
	wantNames(t, w, "prego-acme-app", "prego-acme-db", "prego-acme-redis")

	before := w.Mutations(token)
	_, err := p.Up(t.Context(), dedicated("job-2", "rival"), acme.StackName())
	if provision.ClassOf(err) != provision.Conflict || !strings.Contains(err.Error(), "acme") {
		t.Errorf("another tenant on the stack: %v, want a conflict that names the owner", err)
	}
	if n := w.Mutations(token) - before; n != 0 {
		t.Errorf("another tenant on the stack changed something at Hetzner %d times", n)
	}
}

func TestFiveJobsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids := map[string]string{}
	names := []string{"job-1", "job-2", "job-3", "job-4", "job-5"}
	for _, name := range names {
		p := w.program(t)
		wg.Go(func() {
			r, err := p.Up(t.Context(), shared(name), "sg")
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ids[name] = r.Servers[0].ID
		})
	}
	wg.Wait()
	want := map[string]string{}
	for _, s := range w.Servers(token) {
		want[strings.TrimPrefix(s.Name, "prego-sg-")] = text(s.ID)
	}
	if diff := cmp.Diff(want, ids); diff != "" || len(want) != len(names) {
		t.Errorf("servers by job (-at Hetzner +results):\n%s", diff)
	}
	for call, n := range w.Calls() {
		if strings.HasPrefix(call, "DELETE ") && n > 0 {
			t.Errorf("%s was called %d times", call, n)
		}
	}
	// Whoever comes next sees them all: nothing of the state was lost.
	before := w.Mutations(token)
	for _, name := range names {
		if r := up(t, w.program(t), shared(name)); r.Servers[0].ID != ids[name] {
			t.Errorf("%s has server %s now, had %s", name, r.Servers[0].ID, ids[name])
		}
	}
	if n := w.Mutations(token) - before; n != 0 {
		t.Errorf("the same jobs again changed something at Hetzner %d times", n)
	}
}

func TestPreview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.program(t)
	job := dedicated("job-1", "acme")
	plan, err := p.Preview(t.Context(), job, job.StackName())
	if err != nil {
		t.Fatal(err)
	}
	servers := 0
	for _, c := range plan.Changes {
		if c.Op != provision.Create {
			t.Errorf("planned for a new stack: %s", c)
		}
		if c.Type == "hcloud:index/server:Server" {
			servers++
		}
	}
	if servers != 3 || plan.Servers != nil {
		t.Errorf("plan of a new stack has %d servers to make and knows %v, want 3 and none", servers, plan.Servers)
	}
	if left := files(t, w.backend); len(left) > 0 {
		t.Errorf("the plan left in the backend: %v", left)
	}
	result := up(t, p, job)
	had := files(t, w.backend)
	plan, err = p.Preview(t.Context(), job, job.StackName())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(provision.StackPlan{Servers: result.Servers}, plan); diff != "" {
		t.Errorf("plan of what is there (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(had, files(t, w.backend)); diff != "" {
		t.Errorf("the plan changed the backend (-before +after):\n%s", diff)
	}
}

func TestWithoutCapacity(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.program(t)
	w.SetUnavailable("cpx22", "sin", true)
	result, err := p.Up(t.Context(), shared("job-1"), "sg")
	if provision.ClassOf(err) != provision.NoCapacity {
		t.Fatalf("Up: %v (%s), want no_capacity", err, provision.ClassOf(err))
	}
	if !strings.Contains(err.Error(), "node-job-1") || !strings.Contains(err.Error(), "firewall") {
		t.Errorf("Up: %q names neither what failed nor what had been made", err)
	}
	if len(result.Changes) == 0 || strings.Contains(err.Error(), "may exist") {
		t.Errorf("Up: %v and %v, want what had been made, and nothing that may exist", err, result.Changes)
	}
	if e := (*provision.Error)(nil); !errors.As(err, &e) || e.RequestID == "" || strings.Count(err.Error(), e.RequestID) != 1 {
		t.Errorf("Up: %q does not name the request once", err)
	}
	w.SetUnavailable("cpx22", "sin", false)
	up(t, p, shared("job-1"))
	wantNames(t, w, "prego-sg-job-1")
}

// TestFailedAction has Hetzner make a server that then does not start.
func TestFailedAction(t *testing.T) {
	t.Parallel()
	for code, class := range map[string]provision.Class{"action_failed": provision.Internal, "server_error": provision.Busy} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.FailActions("create_server", code, "the host is on fire")
			result, err := w.program(t).Up(t.Context(), shared("job-1"), "sg")
			if provision.ClassOf(err) != class {
				t.Fatalf("Up: %v (%s), want %s", err, provision.ClassOf(err), class)
			}
			says := fmt.Sprintf("node-job-1: the host is on fire (%s, ", code)
			if !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "occurred") {
				t.Errorf("Up: %q, want %q", err, says)
			}
			if id := text(w.Servers(token)[0].ID); !strings.Contains(err.Error(), "may exist: hcloud:index/server:Server node-job-1 (id "+id+")") {
				t.Errorf("Up: %q does not name server %s", err, id)
			}
			if made := (provision.Change{Op: provision.Create, Type: "hcloud:index/server:Server", Name: "node-job-1"}); !slices.Contains(result.Changes, made) {
				t.Errorf("changes %v do not name the server", result.Changes)
			}
			failed := slices.IndexFunc(w.progress, func(p pulumi.Progress) bool { return p.Doing == pulumi.Failed })
			if failed < 0 || !strings.HasPrefix(w.progress[failed].Text, "the host is on fire") {
				t.Errorf("progress %v does not say why", w.progress)
			}
		})
	}
}

func TestRefusedByHetzner(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options hetzner.Options
		token   string
		class   provision.Class
		next    string
	}{
		"full project":  {hetzner.Options{MaxServers: 1}, token, provision.NoCapacity, "limit"},
		"wrong token":   {hetzner.Options{}, "another-token-of-nobody", provision.Denied, "HCLOUD_TOKEN"},
		"reading token": {hetzner.Options{}, "reading-token", provision.Denied, "HCLOUD_TOKEN"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.options.Tokens = map[string]hetzner.Token{token: {Project: "p"}, "reading-token": {Project: "p", ReadOnly: true}}
			w := newWorldOf(t, test.options)
			p := w.program(t)
			p.HCloudToken = test.token
			job := dedicated("job-1", "acme")
			_, err := p.Up(t.Context(), job, job.StackName())
			if provision.ClassOf(err) != test.class || !strings.Contains(provision.NextAction(err), test.next) {
				t.Errorf("Up: %v (%s; %s), want %s and advice on %s", err, provision.ClassOf(err), provision.NextAction(err), test.class, test.next)
			}
			if err != nil && strings.Contains(err.Error(), test.token) {
				t.Errorf("Up: %q holds the token", err)
			}
		})
	}
}

func TestWithoutPlugin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.program(t)
	p.Path = "/usr/bin:/bin"
	_, err := p.Up(t.Context(), shared("job-1"), "sg")
	if provision.ClassOf(err) != provision.Invalid || !strings.Contains(err.Error(), "hcloud") {
		t.Errorf("Up: %v (%s), want invalid, naming the plugin", err, provision.ClassOf(err))
	}
}

func TestNoProgram(t *testing.T) {
	t.Parallel()
	_, err := (&pulumi.Program{}).Up(t.Context(), shared("job-1"), "sg")
	if e := (*provision.Error)(nil); !errors.As(err, &e) || e.Class != provision.Invalid {
		t.Errorf("Up: %v, want invalid", err)
	}
}

func wantNames(t *testing.T, w *world, want ...string) {
	t.Helper()
	got := w.Names(token)["servers"]
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("servers at Hetzner (-want +got):\n%s", diff)
	}
}

// files lists what is in a backend, but for the marks of its own that it makes when looked at.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.Contains(path, "meta.yaml") {
			list = append(list, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

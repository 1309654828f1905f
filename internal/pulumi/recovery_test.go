package pulumi_test

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/pulumi"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// at calls one of two once, when the first server is asked for: before, in place of the
// effect, or after it.
func (w *world) at(before, after func()) {
	var done atomic.Bool
	w.Faults.Set(func(r *http.Request) standin.Action {
		if r.Method != "POST" || !strings.HasSuffix(r.URL.Path, "/servers") || done.Swap(true) {
			return standin.Action{}
		}
		if before != nil {
			return standin.Action{Before: before, Status: http.StatusServiceUnavailable}
		}
		return standin.Action{After: after}
	})
}

// pulumis returns the processes that p has started, by looking for its private folder.
func pulumis(p *pulumi.Program) []int {
	var list []int
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		env, err := os.ReadFile(file)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && bytes.Contains(env, []byte("PULUMI_HOME="+p.TempDir)) {
			list = append(list, pid)
		}
	}
	return list
}

func kill(p *pulumi.Program) func() {
	return func() {
		for _, pid := range pulumis(p) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func TestKilled(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ before bool }{"before the effect": {true}, "after the effect": {false}} {
		for kind, job := range map[string]provision.Job{"shared": shared("job-1"), "dedicated": dedicated("job-1", "acme")} {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				p := w.program(t)
				if test.before {
					w.at(kill(p), nil)
				} else {
					w.at(nil, kill(p))
				}
				result, err := p.Up(t.Context(), job, job.StackName())
				if provision.ClassOf(err) != provision.Internal {
					t.Fatalf("Up: %v, though pulumi was killed", err)
				}
				if !strings.Contains(err.Error(), "; may exist: hcloud:index/server:Server ") || len(result.Changes) == 0 {
					t.Errorf("Up: %v and %v, want the servers that may exist and what was made before", err, result.Changes)
				}
				if left := pulumis(p); len(left) > 0 {
					t.Errorf("processes %v were left", left)
				}
				result = up(t, w.program(t), job)
				if job.Dedicated {
					wantNames(t, w, "prego-acme-app", "prego-acme-db", "prego-acme-redis")
				} else {
					wantNames(t, w, "prego-sg-job-1")
				}
				if want := len(w.Servers(token)); len(result.Servers) != want {
					t.Errorf("result has %d servers, there are %d", len(result.Servers), want)
				}
				before := w.Mutations(token)
				up(t, w.program(t), job)
				if n := w.Mutations(token) - before; n != 0 {
					t.Errorf("the same job again changed something at Hetzner %d times", n)
				}
			})
		}
	}
}

func TestLostAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var lost atomic.Bool
	w.Faults.Set(func(r *http.Request) standin.Action {
		first := r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/servers") && lost.CompareAndSwap(false, true)
		return standin.Action{Lose: first}
	})
	up(t, w.program(t), shared("job-1"))
	wantNames(t, w, "prego-sg-job-1")
	if !lost.Load() {
		t.Error("no answer was lost")
	}
}

func TestNameIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, _, err := w.client.Server.Create(t.Context(), hcloud.ServerCreateOpts{Name: "prego-sg-job-1",
		ServerType: &hcloud.ServerType{Name: "cpx22"}, Image: &hcloud.Image{Name: "debian-12"}, Location: &hcloud.Location{Name: "sin"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.program(t).Up(t.Context(), shared("job-1"), "sg")
	if provision.ClassOf(err) != provision.Conflict {
		t.Errorf("Up: %v, want a conflict: the server is not ours", err)
	}
	wantNames(t, w, "prego-sg-job-1")
}

func TestCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.SetActionTime(3 * time.Second)
	p := w.program(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.at(nil, cancel)
	start := make(chan time.Time, 1)
	context.AfterFunc(ctx, func() { start <- time.Now() })
	_, err := p.Up(ctx, shared("job-1"), "sg")
	if took := time.Since(<-start); took > 7*time.Second {
		t.Errorf("Up ended %v after it was cancelled", took)
	}
	if provision.ClassOf(err) != provision.Cancelled {
		t.Errorf("Up: %v (%s), want cancelled", err, provision.ClassOf(err))
	}
	if left := pulumis(p); len(left) > 0 {
		t.Errorf("processes %v were left", left)
	}
	w.SetActionTime(0)
	up(t, p, shared("job-1"))
	wantNames(t, w, "prego-sg-job-1")
}

// TestStoppedJob stops a job while its server is being made. That server is recorded as
// unfinished; other jobs on the stack are to go on all the same, and to leave it alone,
// also when somebody has removed it at Hetzner.
func TestStoppedJob(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]func(p *pulumi.Program, serverType string){
		"built in": func(*pulumi.Program, string) {},
		"careless": func(p *pulumi.Program, serverType string) { p.Inline = careless(serverType, "ubuntu-24.04", every) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.SetActionTime(3 * time.Second)
			p := w.program(t)
			p.Grace = time.Minute // it is not to be killed, however slow the machine
			of(p, "cpx22")
			ctx, cancel := context.WithCancel(t.Context())
			w.Faults.Set(func(r *http.Request) standin.Action {
				if strings.HasSuffix(r.URL.Path, "/actions") { // so it has been told the server's id
					cancel()
				}
				return standin.Action{}
			})
			stopped, err := p.Up(ctx, shared("job-1"), "sg")
			if provision.ClassOf(err) != provision.Cancelled || len(w.Servers(token)) != 1 {
				t.Fatalf("Up: %v (%s) with servers %v, want cancelled and one", err, provision.ClassOf(err), w.Servers(token))
			}
			first := w.Servers(token)[0]
			made := provision.Change{Op: provision.Create, Type: "hcloud:index/server:Server", Name: "node-job-1"}
			if says := "; may exist: hcloud:index/server:Server node-job-1 (id " + text(first.ID) + ")"; !strings.Contains(err.Error(), says) {
				t.Errorf("Up: %q does not say %q", err, says)
			}
			if !slices.Contains(stopped.Changes, made) {
				t.Errorf("changes %v do not name the server", stopped.Changes)
			}

			w.SetActionTime(0)
			var touched atomic.Int64
			w.Faults.Set(func(r *http.Request) standin.Action {
				if r.Method != "GET" && strings.Contains(r.URL.Path, "/servers/"+text(first.ID)) {
					touched.Add(1)
				}
				return standin.Action{}
			})
			before := w.Mutations(token)
			of(p, "cpx32") // which the unfinished server is not to become
			second := up(t, p, shared("job-2"))
			of(p, "cpx22")
			if slices.ContainsFunc(second.Changes, func(c provision.Change) bool { return c.Name == "node-job-1" }) {
				t.Errorf("the second job's changes %v name the first job's server", second.Changes)
			}
			if n := w.Mutations(token) - before; n != 1 || touched.Load() != 0 {
				t.Errorf("the second job changed %d things at Hetzner, %d of them of the first server, want its own server alone", n, touched.Load())
			}
			if name == "careless" { // whose second server would be resized by the next job
				return
			}
			result := up(t, p, shared("job-1"))
			if !slices.Contains(result.Changes, provision.Change{Op: provision.Update, Type: made.Type, Name: made.Name}) {
				t.Errorf("the first job's changes %v do not finish its server", result.Changes)
			}
			if got := result.Servers[0]; got.ID != text(first.ID) || got.IPv4 != first.IPv4 {
				t.Errorf("the first job has server %+v, want %+v", got, first)
			}
			if n := w.Mutations(token) - before; n != 1 || len(w.Servers(token)) != 2 {
				t.Errorf("both jobs changed %d things at Hetzner, and there are servers %v", n, w.Servers(token))
			}
			again := up(t, w.program(t), shared("job-2"))
			if diff := cmp.Diff(provision.StackResult{Servers: second.Servers}, again); diff != "" {
				t.Errorf("the second job again (-want +got):\n%s", diff)
			}
		})
	}
}

// TestUnfinishedIsGone removes a server whose making was cut short.
func TestUnfinishedIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.FailActions("create_server", "action_failed", "the host is on fire")
	if _, err := w.program(t).Up(t.Context(), shared("job-1"), "sg"); err == nil {
		t.Fatal("Up succeeded, though Hetzner failed")
	}
	w.FailActions("create_server", "", "")
	if _, _, err := w.client.Server.DeleteWithResult(t.Context(), &hcloud.Server{ID: w.Servers(token)[0].ID}); err != nil {
		t.Fatal(err)
	}
	up(t, w.program(t), shared("job-2"))
	up(t, w.program(t), shared("job-3"))
	wantNames(t, w, "prego-sg-job-2", "prego-sg-job-3")
}

// TestParentIsKilled kills the process that runs Up, as the runner does with a container
// that does not end, and lets pulumi finish by itself.
func TestParentIsKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.SetActionTime(time.Second)
	p := w.program(t)
	child := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
	child.Env = append(os.Environ(), "CHILD_BACKEND="+w.backend, "CHILD_URL="+w.url, "CHILD_TEMP="+p.TempDir)
	asked, killed := make(chan bool), make(chan bool)
	w.at(nil, func() { close(asked); <-killed })
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-asked:
	case <-time.After(time.Minute):
		t.Error("the child never asked for a server")
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	close(killed)
	again := w.program(t) // at once: the one that was orphaned is still at it
	up(t, again, shared("job-1"))
	wantNames(t, w, "prego-sg-job-1")
	if entries, _ := os.ReadDir(p.TempDir); len(entries) != 1 {
		t.Errorf("%d private folders were left, want 1", len(entries))
	}
	again.TempDir = p.TempDir
	up(t, again, shared("job-1"))
	if entries, _ := os.ReadDir(p.TempDir); len(entries) != 0 {
		t.Errorf("%d private folders were not swept up", len(entries))
	}
	if entries, _ := os.ReadDir(filepath.Join(w.backend, ".pulumi", "prego-leases")); len(entries) != 0 {
		t.Errorf("%d leases were not swept up", len(entries))
	}
}

// TestChild is the process that TestParentIsKilled kills.
func TestChild(t *testing.T) {
	if os.Getenv("CHILD_BACKEND") == "" {
		t.Skip("runs only as a child of TestParentIsKilled")
	}
	w := &world{backend: os.Getenv("CHILD_BACKEND"), url: os.Getenv("CHILD_URL")}
	p := w.program(t)
	p.Find, p.TempDir = nil, os.Getenv("CHILD_TEMP")
	up(t, p, shared("job-1"))
}

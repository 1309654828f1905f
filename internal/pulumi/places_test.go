package pulumi_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/pulumi"
	"github.com/pregoi/provision-tenant/internal/sandbox/hetzner"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// ordered are the places of these types at these locations, which are lists such as "nbg1 fsn1".
func ordered(locations, types string) []provision.Place {
	return provision.Order{Locations: strings.Fields(locations), Types: strings.Fields(types)}.Places()
}

func sharedEU(id string) provision.Job {
	j := shared(id)
	j.Region = placement.EU
	return j
}

// where are the servers with their types and locations, sorted.
func (w *world) where() []string {
	var list []string
	for _, s := range w.Servers(token) {
		list = append(list, s.Name+": "+s.Type+" at "+s.Location)
	}
	slices.Sort(list)
	return list
}

// wantWhere checks them, and that the job run again changes nothing.
func (w *world) wantWhere(t *testing.T, p *pulumi.Program, j provision.Job, places []provision.Place, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, w.where()); diff != "" {
		t.Errorf("servers (-want +got):\n%s", diff)
	}
	before := w.Mutations(token)
	if _, err := p.Up(t.Context(), j, j.StackName(), places...); err != nil {
		t.Errorf("the same job again: %v", err)
	}
	if n := w.Mutations(token) - before; n != 0 {
		t.Errorf("the same job again changed %d things", n)
	}
}

// notes is what was said beside what happened to resources.
func (w *world) notes() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var texts []string
	for _, p := range w.progress {
		if p.Doing == pulumi.Noted {
			texts = append(texts, p.Text)
		}
	}
	return strings.Join(texts, "\n")
}

// TestElsewhere has Hetzner refuse what its catalogue says is there, until a place has room.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		job    provision.Job
		places []provision.Place
		full   []string // types at locations
		want   []string
		says   string
	}{
		"the next location": {sharedEU("job-1"), ordered("nbg1 fsn1", "cpx22 cx33"), []string{"cpx22 nbg1"},
			[]string{"prego-eu-job-1: cpx22 at fsn1"}, "Hetzner has no room for node-job-1: cpx22 at nbg1 (resource_unavailable); trying cpx22 at fsn1"},
		"the next type, when no location has the first": {sharedEU("job-1"), ordered("nbg1 fsn1", "cpx22 cx33"), []string{"cpx22 nbg1", "cpx22 fsn1"},
			[]string{"prego-eu-job-1: cx33 at nbg1"}, "trying cx33 at nbg1"},
		"what is made stays where it is": {dedicated("job-1", "acme"),
			provision.Order{Locations: []string{"nbg1", "fsn1"}, Types: []string{"cpx22"}, DBTypes: []string{"ccx13"}}.Places(), []string{"ccx13 nbg1"},
			nil, "Hetzner has no room for db: ccx13 at nbg1 (resource_unavailable); trying cpx22 and ccx13 at fsn1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for _, f := range test.full {
				kind, location, _ := strings.Cut(f, " ")
				w.SetFull(kind, location, true)
			}
			p := w.program(t)
			result, err := p.Up(t.Context(), test.job, test.job.StackName(), test.places...)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(w.notes(), test.says) {
				t.Errorf("notes %q, want %q", w.notes(), test.says)
			}
			if test.want == nil { // three at once: the others may have been in time at the first place, or not
				got := w.where()
				if len(got) != 3 || len(result.Servers) != 3 || !strings.HasPrefix(got[1], "prego-acme-db: ccx13 at fsn1") ||
					!strings.Contains(got[0], "-app: cpx22 at ") || !strings.Contains(got[2], "-redis: cpx22 at ") {
					t.Errorf("servers %q", got)
				}
				test.want = got
			}
			w.wantWhere(t, p, test.job, test.places, test.want...)
		})
	}
}

// TestNowhere names every place that was tried.
func TestNowhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.program(t)
	w.SetFull("cpx22", "nbg1", true)
	w.SetFull("cpx22", "fsn1", true)
	j := sharedEU("job-1")
	result, err := p.Up(t.Context(), j, "eu", ordered("nbg1 fsn1", "cpx22")...)
	if provision.ClassOf(err) != provision.NoCapacity {
		t.Fatalf("Up: %v (%s), want no_capacity", err, provision.ClassOf(err))
	}
	const tried = "tried: node-job-1: cpx22 at nbg1 (resource_unavailable), node-job-1: cpx22 at fsn1 (resource_unavailable)"
	if !strings.Contains(err.Error(), tried) || !strings.Contains(err.Error(), "kept: ") || len(result.Changes) == 0 {
		t.Errorf("Up: %v and %v, want %q and what was made", err, result.Changes, tried)
	}
	w.SetFull("cpx22", "fsn1", false)
	up(t, p, j, ordered("nbg1 fsn1", "cpx22")...)
	// Another job is told another place: what is there is not touched, wherever it is.
	up(t, p, sharedEU("job-2"), ordered("hel1", "cx33")...)
	w.wantWhere(t, p, j, ordered("nbg1 fsn1", "cpx22"), "prego-eu-job-1: cpx22 at fsn1", "prego-eu-job-2: cx33 at hel1")
}

// TestFullProject is not helped by another place.
func TestFullProject(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, hetzner.Options{MaxServers: 1, Tokens: map[string]hetzner.Token{token: {Project: "p"}}})
	p := w.program(t)
	up(t, p, sharedEU("job-1"))
	_, err := p.Up(t.Context(), sharedEU("job-2"), "eu", ordered("nbg1 fsn1", "cpx22")...)
	if provision.ClassOf(err) != provision.NoCapacity || !strings.Contains(err.Error(), "resource_limit_exceeded") || strings.Contains(w.notes(), "trying") {
		t.Errorf("Up: %v; notes %q", err, w.notes())
	}
}

// TestElsewhereYAML asks a repository's program, which may take the choice or not.
func TestElsewhereYAML(t *testing.T) {
	t.Parallel()
	t.Run("takes it", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.SetFull("cx33", "nbg1", true)
		p := w.yaml(t)
		places := ordered("nbg1 fsn1", "cx33")
		up(t, p, sharedEU("job-1"), places...)
		w.wantWhere(t, p, sharedEU("job-1"), places, "prego-eu-job-1: cx33 at fsn1")
	})
	t.Run("does not", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.SetFull("cpx22", "nbg1", true)
		p := w.program(t)
		p.Inline = careless("cpx22", "ubuntu-24.04", every)
		_, err := p.Up(t.Context(), sharedEU("job-1"), "eu", ordered("fsn1 hel1", "cx33")...)
		if provision.ClassOf(err) != provision.NoCapacity || !strings.Contains(err.Error(), "does not take prego:server_location") ||
			!strings.Contains(err.Error(), "cpx22 at nbg1 where cx33 at fsn1 was chosen") {
			t.Errorf("Up: %v (%s)", err, provision.ClassOf(err))
		}
	})
}

// TestKilledElsewhere kills pulumi around the request at the second place, before it has an
// effect and after it, and runs the job again.
func TestKilledElsewhere(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]bool{"before": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.SetFull("cpx22", "nbg1", true)
			p := w.program(t)
			var orders atomic.Int32
			w.Faults.Set(func(r *http.Request) standin.Action {
				if r.Method != http.MethodPost || r.URL.Path != "/v1/servers" || orders.Add(1) != 2 {
					return standin.Action{}
				}
				if after {
					return standin.Action{After: kill(p), Lose: true}
				}
				return standin.Action{Before: kill(p), Status: http.StatusServiceUnavailable, Lose: true}
			})
			j, places := sharedEU("job-1"), ordered("nbg1 fsn1 hel1", "cpx22")
			if _, err := p.Up(t.Context(), j, "eu", places...); err == nil {
				t.Fatal("Up went well, though pulumi was killed")
			}
			if orders.Load() != 2 || !strings.Contains(w.notes(), "trying cpx22 at fsn1") {
				t.Errorf("%d servers were asked for; notes %q", orders.Load(), w.notes())
			}
			w.SetFull("cpx22", "nbg1", after) // once more, and once with room where there was none
			up(t, p, j, places...)
			want := "prego-eu-job-1: cpx22 at nbg1"
			if after {
				want = "prego-eu-job-1: cpx22 at fsn1"
			}
			w.wantWhere(t, p, j, places, want)
		})
	}
}

// TestStoppedBetweenPlaces stops the job when the first place has refused it.
func TestStoppedBetweenPlaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.SetFull("cpx22", "nbg1", true)
	p := w.program(t)
	ctx, cancel := context.WithCancel(t.Context())
	show := p.Progress
	p.Progress = func(pr pulumi.Progress) {
		show(pr)
		if strings.Contains(pr.Text, "trying cpx22 at fsn1") {
			cancel()
		}
	}
	j, places := sharedEU("job-1"), ordered("nbg1 fsn1", "cpx22")
	if _, err := p.Up(ctx, j, "eu", places...); provision.ClassOf(err) != provision.Cancelled || len(w.Servers(token)) != 0 {
		t.Fatalf("Up: %v (%s), and %q", err, provision.ClassOf(err), w.where())
	}
	up(t, p, j, places...)
	w.wantWhere(t, p, j, places, "prego-eu-job-1: cpx22 at fsn1")
}

package sandbox

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// A journey is one kind of placement, from a job to a tenant.
type journey struct {
	name string
	tier placement.Tier
	// before makes the world that leads to the placement; nil for an empty one.
	before func(t *testing.T, s *Sandbox)
	want   expectation
	kills  func(call) bool // which calls it is killed at
	// alone is for a journey whose tenants share what the first of them made: each starts
	// in a world of its own, or it would not do what the undisturbed one does.
	alone bool
}

// TestKilledAnywhere kills the action before and after each call that changes something,
// runs the same job again, and compares what there is then with an undisturbed run's.
func TestKilledAnywhere(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes: the real engine, killed at every call")
	}
	all := func(call) bool { return true }
	// What comes after the servers is the same for a dedicated tenant as for a shared one.
	servers := func(c call) bool {
		return strings.Contains(string(c), " /v1/") || strings.HasSuffix(string(c), "/internal/nodes")
	}
	for _, j := range []journey{
		{"dedicated", placement.Enterprise, nil, expectation{placement.DedicatedTier, 3, true}, servers, false},
		{"shared", placement.Basic, nil, expectation{placement.NoNodesInRegion, 1, true}, all, true},
		{"existing", placement.Basic, addNode, expectation{placement.ExistingNodeSelected, 0, false}, all, false},
	} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/after=%t", j.name, after), func(t *testing.T) {
				t.Parallel()
				s, k := startWithKiller(t)
				undisturbed := s.travel(t, j, j.name+"-u", k, point{})
				_, calls := k.verdict()
				t.Logf("%d calls that change something: %s", len(calls), calls)
				came := map[call]int{}
				for i, c := range calls {
					came[c]++
					if !j.kills(c) {
						continue
					}
					p := point{c, came[c], after}
					t.Run(p.String(), func(t *testing.T) {
						s, k := s, k
						if j.alone {
							s, k = startWithKiller(t)
						}
						got := s.travel(t, j, fmt.Sprintf("%s-%d", j.name, i), k, p)
						if d := cmp.Diff(undisturbed, got); d != "" {
							t.Errorf("an undisturbed run (-) and one that was killed and run again (+) differ:\n%s", d)
						}
					})
				}
			})
		}
	}
}

// startWithKiller starts a sandbox whose action can be killed.
func startWithKiller(t *testing.T) (*Sandbox, *killer) {
	k := &killer{}
	s := startSandbox(t, Options{Started: k.started, Wrap: func(name string, h http.Handler) http.Handler {
		if name == "github" {
			return h
		}
		f := &standin.Faults{}
		f.Set(k.decide)
		return f.Wrap(h)
	}})
	return s, k
}

// travel provisions a tenant, lets k kill its action at a call, runs the job again, and
// returns what there is of it in the end, without names and numbers that differ from
// tenant to tenant.
func (s *Sandbox) travel(t *testing.T, j journey, tenantID string, k *killer, p point) []string {
	t.Helper()
	if j.before != nil {
		j.before(t, s)
	}
	k.begin(p)
	before := s.Hetzner.Names(s.hetznerToken)
	accepted, err := s.Client.Enqueue(t.Context(), controlplane.Order{TenantID: tenantID, Tier: j.tier, Region: placement.SG, Slug: tenantID})
	if err != nil {
		t.Fatal(err)
	}
	run := s.runOf(t, accepted.JobID)
	if _, err := s.GitHub.Wait(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	killed, made := k.verdict()
	if killed {
		if err := s.GitHub.Rerun(run); err != nil {
			t.Fatal(err)
		}
		if _, err := s.GitHub.Wait(t.Context(), run); err != nil {
			t.Fatal(err)
		}
	} else if p.nth > 0 && !strings.HasSuffix(string(p.call), "/trace-events") { // several events may go in one call
		t.Errorf("the run was never killed: it made only the calls %s", made)
	}
	state := []string{}
	for _, f := range s.readBack(t.Context(), tenantID, accepted.JobID, &j.want) {
		if f.wrong != "" {
			t.Errorf("%s %q: %s", f.name, f.value, f.wrong)
		}
		state = append(state, f.name)
	}
	if t.Failed() {
		r, _ := s.GitHub.Run(run)
		t.Logf("log of the last attempt:\n%s", r.Log)
	}
	// Everything that is new at Hetzner, under the names of this tenant and job.
	now := s.Hetzner.Names(s.hetznerToken)
	for _, kind := range []string{"servers", "networks", "firewalls", "placement_groups"} {
		for _, name := range now[kind] {
			if !slices.Contains(before[kind], name) {
				name = strings.ReplaceAll(name, tenantID, "TENANT")
				name = strings.ReplaceAll(name, provision.Job{ID: accepted.JobID}.NodeKey(), "JOB")
				state = append(state, kind+" "+name)
			}
		}
	}
	return state
}

// runOf returns the run that the control plane started for a job.
func (s *Sandbox) runOf(t *testing.T, jobID string) int64 {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		job, err := s.Client.Job(t.Context(), jobID)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := strconv.ParseInt(job.RunID, 10, 64); err == nil {
			return id
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
	t.Fatalf("job %s was never dispatched", jobID)
	return 0
}

// addNode makes the control plane know a shared node with room, at a server that is there.
func addNode(t *testing.T, s *Sandbox) {
	t.Helper()
	nodes, err := s.Client.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(nodes) == 0 {
		s.travel(t, journey{tier: placement.Free, want: expectation{placement.NoNodesInRegion, 1, true}}, "first", &killer{}, point{})
	}
	if err := s.pushMetrics(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// startSandbox starts a sandbox that ends with the test.
func startSandbox(t *testing.T, o Options) *Sandbox {
	t.Helper()
	o.Progress = func(text string) { t.Log(text) }
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

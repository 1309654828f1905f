package sandbox

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// A killer kills the action's process, and all that it has started, at one request that
// changes something: before it has its effect, or after it and without an answer.
type killer struct {
	mu    sync.Mutex
	pid   int      // of the action; 0 between runs
	calls []string // that changed something, since begin
	at    int      // the index of the call to kill at; -1 for none
	after bool
	dead  bool // it has killed
}

func (k *killer) begin(at int, after bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls, k.at, k.after, k.dead = nil, at, after, false
}

// verdict says whether it has killed, and which calls were made; it kills no more.
func (k *killer) verdict() (killed bool, calls []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at = -1
	return k.dead, slices.Clone(k.calls)
}

func (k *killer) started(_ int64, pid int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pid = pid
}

// decide is asked about every request to Hetzner, Cloudflare and the control plane.
func (k *killer) decide(r *http.Request) standin.Action {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return standin.Action{}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead && !alive(k.pid) {
		// It left the dead process before it was killed: as if it never had.
		return standin.Action{Status: http.StatusServiceUnavailable, Lose: true}
	}
	k.calls = append(k.calls, r.Method+" "+r.URL.Path)
	if len(k.calls)-1 != k.at {
		return standin.Action{}
	}
	k.dead = true
	kill := func() { killTree(k.pid) }
	if k.after {
		return standin.Action{After: kill, Lose: true}
	}
	return standin.Action{Before: kill, Status: http.StatusServiceUnavailable, Lose: true}
}

// killTree kills a process and all its descendants, as the end of a container does.
func killTree(pid int) {
	for _, p := range descendants(pid) {
		_ = syscall.Kill(p, syscall.SIGKILL)
	}
}

// descendants returns pid and every process below it.
func descendants(pid int) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state ppid: the name may hold anything.
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		parent, _ := strconv.Atoi(fields[1])
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		children[parent] = append(children[parent], child)
	}
	list := []int{pid}
	for i := 0; i < len(list); i++ {
		list = append(list, children[list[i]]...)
	}
	return list
}

func alive(pid int) bool { return pid != 0 && syscall.Kill(pid, 0) == nil }

// A journey is one kind of placement, from a job to a tenant.
type journey struct {
	name string
	tier placement.Tier
	// before makes the world that leads to the placement; nil for an empty one.
	before func(t *testing.T, s *Sandbox)
	want   expectation
	kills  func(call string) bool // which calls it is killed at
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
	hetznerCall := func(call string) bool { return strings.Contains(call, " /v1/") }
	for _, j := range []journey{
		{"dedicated", placement.Enterprise, nil, expectation{placement.DedicatedTier, 3, true}, hetznerCall, false},
		{"shared", placement.Basic, nil, expectation{placement.NoNodesInRegion, 1, true},
			func(call string) bool { return hetznerCall(call) || strings.HasSuffix(call, "/internal/nodes") }, true},
		{"existing", placement.Basic, addNode, expectation{placement.ExistingNodeSelected, 0, false},
			func(string) bool { return true }, false},
	} {
		for _, after := range []bool{false, true} {
			when := map[bool]string{false: "before", true: "after"}[after]
			t.Run(j.name+"/"+when, func(t *testing.T) {
				t.Parallel()
				s, k := startWithKiller(t)
				undisturbed := s.travel(t, j, j.name+"-u", k, -1, after)
				_, calls := k.verdict()
				t.Logf("%d calls that change something: %s", len(calls), strings.Join(calls, ", "))
				for at, call := range calls {
					if !j.kills(call) {
						continue
					}
					t.Run(fmt.Sprintf("%d %s", at, strings.ReplaceAll(call, "/", "_")), func(t *testing.T) {
						s, k := s, k
						if j.alone {
							s, k = startWithKiller(t)
						}
						got := s.travel(t, j, fmt.Sprintf("%s-%d", j.name, at), k, at, after)
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
	k := &killer{at: -1}
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
func (s *Sandbox) travel(t *testing.T, j journey, tenantID string, k *killer, at int, after bool) []string {
	t.Helper()
	if j.before != nil {
		j.before(t, s)
	}
	k.begin(at, after)
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
	} else if at >= 0 {
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
		s.travel(t, journey{tier: placement.Free, want: expectation{placement.NoNodesInRegion, 1, true}}, "first", &killer{}, -1, false)
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

package sandbox

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// What a cancelled run has to keep to, from its SIGINT. GitHub kills it 10 s after that.
const (
	mayStart = 100 * time.Millisecond // for an effect that was on its way
	mustEnd  = 7 * time.Second
)

// A cut is a place at which a run is cancelled.
type cut struct {
	line  string // when the log says so, or
	call  call   // when this request comes
	after bool   // and has had its effect; else before that
	where string // which stand-in it comes to
	fresh bool   // a new server is to be made; else there is one
	// done is for a cut after which nothing is left to do: the run has gone well.
	done bool
}

func (c cut) String() string {
	when := map[bool]string{false: "before", true: "after"}[c.after]
	if c.line != "" {
		return "at " + strings.TrimPrefix(c.line, "::group::")
	}
	return strings.ReplaceAll(when+" "+string(c.call), "/", "_")
}

// TestCancelEverywhere cancels the action, the first process of a namespace of its own, at
// every step. No effect is begun any more, the job is recorded as cancelled with what
// exists, all is over in time, and the same job run again ends well.
func TestCancelEverywhere(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute: the real engine, cancelled at every step")
	}
	if !mayUnshare() {
		t.Skip("SKIPPED, NOT TESTED: a process may not be given a namespace of its own here (unshare wants root)")
	}
	create := cut{fresh: true, where: "hetzner"}
	with := func(c cut, f func(*cut)) cut { f(&c); return c }
	at := func(call call, after bool) cut {
		return with(create, func(c *cut) { c.call, c.after = call, after })
	}
	lanes := map[string][]cut{
		"engine": {
			at("POST /v1/firewalls", false),   // which the stack's first job makes
			at("GET /v1/server_types", false), // the check before the first step
			with(create, func(c *cut) { c.line = "::group::select_stack" }),
			with(create, func(c *cut) { c.line = "::group::pulumi_up" }),
			at("POST /v1/servers", false),
			at("POST /v1/servers", true),
		},
		"around it": {
			at("PUT /v1/servers/N", false),
			with(create, func(c *cut) { c.where, c.call = "controlplane", "POST /internal/nodes" }),
			with(create, func(c *cut) { c.where, c.call, c.after = "controlplane", "POST /internal/nodes", true }),
			{line: "::group::resolve_node"},
			{where: "controlplane", call: "GET /internal/nodes/hz-sg-N"},
			{where: "cloudflare", call: "POST /client/v4/zones/N/dns_records"},
			{where: "cloudflare", call: "POST /client/v4/zones/N/dns_records", after: true},
			{where: "controlplane", call: "POST /internal/provision-complete", done: true},
			{where: "controlplane", call: "POST /internal/provision-complete", after: true, done: true},
		},
	}
	var took durations
	t.Run("lanes", func(t *testing.T) {
		for name, cuts := range lanes {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				th := newTheatre(t, Options{ServerTime: time.Second})
				for i, c := range cuts {
					t.Run(c.String(), func(t *testing.T) {
						p := th.cast(t, fmt.Sprintf("acme-%d", i+1), placement.Basic)
						p.inputs["create_new_server"], p.inputs["target_server_id"] = "true", ""
						if !c.fresh {
							p.inputs["create_new_server"], p.inputs["target_server_id"] = "false", th.node(t)
						}
						took.add(th.cancelAt(t, p, c))
					})
				}
			})
		}
	})
	took.report(t)
}

// cancelAt runs p, cancels it at c, checks what is left, and runs it again.
func (th *theatre) cancelAt(t *testing.T, p *part, c cut) time.Duration {
	t.Helper()
	before := len(th.Hetzner.Servers(th.hetznerToken))
	w := &witness{}
	var a *acting
	var once sync.Once
	sent := make(chan time.Time, 1)
	cancel := func() { once.Do(func() { sent <- a.signal(t, syscall.SIGINT) }) }
	started := make(chan struct{})
	for name, f := range th.faults {
		f.Set(func(r *http.Request) standin.Action {
			w.see(name, r)
			if name != c.where || c.line != "" || cutCall(r) != c.call {
				return standin.Action{}
			}
			<-started
			hold := func() {
				cancel()
				select { // until who asked has given up, or has stayed on purpose
				case <-r.Context().Done():
				case <-time.After(200 * time.Millisecond):
				}
			}
			if c.after {
				return standin.Action{After: hold}
			}
			return standin.Action{Before: hold}
		})
	}
	defer func() {
		for _, f := range th.faults {
			f.Set(nil)
		}
	}()
	w.watch()
	a = th.act(t, p, true, func(_ *acting, line string) {
		if line == c.line {
			<-started
			cancel()
		}
	})
	close(started)
	status := a.wait(t)
	ended := time.Now()
	late := w.end()
	var at time.Time
	select {
	case at = <-sent:
	default:
		t.Fatalf("the run was never cancelled\n%s", a.log())
	}
	took := ended.Sub(at)
	if took > mustEnd+late {
		t.Errorf("it took %v to end", took)
	}
	for _, e := range w.effects {
		if e.at.After(at.Add(mayStart + late)) {
			t.Errorf("%s came %v after the cancellation", e.call, e.at.Sub(at))
		}
	}
	want, wantStatus := provision.JobCancelled, 130
	if c.done {
		want, wantStatus = provision.JobCompleted, 0
	}
	job, err := th.Client.Job(t.Context(), p.jobID)
	if err != nil || job.Status != want || status != wantStatus {
		t.Errorf("exit status %d and the job is %s (%v), want %d and %s", status, job.Status, err, wantStatus, want)
	}
	if !c.done {
		th.checkCancelled(t, p, a)
	}
	if left := a.remains(); len(left) > 0 {
		t.Errorf("left behind: %s", left)
	}
	if t.Failed() {
		t.Logf("log of the run that was cancelled:\n%s", a.log())
	}
	th.again(t, p)
	made := map[bool]int{true: 1}[c.fresh]
	if n := len(th.Hetzner.Servers(th.hetznerToken)) - before; n != made {
		t.Errorf("%d servers were made in the end, want %d", n, made)
	}
	return took
}

// checkCancelled wants a cancelled run to have said that it was, what exists, and how to go on.
func (th *theatre) checkCancelled(t *testing.T, p *part, a *acting) {
	t.Helper()
	r := a.result(t)
	summary, err := os.ReadFile(a.file("GITHUB_STEP_SUMMARY"))
	if err != nil {
		t.Fatal(err)
	}
	if r.ErrorClass != provision.Cancelled || r.NextAction != "run the same job again: what exists is kept" ||
		!strings.Contains(string(summary), "What exists so far is kept") || !strings.Contains(string(summary), "run the same job again") {
		t.Errorf("error class %s, next %q, summary\n%s", r.ErrorClass, r.NextAction, summary)
	}
	events, err := th.Client.Trace(t.Context(), p.jobID)
	if err != nil {
		t.Fatal(err)
	}
	open := map[string]bool{}
	for _, e := range events {
		open[e.Stage] = e.Status == provision.Started
	}
	for stage, is := range open {
		if is {
			t.Errorf("the trace does not say how %s ended", stage)
		}
	}
	if _, told := open["provision_complete"]; !told {
		t.Errorf("the trace has no end: %+v", events)
	}
}

// again runs p once more and wants it to end well.
func (th *theatre) again(t *testing.T, p *part) {
	t.Helper()
	a := th.act(t, p, false, nil)
	a.status(t, 0)
	job, err := th.Client.Job(t.Context(), p.jobID)
	if err != nil || job.Status != provision.JobCompleted || job.NodeID == "" {
		t.Errorf("run again, the job is %s on node %q (%v), want it Completed", job.Status, job.NodeID, err)
	}
	records := 0
	for _, r := range th.Cloudflare.Records() {
		if r.Name == p.inputs["canonical_hostname"] && r.Type == "A" {
			records++
		}
	}
	if records != 1 {
		t.Errorf("run again, there are %d A records, want 1", records)
	}
}

// node returns a shared node that there is.
func (th *theatre) node(t *testing.T) string {
	t.Helper()
	nodes, err := th.Client.Nodes(t.Context())
	if err != nil || len(nodes) == 0 {
		t.Fatalf("no node is registered (%v)", err)
	}
	return nodes[0].ID
}

// cutCall is callOf, without the number in a node's name.
func cutCall(r *http.Request) call {
	c := string(callOf(r))
	if i := strings.Index(c, "/hz-sg-"); i >= 0 {
		c = c[:i] + "/hz-sg-N"
	}
	return call(c)
}

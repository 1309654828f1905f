package server_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A clock that is set back by an hour undoes nothing and stops nothing: a node's metrics, which
// are of the future then, are believed again when its agent has pushed the next.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	c := config(t)
	var shift atomic.Int64 // ns
	c.Now = func() time.Time { return time.Now().Round(0).Add(time.Duration(shift.Load())) }
	base, cp := start(t, c)
	ctx := t.Context()
	must(t, cp.RegisterNode(ctx, node("n1"), provision.Job{}))
	push := func() { must(t, cp.PushMetrics(ctx, controlplane.Metrics{NodeID: "n1", MemoryPct: new(40.0)})) }
	push()
	first := controlplane.Order{TenantID: "acme-1", Key: "k"}
	a, err := cp.Enqueue(ctx, first)
	must(t, err)
	count := func(what, want string) {
		t.Helper()
		if _, got := do(t, "GET", base+"/metrics", ""); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", what, grep(got, "controlplane_jobs"), want)
		}
	}
	count("before", `controlplane_jobs{status="Pending"} 1`)

	shift.Store(int64(-time.Hour))
	if again, err := cp.Enqueue(ctx, first); err != nil || again != a {
		t.Errorf("the same order again: %+v, %v, want %+v", again, err, a)
	}
	if p, err := cp.Place(ctx, controlplane.Question{}); err != nil || p.DecisionReason != placement.NoEligibleNode || !strings.Contains(p.Candidates[0].Reasons[0], "ahead") {
		t.Errorf("Place = %+v, %v, want the metrics too far ahead", p, err)
	}
	push()
	b, err := cp.Enqueue(ctx, controlplane.Order{TenantID: "birch-2"})
	must(t, err)
	if j, err := cp.Job(ctx, b.JobID); err != nil || j.TargetServerID != "n1" || b.JobID == a.JobID {
		t.Errorf("the next order: %+v, %v, want it on n1", j, err)
	}
	count("after", `controlplane_jobs{status="Pending"} 2`)
	must(t, cp.PostEvents(ctx, []provision.Event{{ID: "e", JobID: a.JobID, TenantID: "acme-1", Stage: "resolve_node", Status: provision.Started, At: time.Now()}}))
	must(t, cp.Complete(ctx, provision.Completion{JobID: a.JobID, TenantID: "acme-1", Status: provision.JobFailed}))
	if resp, got := do(t, "POST", base+"/internal/provision-jobs/"+a.JobID+"/retry", ""); resp.StatusCode != 202 {
		t.Errorf("retry: %d %s", resp.StatusCode, got)
	}
	must(t, cp.Complete(ctx, provision.Completion{JobID: a.JobID, TenantID: "acme-1", Status: provision.JobCompleted}))
}

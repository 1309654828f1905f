package storetest

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// indexed does what comes to mind, in two processes, and now and then compares what they
// have in memory with what a third reads from the tables.
func indexed(t *testing.T, open Database) {
	both := []store.Store{open(t), open(t)}
	r := rand.New(rand.NewPCG(4, 2026))
	c := chaos{t, r, 0}
	for range 8 {
		for range 40 {
			c.step(both[r.IntN(2)])
		}
		fresh := open(t)
		want := placed(t, fresh)
		for i, s := range both {
			mustNode(t, s, fmt.Sprint("look", i)) // a store that writes sees what the other has done
			want[fmt.Sprint("look", i)] = placed(t, s)[fmt.Sprint("look", i)]
		}
		mustNode(t, both[0], "look0")
		for i, s := range both {
			if diff := cmp.Diff(want, placed(t, s)); diff != "" {
				t.Fatalf("store %d after step %d (-tables +memory):\n%s", i, c.n, diff)
			}
		}
	}
}

// A chaos does this and that with few tenants and nodes, so that they meet.
type chaos struct {
	t *testing.T
	r *rand.Rand
	n int
}

func (c *chaos) tenant() string { return fmt.Sprint("tenant", c.r.IntN(8)) }
func (c *chaos) node() string   { return fmt.Sprint("n", c.r.IntN(5)) }

// job is the newest of the tenant; ok is false when there is none.
func (c *chaos) job(s store.Store, tenant string) (store.Job, bool) {
	list, err := s.Jobs(c.t.Context(), store.Filter{TenantID: tenant, Limit: 1})
	if err != nil {
		c.t.Fatal(err)
	}
	if len(list) == 0 {
		return store.Job{}, false
	}
	return list[0], true
}

// step does one thing. What is refused is as good.
func (c *chaos) step(s store.Store) {
	c.n++
	ctx, tenant := c.t.Context(), c.tenant()
	at := now.Add(time.Duration(c.n) * time.Second)
	j, ok := c.job(s, tenant)
	var err error
	switch kind := c.r.IntN(11); {
	case kind == 0 || !ok || j.Status == provision.JobCompleted && kind < 6:
		o := order(tenant)
		o.JobID, o.Now = fmt.Sprint("job_", c.n), at
		_, err = s.Enqueue(ctx, o)
	case kind == 1:
		n := sharedNode(c.node())
		if c.r.IntN(4) == 0 {
			n.Region = placement.EU
		}
		_, err = s.PutNode(ctx, n, j.ID)
	case kind == 2:
		err = s.PutMetrics(ctx, store.Metrics{NodeID: c.node(), MemoryPct: new(float64(c.r.IntN(100))), TenantCount: c.r.IntN(3), Source: "node_push", At: at})
	case kind == 3:
		_, err = s.Retry(ctx, j.ID, "op", at)
	case kind == 4:
		err = s.Abandon(ctx, j.ID, fmt.Errorf("no"), at)
	case kind == 5:
		e := event(j.ID, tenant, "resolve_node", provision.Started)
		e.ID, e.RunURL = fmt.Sprint(c.n), runURL(c.n)
		_, err = s.AddEvents(ctx, []provision.Event{e}, at)
	case kind == 6:
		to := []provision.NodeStatus{provision.NodeActive, provision.NodeActive, provision.NodeDraining, provision.NodeDisabled}[c.r.IntN(4)]
		err = s.SetNodeStatus(ctx, c.node(), to, "op", at)
	default:
		status := []provision.JobStatus{provision.JobCompleted, provision.JobCompleted, provision.JobFailed, provision.JobCancelled}[c.r.IntN(4)]
		_, _, err = s.Complete(ctx, provision.Completion{JobID: j.ID, TenantID: tenant, Status: status, NodeID: c.node(), RunURL: runURL(c.n)}, at)
	}
	if class := provision.ClassOf(err); err != nil && class != provision.Conflict && class != provision.NotFound {
		c.t.Fatalf("step %d: %v", c.n, err)
	}
}

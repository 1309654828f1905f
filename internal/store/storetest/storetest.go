// Package storetest is what every [store.Store] must do, as tests. An implementation's own
// test calls [Run]; a new promise of the interface is a new function here, in the list.
package storetest

import (
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// A Database is an empty database for one test: each call opens another store in it, as
// another process would, with [Thresholds]. It is closed at the end of the test.
type Database func(t *testing.T) store.Store

// Run holds the stores in the databases that make makes to the interface.
func Run(t *testing.T, makeDatabase func(t *testing.T) Database) {
	alone := func(test func(*testing.T, store.Store)) func(*testing.T, Database) {
		return func(t *testing.T, open Database) { test(t, open(t)) }
	}
	tests := []struct {
		name string
		test func(*testing.T, Database)
	}{
		{"enqueue stores all of it", alone(enqueueStores)},
		{"an idempotency key makes an order happen once", alone(idempotency)},
		{"a key that is being decided on", alone(inFlight)},
		{"the same order a hundred times at once", identical},
		{"a hundred orders for a tenant at once", conflicting},
		{"an order for a world that has moved", alone(moved)},
		{"a tenant has one job on its way", alone(oneActiveJob)},
		{"a stranger gets no tenant that there is", alone(newTenants)},
		{"a slug has one owner", alone(slugs)},
		{"a race for a slug has one winner", alone(slugRace)},
		{"a tenant keeps its slug and its place", alone(tenantReturns)},
		{"orders at once do not overfill a node", lastPlace},
		{"a refused order leaves nothing", alone(refusedTogether)},
		{"a failed order does not fail its neighbours", alone(failedTogether)},
		{"an order whose caller has gone", alone(gone)},
		{"jobs are listed", alone(listing)},
		{"the states of a job", alone(states)},
		{"any text can be stored", alone(anyText)},
		{"a completion is taken once", alone(completions)},
		{"where a completion leaves a tenant", alone(whereabouts)},
		{"late and early reports", alone(reports)},
		{"a job is retried", alone(retries)},
		{"a job is retried whose run was not known", alone(unknownRun)},
		{"a job is retried on a full node", alone(retryFull)},
		{"what has been run again at GitHub", alone(rerun)},
		{"what has been run again at GitHub fills its node", alone(rerunFull)},
		{"stuck jobs are found", alone(stuck)},
		{"the sweeper settles what has not moved", alone(settled)},
		{"the sweeper notes what it cannot settle", alone(noted)},
		{"work hands out every job", alone(workAll)},
		{"work tries again, after the pause", alone(workRetries)},
		{"work leaves alone what is settled", alone(workSettled)},
		{"work is stopped in the middle", alone(workStops)},
		{"work by two processes", workTwice},
		{"nodes are registered once", alone(nodes)},
		{"a node is drained", alone(drained)},
		{"metrics replace each other", alone(metrics)},
		{"what counts as a node's tenant", alone(counting)},
		{"the index is what is in the tables", indexed},
		{"events are stored once and in order", alone(events)},
		{"a job's first event makes it running", alone(firstEvent)},
		{"everything is counted", alone(counts)},
		{"old keys are forgotten", alone(pruned)},
		{"after the end", alone(closed)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.test(t, makeDatabase(t))
		})
	}
}

// Thresholds are what the stores are opened with: there is room for two tenants on a node.
func Thresholds() placement.Thresholds {
	limits := placement.DefaultThresholds()
	limits.MaxTenantsPerNode = 2
	return limits
}

// now is when everything happens, unless a test says later.
var now = time.Date(2026, 3, 14, 15, 9, 26, 535897932, time.UTC)

// order asks for a new shared server for a tenant.
func order(tenant string) store.Order {
	return store.Order{
		JobID:    "job_" + tenant,
		TraceID:  "trace_" + tenant,
		Actor:    "test",
		TenantID: tenant,
		Tier:     placement.Basic,
		Slug:     tenant,
		Domain:   "example.com",
		Decide:   decide(placement.Basic),
		Answer:   func(j store.Job) ([]byte, error) { return []byte(`{"job_id":"` + j.ID + `"}`), nil },
		Now:      now,
	}
}

// decide is placement itself.
func decide(tier placement.Tier) func(store.World) placement.Decision {
	return func(w store.World) placement.Decision {
		return w.Nodes.Decide(placement.Request{Tier: tier}, now, placement.DefaultCandidates)
	}
}

func mustEnqueue(t *testing.T, s store.Store, o store.Order) store.Job {
	t.Helper()
	r, err := s.Enqueue(t.Context(), o)
	if err != nil {
		t.Fatalf("Enqueue(%s) = %v", o.JobID, err)
	}
	return r.Job
}

func mustJob(t *testing.T, s store.Store, id string) store.Job {
	t.Helper()
	j, err := s.Job(t.Context(), id)
	if err != nil {
		t.Fatalf("Job(%s) = %v", id, err)
	}
	return j
}

// mustNode registers a shared node with room.
func mustNode(t *testing.T, s store.Store, id string) {
	t.Helper()
	n := sharedNode(id)
	if _, err := s.PutNode(t.Context(), n, ""); err != nil {
		t.Fatalf("PutNode(%s) = %v", id, err)
	}
	if err := s.PutMetrics(t.Context(), store.Metrics{NodeID: id, MemoryPct: new(20.5), Source: "node_push", At: now}); err != nil {
		t.Fatalf("PutMetrics(%s) = %v", id, err)
	}
}

func sharedNode(id string) provision.Node {
	return provision.Node{ID: id, Region: placement.SG, Host: "203.0.113.7", Status: provision.NodeActive,
		Provider: "hetzner", ProviderServerID: "7", CreatedAt: now}
}

// wantClass fails the test unless err is of class c.
func wantClass(t *testing.T, what string, err error, c provision.Class) {
	t.Helper()
	if got := provision.ClassOf(err); got != c {
		t.Errorf("%s: got error %v of class %q, want class %q", what, err, got, c)
	}
}

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

// Run holds the stores that open makes to the interface. Each is empty and used by one test.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	tests := []struct {
		name string
		test func(*testing.T, store.Store)
	}{
		{"enqueue stores all of it", enqueueStores},
		{"an idempotency key makes an order happen once", idempotency},
		{"a tenant has one job on its way", oneActiveJob},
		{"a slug has one owner", slugs},
		{"a race for a slug has one winner", slugRace},
		{"a tenant keeps its slug and its place", tenantReturns},
		{"orders at once do not overfill a node", lastPlace},
		{"jobs are listed", listing},
		{"a claim is exclusive and runs out", claims},
		{"the states of a job", states},
		{"a completion is taken once", completions},
		{"a run again repairs a failed job", repaired},
		{"nodes are registered once", nodes},
		{"metrics replace each other", metrics},
		{"what counts as a node's tenant", counting},
		{"events are stored once and in order", events},
		{"a job's first event makes it running", firstEvent},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.test(t, open(t))
		})
	}
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

// decide is placement itself, with room for two tenants on a node.
func decide(tier placement.Tier) func(store.World) placement.Decision {
	return func(w store.World) placement.Decision {
		limits := placement.DefaultThresholds()
		limits.MaxTenantsPerNode = 2
		return placement.Decide(placement.Request{Tier: tier},
			placement.Snapshot{Nodes: w.Nodes, Thresholds: limits, Now: now})
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

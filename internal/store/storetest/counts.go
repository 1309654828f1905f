package storetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

func counts(t *testing.T, s store.Store) {
	got, err := s.Counts(t.Context())
	want := store.Counts{Jobs: map[provision.JobStatus]int{}, Tenants: map[string]int{}, Nodes: map[provision.NodeStatus]int{}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Counts of nothing: %v (-want +got):\n%s", err, diff)
	}
	mustNode(t, s, "n1")
	draining := sharedNode("n2")
	draining.Status = provision.NodeDraining
	if _, err := s.PutNode(t.Context(), draining, ""); err != nil {
		t.Fatal(err)
	}
	for i, tenant := range []string{"a", "b", "c"} {
		o := order(tenant)
		o.Now = now.Add(time.Duration(i) * time.Minute)
		mustEnqueue(t, s, o)
	}
	report(t, s, "a", 0, 0, provision.JobCompleted)
	got, err = s.Counts(t.Context())
	want = store.Counts{
		Jobs:    map[provision.JobStatus]int{provision.JobPending: 2, provision.JobCompleted: 1},
		Tenants: map[string]int{"Pending": 2, "Active": 1},
		Nodes:   map[provision.NodeStatus]int{provision.NodeActive: 1, provision.NodeDraining: 1},
		Oldest:  now.Add(time.Minute),
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Counts: %v (-want +got):\n%s", err, diff)
	}
}

func pruned(t *testing.T, s store.Store) {
	keyed := func(tenant string, at time.Time) store.Order {
		o := order(tenant)
		o.Now, o.Key = at, store.Key{Scope: "a", Value: tenant, Hash: "h"}
		return o
	}
	mustEnqueue(t, s, keyed("old", now))
	mustEnqueue(t, s, keyed("new", now.Add(time.Hour)))
	if err := s.Prune(t.Context(), now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Enqueue(t.Context(), keyed("new", now)); err != nil || !r.Replayed {
		t.Errorf("a key that is not old: %+v, %v", r, err)
	}
	_, err := s.Enqueue(t.Context(), keyed("old", now))
	wantClass(t, "the old key is forgotten, its job is not", err, provision.Conflict)
}

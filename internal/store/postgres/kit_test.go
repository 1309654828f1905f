package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
	"github.com/pregoi/provision-tenant/internal/store/postgres"
	"github.com/pregoi/provision-tenant/internal/store/storetest"
)

// patience is how long anything that works may take.
const patience = 30 * time.Second

func open(t testing.TB, address string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), address, store.Options{Thresholds: storetest.Thresholds()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func order(tenant string) store.Order {
	return store.Order{JobID: "job_" + tenant, TenantID: tenant, Slug: tenant, Domain: "example.com", Tier: placement.Basic,
		Decide: func(w store.World) placement.Decision {
			return w.Nodes.Decide(placement.Request{}, time.Now(), placement.DefaultCandidates)
		},
		Answer: func(store.Job) ([]byte, error) { return []byte("{}"), nil }, Now: time.Now()}
}

// keyed is an order with an Idempotency-Key.
func keyed(tenant string) store.Order {
	o := order(tenant)
	o.Key = store.Key{Scope: "caller route", Value: fmt.Sprint("key-", tenant), Hash: "0123456789abcdef0123456789abcdef"}
	return o
}

func node(id string) provision.Node {
	return provision.Node{ID: id, Region: placement.SG, Host: "203.0.113.7", Status: provision.NodeActive,
		Provider: "hetzner", ProviderServerID: "7", CreatedAt: time.Now()}
}

// put registers a node with room.
func put(t *testing.T, db *postgres.DB, id string) {
	t.Helper()
	if _, err := db.PutNode(t.Context(), node(id), ""); err != nil {
		t.Fatal(err)
	}
	if err := db.PutMetrics(t.Context(), store.Metrics{NodeID: id, MemoryPct: new(20.5), Source: "node_push", At: time.Now()}); err != nil {
		t.Fatal(err)
	}
}

// placed returns the tenants of each node.
func placed(t *testing.T, db *postgres.DB) map[string]int {
	t.Helper()
	list := map[string]int{}
	if err := db.Placement(t.Context(), func(x *placement.Index) {
		for _, n := range x.Nodes() {
			list[n.ID] = n.Tenants
		}
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// holdTurn keeps everybody from writing until release is called, or the test ends.
func holdTurn(t *testing.T, address string) (release func()) {
	t.Helper()
	c := connect(t, address)
	if _, err := c.Exec(t.Context(), "BEGIN; UPDATE write_turn SET seq = seq"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if _, err := c.Exec(t.Context(), "ROLLBACK"); err != nil {
			t.Error(err)
		}
	}
}

func connect(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(t.Context()) }) // its context is done, too
	return c
}

// until asks the database until it says yes.
func until(t *testing.T, address, query string) {
	t.Helper()
	c := connect(t, address)
	deadline := time.After(patience)
	for yes := false; !yes; {
		if err := c.QueryRow(t.Context(), query).Scan(&yes); err != nil {
			t.Fatal(err)
		}
		select {
		case <-deadline:
			t.Fatalf("it is still not so: %s", query)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// await returns what comes next.
func await[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("nothing comes")
	}
	return v
}

func wantClass(t *testing.T, what string, err error, c provision.Class) {
	t.Helper()
	if got := provision.ClassOf(err); got != c {
		t.Errorf("%s: got error %v of class %q, want class %q", what, err, got, c)
	}
}

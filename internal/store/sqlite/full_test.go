package sqlite

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// A disk that is full refuses orders, loses none that was taken, and is forgotten as soon
// as there is space. The limit on pages is SQLite's own, with the same error.
func TestFull(t *testing.T) {
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "test.db"), store.Options{Thresholds: placement.DefaultThresholds()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.PutNode(t.Context(), provision.Node{ID: "n1", Region: placement.SG, Status: provision.NodeActive, CreatedAt: time.Now()}, ""); err != nil {
		t.Fatal(err)
	}
	if err := db.PutMetrics(t.Context(), store.Metrics{NodeID: "n1", MemoryPct: new(1.0), At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	enqueue := func(n int) error { return enqueueLarge(t, db, n) }
	var pages int
	if err := db.file.write.QueryRowContext(t.Context(), "PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	limit(t, db, pages+10)
	n := 0
	for ; err == nil; n++ {
		if err = enqueue(n); n > 100 {
			t.Fatal("it is never full")
		}
	}
	n-- // was refused
	if provision.ClassOf(err) != provision.Busy {
		t.Errorf("order %d: %v, want it busy", n, err)
	}
	tenants := func() (n int) {
		if err := db.Placement(t.Context(), func(x *placement.Index) {
			node, _ := x.Node("n1")
			n = node.Tenants
		}); err != nil {
			t.Error(err)
		}
		return n
	}
	if got := tenants(); got != n {
		t.Errorf("%d tenants on the node, want %d", got, n)
	}
	limit(t, db, 1<<30)
	if err := enqueue(n); err != nil {
		t.Errorf("with space again: %v", err)
	}
	if list, err := db.Jobs(t.Context(), store.Filter{}); err != nil || len(list) != n+1 || tenants() != n+1 {
		t.Errorf("%d jobs, %d tenants on the node, %v, want %d", len(list), tenants(), err, n+1)
	}
}

// enqueueLarge takes the order of another tenant, which fills a page.
func enqueueLarge(t *testing.T, db *DB, n int) error {
	tenant := fmt.Sprint("tenant", n)
	_, err := db.Enqueue(t.Context(), store.Order{JobID: "job_" + tenant, TenantID: tenant, Slug: tenant, Domain: "example.com", Now: time.Now(),
		Company: strings.Repeat("x", 4000),
		Decide: func(w store.World) placement.Decision {
			return w.Nodes.Decide(placement.Request{}, time.Now(), 1)
		},
		Answer: func(store.Job) ([]byte, error) { return nil, nil }})
	return err
}

func limit(t *testing.T, db *DB, pages int) {
	t.Helper()
	var n int
	if err := db.file.write.QueryRowContext(t.Context(), fmt.Sprint("PRAGMA max_page_count = ", pages)).Scan(&n); err != nil || n != pages {
		t.Fatal(n, err)
	}
}

// A file that can only be read, as after an error of its disk, refuses orders and is not
// ready, until it can be written again. SQLite's own setting gives the same error.
func TestReadOnly(t *testing.T) {
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "test.db"), store.Options{Thresholds: placement.DefaultThresholds()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	only := func(v int) {
		t.Helper()
		if _, err := db.file.write.ExecContext(t.Context(), fmt.Sprint("PRAGMA query_only = ", v)); err != nil {
			t.Fatal(err)
		}
	}
	only(1)
	if err := enqueueLarge(t, db, 1); provision.ClassOf(err) != provision.Busy {
		t.Errorf("an order: %v, want it busy", err)
	}
	for range 2 {
		if err := db.Ping(t.Context()); provision.ClassOf(err) != provision.Busy {
			t.Errorf("Ping: %v, want it busy", err)
		}
	}
	only(0)
	if err := db.Ping(t.Context()); err != nil {
		t.Errorf("Ping when it can be written again: %v", err)
	}
	if err := enqueueLarge(t, db, 1); err != nil {
		t.Errorf("an order when it can be written again: %v", err)
	}
}

package sqlite_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
	"github.com/pregoi/provision-tenant/internal/store/sqlite"
	"github.com/pregoi/provision-tenant/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Database {
		path := filepath.Join(t.TempDir(), "test.db")
		return func(t *testing.T) store.Store { return open(t, path) }
	})
}

func open(t testing.TB, path string) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), path, store.Options{Thresholds: storetest.Thresholds()})
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

// What was stored is there when the file is opened again, by two at once.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a ?#% name", "test.db")
	first := open(t, path)
	if _, err := first.Enqueue(t.Context(), order("acme")); err != nil {
		t.Fatal(err)
	}
	second := open(t, path)
	if _, err := second.Job(t.Context(), "job_acme"); err != nil {
		t.Error(err)
	}
	if _, err := second.Enqueue(t.Context(), order("beta")); err != nil {
		t.Error(err)
	}
	if list, err := first.Jobs(t.Context(), store.Filter{}); err != nil || len(list) != 2 {
		t.Errorf("Jobs = %d jobs, %v, want 2", len(list), err)
	}
}

// Two processes on one file wait for each other, and see each other's jobs.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "test.db")
	both := []*sqlite.DB{open(t, path), open(t, path)}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			if _, err := both[i%2].Enqueue(t.Context(), order(fmt.Sprint("tenant", i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if list, err := both[0].Jobs(t.Context(), store.Filter{}); err != nil || len(list) != 40 {
		t.Errorf("%d jobs, %v, want 40", len(list), err)
	}
}

func TestFileIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	db := open(t, filepath.Join(dir, "test.db"))
	if _, err := db.Enqueue(t.Context(), order("acme")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{"": 0o700, "test.db": 0o600, "test.db-wal": 0o600, "test.db-shm": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %q = %o, want %o", name, got, want)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := sqlite.Open(t.Context(), dir, store.Options{}); provision.ClassOf(err) != provision.Invalid {
		t.Errorf("Open of a folder: %v, want an invalid one", err)
	}
	file := filepath.Join(dir, "no.db")
	if err := os.WriteFile(file, []byte("this is no database, and long enough to be seen to be none, whatever it says.....................\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if db, err := sqlite.Open(t.Context(), file, store.Options{}); err == nil {
		t.Errorf("Open of another file: no error (%v)", db.Close())
	}
}

// A lock that another process holds is waited for, and then the error says to ask again.
func TestBusy(t *testing.T) {
	if testing.Short() {
		t.Skip("waits 5 s for a lock")
	}
	t.Parallel()
	path := filepath.Join(t.TempDir(), "test.db")
	holder, waiter := open(t, path), open(t, path)
	inside, release := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		o := order("acme")
		o.Answer = func(store.Job) ([]byte, error) { close(inside); <-release; return nil, nil }
		_, err := holder.Enqueue(t.Context(), o)
		done <- err
	}()
	<-inside
	_, err := waiter.Enqueue(t.Context(), order("beta"))
	if provision.ClassOf(err) != provision.Busy {
		t.Errorf("Enqueue beside a lock: %v, want busy", err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
	"github.com/pregoi/provision-tenant/internal/store/sqlite"
	"github.com/pregoi/provision-tenant/internal/store/storetest"
)

// Processes that start at once with no file yet do not disturb each other.
func TestOpenAtOnce(t *testing.T) {
	for range 3 {
		path := filepath.Join(t.TempDir(), "test.db")
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				db, err := sqlite.Open(t.Context(), path, store.Options{Thresholds: storetest.Thresholds()})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := db.Enqueue(t.Context(), order(fmt.Sprint("tenant", i))); err != nil {
					t.Error(err)
				}
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

func TestOpenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "test.db"), store.Options{}); provision.ClassOf(err) != provision.Cancelled {
		t.Errorf("Open: %v, want it cancelled", err)
	}
}

// A file of the first schema is brought up to date, and its waiting jobs are handed out.
func TestUpgrade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	old, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := goose.NewProvider(goose.DialectSQLite3, old, os.DirFS("migrations"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := steps.UpTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`INSERT INTO tenants_master (tenant_id, subdomain_slug, canonical_hostname, plan_tier, status, created_at, updated_at)
			VALUES ('acme', 'acme', 'acme.example.com', 'basic', 'Pending', 1, 1)`,
		`INSERT INTO provision_jobs (job_id, tenant_id, status, infra_mode, region, subdomain_slug, canonical_hostname, plan_tier, decision_reason, due_at, created_at, updated_at)
			VALUES ('job_acme', 'acme', 'Pending', 'create_new_server', 'sg', 'acme', 'acme.example.com', 'basic', 'no_nodes_in_region', 1, 1, 1)`,
	} {
		if _, err := old.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	db := open(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := db.Work(ctx, func(try context.Context, j store.Job, _ int) error {
		defer cancel()
		return db.Dispatched(try, j.ID, store.Run{ID: "1"}, time.Now())
	}); err != nil {
		t.Fatal(err)
	}
	if j, err := db.Job(t.Context(), "job_acme"); err != nil || j.Status != provision.JobDispatched || j.Attempt != 1 {
		t.Errorf("the job of old: %+v, %v", j, err)
	}
}

// A backup is of one moment, and another store.
func TestBackup(t *testing.T) {
	dir := t.TempDir()
	from := filepath.Join(dir, "test.db")
	db := open(t, from)
	keyed := func(tenant string) store.Order {
		o := order(tenant)
		o.Key = store.Key{Scope: "s", Value: tenant, Hash: "h"}
		return o
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // it serves meanwhile
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := db.Enqueue(t.Context(), keyed(fmt.Sprint("tenant", i))); err != nil {
				t.Error(err)
			}
		}
	}()
	if _, err := db.Enqueue(t.Context(), keyed("before")); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "copy ?#% of.db")
	if err := sqlite.Backup(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	close(stop)
	<-stopped
	if err := sqlite.Backup(t.Context(), from, to); provision.ClassOf(err) != provision.Conflict {
		t.Errorf("Backup over a file: %v, want a conflict", err)
	}
	if err := sqlite.Backup(t.Context(), from, filepath.Join(dir, "no", "folder")); provision.ClassOf(err) != provision.Invalid {
		t.Errorf("Backup into no folder: %v, want it invalid", err)
	}
	if info, err := os.Stat(to); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy: %v, %v", info, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "copy*.*.*")); err != nil || len(left) > 0 {
		t.Errorf("%q are left, %v", left, err)
	}
	inspect(t, to, map[string]bool{"job_before": true})
	if j, err := open(t, to).Job(t.Context(), "job_before"); err != nil || j.Status != provision.JobPending {
		t.Errorf("the job in the copy: %+v, %v", j, err)
	}
}

// A backup by a newer program leaves the schema to the older one that serves.
func TestBackupMigratesNothing(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "test.db"), filepath.Join(dir, "copy.db")
	// version returns the one of the file at path; from is made with the first.
	version := func(path string) (n int64) {
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		steps, err := goose.NewProvider(goose.DialectSQLite3, db, os.DirFS("migrations"))
		if err == nil && path == from {
			_, err = steps.UpTo(t.Context(), 1)
		}
		if err == nil {
			n, err = steps.GetDBVersion(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	version(from)
	if err := sqlite.Backup(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{from, to} {
		if n := version(path); n != 1 {
			t.Errorf("%s is at version %d, want 1", path, n)
		}
	}
}

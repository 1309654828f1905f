package sqlite

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/store"
	"github.com/pregoi/provision-tenant/internal/store/sqlstore"
)

func openFile(t *testing.T) *file {
	t.Helper()
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "test.db"), store.Options{Thresholds: placement.DefaultThresholds()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db.file
}

// Any number of rows is inserted, in order; one that is refused is told of.
func TestInsert(t *testing.T) {
	f := openFile(t)
	for _, n := range []int{1, many - 1, many, many + 1, 3*many + 2} {
		tx, err := f.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var rows, want [][]any
		for i := range n {
			rows = append(rows, []any{"s", fmt.Sprint("k", i), "h", "j", []byte{byte(i)}, int64(i)})
			want = append(want, []any{fmt.Sprint("k", i), []byte{byte(i)}, int64(i)})
		}
		if err := tx.Insert(t.Context(), "idempotency_keys (scope, key, hash, job_id, answer, created_at)", rows); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, read(t, tx, 3, "SELECT key, answer, created_at FROM idempotency_keys ORDER BY rowid")); diff != "" {
			t.Errorf("%d rows (-want +got):\n%s", n, diff)
		}
		if err := tx.Insert(t.Context(), "write_turn (id, seq)", [][]any{{1, 0}}); err == nil {
			t.Error("a row that is there already is inserted")
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// A commit that is refused, for what a row refers to is not there, does not stand in the way of
// the next transaction.
func TestRefusedCommit(t *testing.T) {
	f := openFile(t)
	for range 2 {
		tx, err := f.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.Insert(t.Context(), `provision_jobs (job_id, tenant_id, status, infra_mode, region, subdomain_slug, canonical_hostname,
			plan_tier, decision_reason, created_at, updated_at)`, [][]any{{"j", "nobody", "Pending", "use_existing", "sg", "s", "h", "basic", "r", 1, 1}}); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(t.Context()); err == nil {
			t.Fatal("a job without a tenant is stored")
		}
	}
	if rows := read(t, f, 1, "SELECT job_id FROM provision_jobs"); len(rows) > 0 {
		t.Errorf("there are the jobs %v", rows)
	}
}

// What is stored for River is what its own client stores.
func TestTrigger(t *testing.T) {
	f := openFile(t)
	c, err := river.NewClient(riversqlite.New(f.write), &river.Config{})
	if err != nil {
		t.Fatal(err)
	}
	jobs := []sqlstore.Args{{JobID: `job_"1`, Attempt: 1}, {JobID: "job_ä<2>", Attempt: 12}}
	stored := func(store func(t *tx) error) [][]any {
		t.Helper()
		x, err := f.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := store(x.(*tx)); err != nil {
			t.Fatal(err)
		}
		// All that the table has, but for ids and times, of which it is how they are written.
		rows := read(t, x, 22, `SELECT args, attempt, attempted_at, attempted_by, errors, finalized_at, kind, max_attempts, metadata, priority, queue,
			state, tags, unique_key, unique_states, typeof(args), typeof(metadata), typeof(tags), typeof(created_at), length(created_at), created_at = scheduled_at,
			abs(julianday('now') - julianday(created_at)) < 0.001 FROM river_job ORDER BY id`)
		if err := x.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		return rows
	}
	want := stored(func(x *tx) error {
		_, err := c.InsertManyFastTx(t.Context(), x.tx, []river.InsertManyParams{{Args: jobs[0]}, {Args: jobs[1]}})
		return err
	})
	got := stored(func(x *tx) error { return x.Trigger(t.Context(), jobs) })
	if diff := cmp.Diff(want, got); diff != "" || len(want) != len(jobs) {
		t.Errorf("Trigger (-River's client +ours):\n%s", diff)
	}
	if columns := read(t, f, 1, "SELECT name FROM pragma_table_info('river_job')"); len(columns) != 18 {
		t.Errorf("river_job has the columns %v: this test knows 18", columns)
	}
}

func read(t *testing.T, q sqlstore.Queryer, columns int, query string) (list [][]any) {
	t.Helper()
	rows, err := q.Query(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		row, into := make([]any, columns), make([]any, columns)
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		list = append(list, row)
	}
	if err := rows.Close(); err != nil || rows.Err() != nil {
		t.Fatal(err, rows.Err())
	}
	return list
}

package main

import (
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// inspect checks a copy of the file as it was left: whole, with everything that was
// acknowledged, and with nothing that is half there.
func (w *crashWorld) inspect(t *testing.T) {
	t.Helper()
	w.loader.mu.Lock()
	acked := w.loader.acked[:len(w.loader.acked):len(w.loader.acked)]
	w.loader.mu.Unlock()
	dir := t.TempDir()
	for _, name := range []string{"test.db", "test-dispatches.db"} {
		for _, suffix := range []string{"", "-wal"} {
			data, err := os.ReadFile(filepath.Join(w.dir, name+suffix))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err := errors.Join(err, os.WriteFile(filepath.Join(dir, name+suffix), data, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		db := openFile(t, filepath.Join(dir, name))
		if got := query[string](t, db, "PRAGMA integrity_check"); len(got) != 1 || got[0] != "ok" {
			t.Errorf("%s: integrity_check: %q", name, got)
		}
		if name == "test.db" {
			w.compare(t, db, acked)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

// compare checks that every acknowledged order is in the database, and nothing by halves.
func (w *crashWorld) compare(t *testing.T, db *sql.DB, acked []*order) {
	t.Helper()
	have := map[string]bool{}
	for _, id := range query[string](t, db, "SELECT job_id FROM provision_jobs") {
		have[id] = true
	}
	for _, o := range acked {
		if !have[o.jobID] {
			t.Errorf("job %s of order %s was acknowledged and is not there", o.jobID, o.key)
		}
	}
	for _, what := range []struct{ about, query string }{
		{"jobs without their tenant", "SELECT job_id FROM provision_jobs WHERE tenant_id NOT IN (SELECT tenant_id FROM tenants_master)"},
		{"tenants without a job", "SELECT tenant_id FROM tenants_master WHERE tenant_id NOT IN (SELECT tenant_id FROM provision_jobs)"},
		{"tenants with two jobs", "SELECT tenant_id FROM provision_jobs GROUP BY tenant_id HAVING count(*) > 1"},
		{"jobs without their one audit entry", "SELECT job_id FROM provision_jobs WHERE (SELECT count(*) FROM audit_logs a WHERE a.job_id = provision_jobs.job_id AND action = 'enqueue') <> 1"},
		{"jobs without their key", "SELECT job_id FROM provision_jobs WHERE job_id NOT IN (SELECT job_id FROM idempotency_keys)"},
		{"jobs that River forgot", `SELECT job_id FROM provision_jobs WHERE status = 'Pending' AND job_id NOT IN
			(SELECT cast(args AS TEXT) ->> 'job_id' FROM river_job WHERE finalized_at IS NULL)`},
		{"jobs with a report and without a run", "SELECT job_id FROM provision_jobs WHERE status = 'Completed' AND run_url = ''"},
	} {
		if got := query[string](t, db, what.query); len(got) > 0 {
			t.Errorf("%s: %q", what.about, got)
		}
	}
}

// count compares what is stored in the end with what was ordered and what was started.
func (w *crashWorld) count(t *testing.T, db *sql.DB) {
	t.Helper()
	orders := len(w.loader.acked)
	t.Logf("%d orders, %d runs, %d requests answered", orders, len(w.github.stand.Runs()), w.loader.answered.Load())
	if n := w.loader.ordered.Load(); int64(orders) != n {
		t.Errorf("%d orders were acknowledged of %d", orders, n)
	}
	if got := query[int](t, db, "SELECT count(*) FROM provision_jobs"); got[0] != orders {
		t.Errorf("there are %d jobs after %d orders", got[0], orders)
	}
	if got := query[string](t, db, "SELECT job_id || ' is ' || status || ' in attempt ' || attempt || ' by run ' || run_id || ' after ' || past_run_id FROM provision_jobs WHERE status <> 'Completed'"); len(got) > 0 {
		t.Errorf("jobs that were not completed: %q", got)
	}
	if got := query[int](t, db, "SELECT count(*) FROM river_job WHERE finalized_at IS NULL AND kind = 'trigger'"); got[0] != 0 {
		t.Errorf("River has %d jobs left", got[0])
	}
	if got := query[int](t, db, "SELECT count(*) FROM trace_events"); got[0] != w.loader.events {
		t.Errorf("there are %d events after %d that were acknowledged", got[0], w.loader.events)
	}
	stored := map[string]bool{}
	for _, id := range query[string](t, db, "SELECT node_id FROM nodes") {
		stored[id] = true
	}
	for id := range w.loader.nodes {
		if !stored[id] {
			t.Errorf("node %s was acknowledged and is not there", id)
		}
	}
	runs := map[string]int{}
	for _, r := range w.github.stand.Runs() {
		runs[r.Inputs["job_id"].(string)]++
	}
	attempts := 0
	for _, row := range query[string](t, db, "SELECT job_id || ' ' || attempt FROM provision_jobs") {
		id, text, _ := strings.Cut(row, " ")
		n, _ := strconv.Atoi(text)
		if attempts += n; runs[id] != n {
			t.Errorf("job %s has %d runs after %d attempts: %q", id, runs[id], n, query[string](t, db,
				"SELECT at || ' ' || actor || ' ' || detail FROM audit_logs WHERE job_id = '"+id+"' AND action = 'status' ORDER BY id"))
		}
	}
	if attempts <= orders {
		t.Errorf("%d attempts of %d jobs: none was tried again", attempts, orders)
	}
}

func openFile(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// query returns the only column of all rows; none before there are tables.
func query[T any](t *testing.T, db *sql.DB, text string) (list []T) {
	t.Helper()
	rows, err := db.Query(text)
	if err != nil {
		if !strings.Contains(err.Error(), "no such table") {
			t.Errorf("%s: %v", text, err)
		}
		return nil
	}
	defer rows.Close()
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			t.Error(err)
		}
		list = append(list, v)
	}
	if err := rows.Err(); err != nil {
		t.Error(err)
	}
	return list
}

package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// AddEvents implements [store.Store].
func (db *DB) AddEvents(ctx context.Context, events []provision.Event, now time.Time) (added int, err error) {
	err = db.tx(ctx, "trace events", func(tx *sql.Tx) error {
		added = 0
		for _, e := range events {
			isNew, err := addEvent(ctx, tx, e, now)
			if err != nil {
				return err
			}
			if isNew {
				added++
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return added, nil
}

func addEvent(ctx context.Context, tx *sql.Tx, e provision.Event, now time.Time) (bool, error) {
	j, err := job(ctx, tx, e.JobID)
	known := err == nil
	switch {
	case err != nil && provision.ClassOf(err) != provision.NotFound:
		return false, err
	case known && j.TenantID != e.TenantID:
		return false, provision.Errorf(provision.Conflict, "job %s is not of tenant %s", e.JobID, e.TenantID)
	}
	res, err := tx.ExecContext(ctx, `INSERT INTO trace_events (event_id, trace_id, job_id, tenant_id, stage, status, message,
		attempt, at, duration_ms, run_url) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (job_id, event_id) DO NOTHING`,
		e.ID, e.TraceID, e.JobID, e.TenantID, e.Stage, e.Status, e.Message, e.Attempt, stamp(e.At), e.DurationMS, e.RunURL)
	if err != nil {
		return false, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 || !known {
		return n > 0, err
	}
	moved, err := move(ctx, tx, j, provision.JobRunning, "run", "", now)
	if moved && err == nil {
		_, err = tx.ExecContext(ctx, `UPDATE provision_jobs SET started_at = ?, error = '',
			run_url = CASE WHEN run_url = '' THEN ? ELSE run_url END WHERE job_id = ?`, stamp(now), e.RunURL, j.ID)
	}
	return true, err
}

// TraceEvents implements [store.Store].
func (db *DB) TraceEvents(ctx context.Context, traceID string) ([]provision.Event, error) {
	if traceID == "" {
		return nil, nil
	}
	list, err := events(ctx, db.read, "trace_id = ? AND trace_id <> ''", traceID)
	return list, classify("trace "+traceID, err)
}

// JobEvents implements [store.Store].
func (db *DB) JobEvents(ctx context.Context, jobID string) ([]provision.Event, error) {
	list, err := events(ctx, db.read, "job_id = ?", jobID)
	return list, classify("trace of job "+jobID, err)
}

func events(ctx context.Context, q queryer, where, arg string) ([]provision.Event, error) {
	rows, err := q.QueryContext(ctx, `SELECT event_id, trace_id, job_id, tenant_id, stage, status, message, attempt, at,
		duration_ms, run_url FROM trace_events WHERE `+where+` ORDER BY at, seq`, arg)
	return collect(rows, err, func(r *sql.Rows) (e provision.Event, err error) {
		err = r.Scan(&e.ID, &e.TraceID, &e.JobID, &e.TenantID, &e.Stage, &e.Status, &e.Message, &e.Attempt,
			into{&e.At}, &e.DurationMS, &e.RunURL)
		return e, err
	})
}

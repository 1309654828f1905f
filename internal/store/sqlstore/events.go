package sqlstore

import (
	"context"
	"slices"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// AddEvents implements [store.Store].
func (db *DB) AddEvents(ctx context.Context, events []provision.Event, now time.Time) (added int, err error) {
	err = db.write(ctx, "trace events", func(ctx context.Context, t *turn) error {
		added = 0
		known, err := t.jobsOf(ctx, events)
		if err != nil {
			return err
		}
		for _, e := range events {
			isNew, err := t.addEvent(ctx, e)
			if err != nil {
				return err
			}
			if !isNew {
				continue
			}
			added++
			if j, ok := known[e.JobID]; ok {
				if known[e.JobID], err = t.hear(ctx, j, e, now); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return added, nil
}

// jobsOf returns the jobs that the events are of. One that we do not know was started by hand.
func (t *turn) jobsOf(ctx context.Context, events []provision.Event) (map[string]store.Job, error) {
	var ids List
	for _, e := range events {
		ids = append(ids, e.JobID)
	}
	list, err := jobs(ctx, t, "WHERE job_id IN {$1}", ids)
	if err != nil {
		return nil, err
	}
	known := map[string]store.Job{}
	for _, j := range list {
		known[j.ID] = j
	}
	for _, e := range events {
		if j, ok := known[e.JobID]; ok && j.TenantID != e.TenantID {
			return nil, provision.Errorf(provision.Conflict, "job %s is not of tenant %s", e.JobID, e.TenantID)
		}
	}
	return known, nil
}

func (t *turn) addEvent(ctx context.Context, e provision.Event) (isNew bool, err error) {
	n, err := t.Exec(ctx, `INSERT INTO trace_events (event_id, trace_id, job_id, tenant_id, stage, status, message,
		attempt, at, duration_ms, run_url) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (job_id, event_id) DO NOTHING`,
		e.ID, e.TraceID, e.JobID, e.TenantID, e.Stage, e.Status, e.Message, e.Attempt, stamp(e.At), e.DurationMS, e.RunURL)
	return n > 0, err
}

// hear is what a new event changes of its job.
func (t *turn) hear(ctx context.Context, j store.Job, e provision.Event, now time.Time) (store.Job, error) {
	was := j
	j, refused, err := t.admit(ctx, j, e.RunURL, e.Attempt, now)
	if err != nil || refused != "" {
		return was, err
	}
	url := j.RunURL
	j = j.WithRun(e.RunURL, e.Attempt)
	if url != "" && j.RunID == was.RunID {
		j.RunURL = url // as it was told first
	}
	if store.CanMove(j.Status, provision.JobRunning) {
		j.StartedAt = now
	}
	j.Error, j.ErrorClass = "", "" // whatever was in doubt: it lives
	return t.move(ctx, j, provision.JobRunning, "run", "", now)
}

// TraceEvents implements [store.Store].
func (db *DB) TraceEvents(ctx context.Context, traceID string, p store.Page) ([]provision.Event, int, error) {
	if traceID == "" {
		return nil, 0, nil
	}
	list, total, err := events(ctx, db.backend, "trace_id = $1 AND trace_id <> ''", traceID, p)
	return list, total, db.classify("trace "+traceID, err)
}

// JobEvents implements [store.Store].
func (db *DB) JobEvents(ctx context.Context, jobID string, p store.Page) ([]provision.Event, int, error) {
	list, total, err := events(ctx, db.backend, "job_id = $1", jobID, p)
	return list, total, db.classify("trace of job "+jobID, err)
}

func events(ctx context.Context, q Queryer, where, arg string, p store.Page) ([]provision.Event, int, error) {
	total, err := one(ctx, q, "SELECT count(*) FROM trace_events WHERE "+where, []any{arg}, scan[int])
	if err != nil || total == nil || *total == 0 {
		return nil, 0, err
	}
	order := " ORDER BY at, seq"
	if p.Last { // which are found the other way round without a look at the others
		order, p.Skip = " ORDER BY at DESC, seq DESC", 0
	}
	list, err := all(ctx, q, `SELECT event_id, trace_id, job_id, tenant_id, stage, status, message, attempt, at,
		duration_ms, run_url FROM trace_events WHERE `+where+order+` LIMIT $2 OFFSET $3`, []any{arg, p.Limit, p.Skip},
		func(r Rows) (e provision.Event, err error) {
			err = r.Scan(&e.ID, &e.TraceID, &e.JobID, &e.TenantID, &e.Stage, &e.Status, &e.Message, &e.Attempt,
				into{&e.At}, &e.DurationMS, &e.RunURL)
			return e, err
		})
	if p.Last {
		slices.Reverse(list)
	}
	return list, *total, err
}

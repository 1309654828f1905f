package sqlstore

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// Dispatched implements [store.Store].
func (db *DB) Dispatched(ctx context.Context, id string, r store.Run, now time.Time) error {
	return db.write(ctx, "dispatched job "+id, func(ctx context.Context, t *turn) error {
		j, err := job(ctx, t, id)
		if err != nil || r.Attempt != 0 && r.Attempt != j.Attempt {
			return err
		}
		if j.DispatchedAt.IsZero() {
			j.DispatchedAt = now
		}
		// A late report of an attempt before may have come first.
		newer := store.Active(j.Status) && store.ReportOf(j, "/actions/runs/"+r.ID, 0) == store.OfNewer
		if newer {
			j.RunAttempt = 0
		}
		if j.RunID == "" || newer {
			j.RunID = r.ID
		}
		if j.RunURL == "" || newer {
			j.RunURL = r.URL
		}
		if j.Status == provision.JobPending {
			j.Tries++
			j.Error, j.ErrorClass = r.Doubt, ""
		}
		_, err = t.move(ctx, j, provision.JobDispatched, "trigger", r.Doubt, now)
		return err
	})
}

// move stores j, with another state if it may have that, and records it.
func (t *turn) move(ctx context.Context, j store.Job, to provision.JobStatus, actor, why string, now time.Time) (store.Job, error) {
	from := j.Status
	j.UpdatedAt = now
	if !store.CanMove(from, to) {
		return j, t.save(ctx, j)
	}
	j.Status = to
	if err := t.save(ctx, j); err != nil {
		return j, err
	}
	if store.Active(from) != store.Active(to) {
		t.nodes[j.TargetServerID], t.jobs[j.ID] = true, true // they have one more on its way, or one less
	}
	detail, err := store.StatusDetail(from, to, why)
	if err != nil {
		return j, err
	}
	return j, t.Insert(ctx, intoAudit, [][]any{auditRow(store.AuditEntry{At: now, Actor: actor, Action: "status", JobID: j.ID, TenantID: j.TenantID, Detail: detail})})
}

// Abandon implements [store.Store].
func (db *DB) Abandon(ctx context.Context, id string, why error, now time.Time) error {
	return db.write(ctx, "abandon job "+id, func(ctx context.Context, t *turn) error {
		j, err := job(ctx, t, id)
		if err != nil || j.Status != provision.JobPending {
			return err
		}
		j.Tries++
		_, err = t.end(ctx, j, provision.Completion{JobID: id, TenantID: j.TenantID, Status: provision.JobFailed,
			Error: why.Error(), ErrorClass: provision.ClassOf(why)}, "trigger", now)
		return err
	})
}

// end ends j, which has not ended, as c says, and stores where its tenant is now.
func (t *turn) end(ctx context.Context, j store.Job, c provision.Completion, actor string, now time.Time) (store.Job, error) {
	if c.Status == provision.JobCompleted {
		c.NodeID = cmp.Or(c.NodeID, j.TargetServerID) // whoever leaves it out means that
	}
	j = j.WithRun(c.RunURL, c.Attempt)
	j.NodeID, j.Host, j.Stack, j.Error, j.ErrorClass, j.EndedAt = c.NodeID, c.Host, c.Stack, c.Error, c.ErrorClass, now
	j, err := t.move(ctx, j, c.Status, actor, c.Error, now)
	if err != nil || c.Status != provision.JobCompleted {
		return j, err
	}
	was, err := one(ctx, t, "SELECT node_id FROM tenants_master WHERE tenant_id = $1", []any{j.TenantID}, scan[string])
	if err != nil {
		return j, err
	}
	if was != nil {
		t.nodes[*was] = true
		c.NodeID = cmp.Or(c.NodeID, *was)
	}
	t.nodes[c.NodeID] = true
	_, err = t.Exec(ctx, "UPDATE tenants_master SET status = 'Active', node_id = $1, updated_at = $2 WHERE tenant_id = $3",
		c.NodeID, stamp(now), j.TenantID)
	return j, err
}

// Retry implements [store.Store].
func (db *DB) Retry(ctx context.Context, id, actor string, now time.Time) (j store.Job, err error) {
	err = db.write(ctx, "retry job "+id, func(ctx context.Context, t *turn) (err error) {
		if j, err = job(ctx, t, id); err != nil {
			return err
		}
		if !store.CanMove(j.Status, provision.JobPending) {
			return &provision.Error{Class: provision.Conflict, Text: fmt.Sprintf("job %s is %s", id, j.Status),
				Next: "a job that is Failed or Cancelled can be retried"}
		}
		newest, err := t.newest(ctx, j)
		if err != nil {
			return err
		}
		if newest != id {
			return &provision.Error{Class: provision.Conflict, Text: fmt.Sprintf("tenant %s has a newer job, %s", j.TenantID, newest),
				Next: "look at that job"}
		}
		if err := t.room(ctx, j, now); err != nil {
			return err
		}
		if j, err = t.again(ctx, j, actor, "retry", now); err != nil {
			return err
		}
		return t.Trigger(ctx, []Args{{JobID: j.ID, Attempt: j.Attempt}})
	})
	if err != nil {
		return store.Job{}, err
	}
	return j, nil
}

// room refuses a job whose node takes it no more. It cannot go to another: what was
// dispatched under its id must not say two things.
func (t *turn) room(ctx context.Context, j store.Job, now time.Time) error {
	if j.TargetServerID == "" {
		return nil
	}
	if err := t.recount(ctx); err != nil { // of what was done before in this transaction
		return err
	}
	home, err := one(ctx, t, "SELECT node_id FROM tenants_master WHERE tenant_id = $1", []any{j.TenantID}, scan[string])
	if err != nil {
		return err
	}
	n, ok := t.index.next.Node(j.TargetServerID)
	limit := t.index.next.Decide(placement.Request{Region: j.Region}, now, 1).Thresholds.MaxTenantsPerNode
	why := ""
	switch {
	case !ok:
		why = "is gone"
	case !n.Active:
		why = "is not active"
	case n.Dedicated:
		why = "is dedicated to a tenant"
	case n.Tenants >= limit && (home == nil || *home != n.ID):
		why = fmt.Sprintf("is full: tenant_count %d >= %d", n.Tenants, limit)
	default:
		return nil
	}
	return &provision.Error{Class: provision.Conflict, Text: fmt.Sprintf("node %s, which job %s is for, %s", j.TargetServerID, j.ID, why),
		Next: "enqueue the tenant again, which decides anew: POST /internal/tenants/" + j.TenantID + "/enqueue-provision"}
}

// Stuck implements [store.Store].
func (db *DB) Stuck(ctx context.Context, dispatchedBefore, silentBefore time.Time, limit int) ([]store.Job, error) {
	list, err := jobs(ctx, db.backend, `WHERE status IN ('Pending', 'Dispatched', 'Running') AND ended_at IS NULL
		AND (status = 'Dispatched' AND dispatched_at < $1 OR status = 'Running' AND updated_at < $2)
		ORDER BY created_at, job_id LIMIT $3`, dispatchedBefore.UnixNano(), silentBefore.UnixNano(), limit)
	return list, db.classify("stuck jobs", err)
}

// Settle implements [store.Store].
func (db *DB) Settle(ctx context.Context, j store.Job, c provision.Completion, now time.Time) (changed bool, err error) {
	err = db.write(ctx, "settle job "+j.ID, func(ctx context.Context, t *turn) error {
		changed = false
		have, err := job(ctx, t, j.ID)
		if err != nil || !unmoved(have, j) || !store.CanMove(have.Status, c.Status) {
			return err
		}
		changed = true
		_, err = t.end(ctx, have, c, "sweeper", now)
		return err
	})
	return changed && err == nil, err
}

// unmoved reports whether nothing was heard of a job since it was read.
func unmoved(have, read store.Job) bool {
	return have.Status == read.Status && have.Attempt == read.Attempt && have.UpdatedAt.Equal(read.UpdatedAt)
}

// Note implements [store.Store].
func (db *DB) Note(ctx context.Context, j store.Job, why error) error {
	return db.write(ctx, "note on job "+j.ID, func(ctx context.Context, t *turn) error {
		have, err := job(ctx, t, j.ID)
		if err != nil || !unmoved(have, j) || !store.Active(have.Status) {
			return err
		}
		was := have.Error
		have.Error, have.ErrorClass = "", ""
		if why != nil {
			have.Error, have.ErrorClass = why.Error(), provision.ClassOf(why)
		}
		if have.Error == was {
			return nil
		}
		return t.save(ctx, have)
	})
}

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// A queryer is a database or a transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

const jobColumns = `job_id, tenant_id, status, infra_mode, dedicated, region, target_server_id, subdomain_slug,
	canonical_hostname, trace_id, plan_tier, decision_reason, tries, run_id, run_url, node_id, host, stack,
	error, error_class, created_at, updated_at, dispatched_at, started_at, ended_at`

// The two infra_modes.
const (
	createNewServer = "create_new_server"
	useExisting     = "use_existing"
)

func scanJob(row interface{ Scan(...any) error }) (store.Job, error) {
	var j store.Job
	var mode string
	var dedicated sql.NullInt64
	err := row.Scan(&j.ID, &j.TenantID, &j.Status, &mode, &dedicated, &j.Region, &j.TargetServerID, &j.SubdomainSlug,
		&j.CanonicalHostname, &j.TraceID, &j.Tier, &j.Reason, &j.Tries, &j.RunID, &j.RunURL, &j.NodeID, &j.Host, &j.Stack,
		&j.Error, &j.ErrorClass, into{&j.CreatedAt}, into{&j.UpdatedAt}, into{&j.DispatchedAt}, into{&j.StartedAt}, into{&j.EndedAt})
	j.CreateNewServer = mode == createNewServer
	j.Dedicated = dedicated.Int64 == 1
	return j, err
}

func insertJob(ctx context.Context, tx *sql.Tx, j store.Job) error {
	mode, dedicated := useExisting, any(nil)
	if j.CreateNewServer {
		mode = createNewServer
	}
	if j.Dedicated {
		dedicated = 1
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO provision_jobs (job_id, tenant_id, status, infra_mode, dedicated, region,
		target_server_id, subdomain_slug, canonical_hostname, trace_id, plan_tier, decision_reason, due_at, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		j.ID, j.TenantID, j.Status, mode, dedicated, j.Region, j.TargetServerID, j.SubdomainSlug, j.CanonicalHostname,
		j.TraceID, j.Tier, j.Reason, stamp(j.CreatedAt), stamp(j.CreatedAt), stamp(j.UpdatedAt))
	return err
}

// Job implements [store.Store].
func (db *DB) Job(ctx context.Context, id string) (store.Job, error) {
	j, err := job(ctx, db.read, id)
	return j, classify("job "+id, err)
}

func job(ctx context.Context, q queryer, id string) (store.Job, error) {
	j, err := scanJob(q.QueryRowContext(ctx, "SELECT "+jobColumns+" FROM provision_jobs WHERE job_id = ?", id))
	if errors.Is(err, sql.ErrNoRows) {
		err = provision.Errorf(provision.NotFound, "there is no job %s", id)
	}
	return j, err
}

// Jobs implements [store.Store].
func (db *DB) Jobs(ctx context.Context, f store.Filter) ([]store.Job, error) {
	limit := -1
	if f.Limit > 0 {
		limit = f.Limit
	}
	list, err := jobs(ctx, db.read, `WHERE (? = '' OR status = ?) AND (? = '' OR tenant_id = ?)
		ORDER BY created_at DESC, job_id LIMIT ?`, f.Status, f.Status, f.TenantID, f.TenantID, limit)
	return list, classify("jobs", err)
}

// jobs returns the jobs that the clause chooses.
func jobs(ctx context.Context, q queryer, clause string, args ...any) ([]store.Job, error) {
	rows, err := q.QueryContext(ctx, "SELECT "+jobColumns+" FROM provision_jobs "+clause, args...)
	return collect(rows, err, func(r *sql.Rows) (store.Job, error) { return scanJob(r) })
}

// collect reads all rows and closes them.
func collect[T any](rows *sql.Rows, err error, scan func(*sql.Rows) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// Claim implements [store.Store].
func (db *DB) Claim(ctx context.Context, now, until time.Time) (j store.Job, ok bool, err error) {
	err = db.tx(ctx, "claim a job", func(tx *sql.Tx) error {
		var id string
		err := tx.QueryRowContext(ctx, `UPDATE provision_jobs SET due_at = ?, tries = tries + 1, updated_at = ?
			WHERE job_id = (SELECT job_id FROM provision_jobs WHERE status = 'Pending' AND due_at <= ?
			ORDER BY created_at, job_id LIMIT 1) RETURNING job_id`, stamp(until), stamp(now), stamp(now)).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		} else if err != nil {
			return err
		}
		ok = true
		j, err = job(ctx, tx, id)
		return err
	})
	return j, ok && err == nil, err
}

// Postpone implements [store.Store].
func (db *DB) Postpone(ctx context.Context, id string, until time.Time, why string) error {
	return db.tx(ctx, "postpone job "+id, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE provision_jobs SET due_at = ?, error = ? WHERE job_id = ? AND status = 'Pending'",
			stamp(until), why, id)
		return err
	})
}

// Dispatched implements [store.Store].
func (db *DB) Dispatched(ctx context.Context, id string, r store.Run, now time.Time) error {
	return db.tx(ctx, "dispatched job "+id, func(tx *sql.Tx) error {
		j, err := job(ctx, tx, id)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE provision_jobs SET dispatched_at = coalesce(dispatched_at, ?), updated_at = ?,
			run_id = CASE WHEN ? = '' THEN run_id ELSE ? END, run_url = CASE WHEN ? = '' THEN run_url ELSE ? END,
			error = CASE status WHEN 'Pending' THEN ? ELSE error END
			WHERE job_id = ?`, stamp(now), stamp(now), r.ID, r.ID, r.URL, r.URL, r.Doubt, id); err != nil {
			return err
		}
		_, err = move(ctx, tx, j, provision.JobDispatched, "trigger", r.Doubt, now)
		return err
	})
}

// move changes the state of j, if it may, and records it.
func move(ctx context.Context, tx *sql.Tx, j store.Job, to provision.JobStatus, actor, why string, now time.Time) (bool, error) {
	if !store.CanMove(j.Status, to) {
		return false, nil
	}
	if _, err := tx.ExecContext(ctx, "UPDATE provision_jobs SET status = ?, updated_at = ? WHERE job_id = ?",
		to, stamp(now), j.ID); err != nil {
		return false, err
	}
	detail, err := store.StatusDetail(j.Status, to, why)
	if err != nil {
		return false, err
	}
	return true, audit(ctx, tx, store.AuditEntry{At: now, Actor: actor, Action: "status", JobID: j.ID, TenantID: j.TenantID, Detail: detail})
}

// Abandon implements [store.Store].
func (db *DB) Abandon(ctx context.Context, id string, why error, now time.Time) error {
	return db.tx(ctx, "abandon job "+id, func(tx *sql.Tx) error {
		j, err := job(ctx, tx, id)
		if err != nil || j.Status != provision.JobPending {
			return err
		}
		c := provision.Completion{JobID: id, TenantID: j.TenantID, Status: provision.JobFailed,
			Error: why.Error(), ErrorClass: provision.ClassOf(why)}
		_, err = end(ctx, tx, j, c, "trigger", now)
		return err
	})
}

// Complete implements [store.Store].
func (db *DB) Complete(ctx context.Context, c provision.Completion, now time.Time) (j store.Job, changed bool, err error) {
	if !c.Status.Terminal() {
		return j, false, provision.Errorf(provision.Invalid, "a job does not end in %q", c.Status)
	}
	err = db.tx(ctx, "complete job "+c.JobID, func(tx *sql.Tx) error {
		if j, err = job(ctx, tx, c.JobID); err != nil {
			return err
		}
		if j.TenantID != c.TenantID {
			return provision.Errorf(provision.Conflict, "job %s is not of tenant %s", c.JobID, c.TenantID)
		}
		if j.Status.Terminal() {
			newest, err := jobs(ctx, tx, "WHERE tenant_id = ? ORDER BY created_at DESC, rowid DESC LIMIT 1", c.TenantID)
			if err != nil || newest[0].ID != c.JobID {
				return err
			}
		}
		if changed, err = end(ctx, tx, j, c, "run", now); err == nil && changed {
			j, err = job(ctx, tx, c.JobID)
		}
		return err
	})
	return j, changed && err == nil, err
}

// end ends j as c says, if it may, and stores where its tenant is now.
func end(ctx context.Context, tx *sql.Tx, j store.Job, c provision.Completion, actor string, now time.Time) (bool, error) {
	moved, err := move(ctx, tx, j, c.Status, actor, c.Error, now)
	if err != nil || !moved {
		return false, err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE provision_jobs SET node_id = ?, host = ?, stack = ?, error = ?, error_class = ?,
		run_url = CASE WHEN ? = '' THEN run_url ELSE ? END, ended_at = ? WHERE job_id = ?`,
		c.NodeID, c.Host, c.Stack, c.Error, c.ErrorClass, c.RunURL, c.RunURL, stamp(now), c.JobID); err != nil {
		return false, err
	}
	if c.Status == provision.JobCompleted {
		_, err = tx.ExecContext(ctx, "UPDATE tenants_master SET status = 'Active', node_id = ?, updated_at = ? WHERE tenant_id = ?",
			c.NodeID, stamp(now), c.TenantID)
	}
	return true, err
}

func audit(ctx context.Context, tx *sql.Tx, e store.AuditEntry) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO audit_logs (at, actor, action, job_id, tenant_id, detail) VALUES (?, ?, ?, ?, ?, ?)",
		stamp(e.At), e.Actor, e.Action, e.JobID, e.TenantID, string(e.Detail))
	return err
}

// Audit implements [store.Store].
func (db *DB) Audit(ctx context.Context, jobID string) ([]store.AuditEntry, error) {
	rows, err := db.read.QueryContext(ctx, "SELECT at, actor, action, job_id, tenant_id, detail FROM audit_logs WHERE job_id = ? ORDER BY id", jobID)
	list, err := collect(rows, err, func(r *sql.Rows) (e store.AuditEntry, err error) {
		var detail string
		err = r.Scan(into{&e.At}, &e.Actor, &e.Action, &e.JobID, &e.TenantID, &detail)
		e.Detail = []byte(detail)
		return e, err
	})
	return list, classify("audit of "+jobID, err)
}

// placeable returns the nodes as placement sees them.
func placeable(ctx context.Context, q queryer) ([]placement.Node, error) {
	// A job is on its way to the node it targets, or to the one that it registered itself. A
	// tenant that is there already is not counted again.
	rows, err := q.QueryContext(ctx, `SELECT n.node_id, n.region, n.status, n.dedicated, m.memory_pct, m.updated_at,
		max(coalesce(m.tenant_count, 0), (SELECT count(*) FROM tenants_master t WHERE t.node_id = n.node_id))
		+ (SELECT count(*) FROM provision_jobs j
			WHERE j.status IN ('Pending', 'Dispatched', 'Running') AND (j.target_server_id = n.node_id OR j.job_id = n.job_id)
			AND NOT EXISTS (SELECT 1 FROM tenants_master t WHERE t.tenant_id = j.tenant_id AND t.node_id = n.node_id))
		FROM nodes n LEFT JOIN server_metrics m ON m.node_id = n.node_id ORDER BY n.node_id`)
	return collect(rows, err, func(r *sql.Rows) (n placement.Node, err error) {
		var status provision.NodeStatus
		err = r.Scan(&n.ID, &n.Region, &status, &n.Dedicated, &n.MemoryPct, into{&n.MetricsAt}, &n.Tenants)
		n.Active = status == provision.NodeActive
		return n, err
	})
}

// quoted lists names for a sentence.
func quoted(names []string) string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = fmt.Sprintf("%q", name)
	}
	return strings.Join(list, " and ")
}

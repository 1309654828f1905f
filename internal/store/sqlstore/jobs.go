package sqlstore

import (
	"context"
	"database/sql"
	"math"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

const jobColumns = `job_id, tenant_id, status, infra_mode, dedicated, region, target_server_id, subdomain_slug,
	canonical_hostname, trace_id, plan_tier, decision_reason, attempt, tries, run_id, run_url, run_attempt, past_run_id,
	node_id, host, stack, error, error_class, created_at, updated_at, dispatched_at, started_at, ended_at`

// The two infra_modes.
const (
	createNewServer = "create_new_server"
	useExisting     = "use_existing"
)

func scanJob(row Rows) (store.Job, error) {
	var j store.Job
	var mode string
	var dedicated sql.NullInt64
	err := row.Scan(&j.ID, &j.TenantID, &j.Status, &mode, &dedicated, &j.Region, &j.TargetServerID, &j.SubdomainSlug,
		&j.CanonicalHostname, &j.TraceID, &j.Tier, &j.Reason, &j.Attempt, &j.Tries, &j.RunID, &j.RunURL, &j.RunAttempt, &j.PastRunID,
		&j.NodeID, &j.Host, &j.Stack, &j.Error, &j.ErrorClass,
		into{&j.CreatedAt}, into{&j.UpdatedAt}, into{&j.DispatchedAt}, into{&j.StartedAt}, into{&j.EndedAt})
	j.CreateNewServer = mode == createNewServer
	j.Dedicated = dedicated.Int64 == 1
	return j, err
}

const intoJobs = `provision_jobs (job_id, tenant_id, status, infra_mode, dedicated, region, target_server_id,
	subdomain_slug, canonical_hostname, trace_id, plan_tier, decision_reason, created_at, updated_at, seq)`

// newJobRow is a row of intoJobs.
func newJobRow(j store.Job, seq int64) []any {
	mode, dedicated := useExisting, any(nil)
	if j.CreateNewServer {
		mode = createNewServer
	}
	if j.Dedicated {
		dedicated = 1
	}
	return []any{j.ID, j.TenantID, j.Status, mode, dedicated, j.Region, j.TargetServerID, j.SubdomainSlug, j.CanonicalHostname,
		j.TraceID, j.Tier, j.Reason, stamp(j.CreatedAt), stamp(j.UpdatedAt), seq}
}

// save stores what can change of a job.
func (t *turn) save(ctx context.Context, j store.Job) error {
	_, err := t.Exec(ctx, `UPDATE provision_jobs SET status = $1, attempt = $2, tries = $3, run_id = $4, run_url = $5, run_attempt = $6,
		past_run_id = $7, node_id = $8, host = $9, stack = $10, error = $11, error_class = $12, updated_at = $13, dispatched_at = $14,
		started_at = $15, ended_at = $16 WHERE job_id = $17`,
		j.Status, j.Attempt, j.Tries, j.RunID, j.RunURL, j.RunAttempt, j.PastRunID, j.NodeID, j.Host, j.Stack, j.Error, j.ErrorClass,
		stamp(j.UpdatedAt), stamp(j.DispatchedAt), stamp(j.StartedAt), stamp(j.EndedAt), j.ID)
	return err
}

// Job implements [store.Store].
func (db *DB) Job(ctx context.Context, id string) (store.Job, error) {
	j, err := job(ctx, db.backend, id)
	return j, db.classify("job "+id, err)
}

func job(ctx context.Context, q Queryer, id string) (store.Job, error) {
	list, err := jobs(ctx, q, "WHERE job_id = $1", id)
	if err != nil {
		return store.Job{}, err
	}
	if len(list) == 0 {
		return store.Job{}, provision.Errorf(provision.NotFound, "there is no job %s", id)
	}
	return list[0], nil
}

// Jobs implements [store.Store].
func (db *DB) Jobs(ctx context.Context, f store.Filter) ([]store.Job, error) {
	limit := math.MaxInt32
	if f.Limit > 0 {
		limit = f.Limit
	}
	list, err := jobs(ctx, db.backend, `WHERE ($1 = '' OR status = $1) AND ($2 = '' OR tenant_id = $2)
		ORDER BY created_at DESC, job_id LIMIT $3`, f.Status, f.TenantID, limit)
	return list, db.classify("jobs", err)
}

// jobs returns the jobs that the clause chooses.
func jobs(ctx context.Context, q Queryer, clause string, args ...any) ([]store.Job, error) {
	return all(ctx, q, "SELECT "+jobColumns+" FROM provision_jobs "+clause, args, scanJob)
}

const intoAudit = "audit_logs (at, actor, action, job_id, tenant_id, detail)"

// auditRow is a row of intoAudit.
func auditRow(e store.AuditEntry) []any {
	return []any{stamp(e.At), e.Actor, e.Action, e.JobID, e.TenantID, string(e.Detail)}
}

// Audit implements [store.Store].
func (db *DB) Audit(ctx context.Context, jobID string) ([]store.AuditEntry, error) {
	list, err := all(ctx, db.backend, "SELECT at, actor, action, job_id, tenant_id, detail FROM audit_logs WHERE job_id = $1 ORDER BY id", []any{jobID},
		func(r Rows) (e store.AuditEntry, err error) {
			var detail string
			err = r.Scan(into{&e.At}, &e.Actor, &e.Action, &e.JobID, &e.TenantID, &detail)
			e.Detail = []byte(detail)
			return e, err
		})
	return list, db.classify("audit of "+jobID, err)
}

package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// Complete implements [store.Store].
func (db *DB) Complete(ctx context.Context, c provision.Completion, now time.Time) (j store.Job, refused string, err error) {
	if !c.Status.Terminal() {
		return j, "", provision.Errorf(provision.Invalid, "a job does not end in %q", c.Status)
	}
	err = db.write(ctx, "complete job "+c.JobID, func(ctx context.Context, t *turn) (err error) {
		if j, err = job(ctx, t, c.JobID); err != nil {
			return err
		}
		if j.TenantID != c.TenantID {
			return provision.Errorf(provision.Conflict, "job %s is not of tenant %s", c.JobID, c.TenantID)
		}
		if err := t.mayBeOn(ctx, j, c.NodeID); err != nil {
			return err
		}
		if j, refused, err = t.admit(ctx, j, c.RunURL, c.Attempt, now); err != nil || refused != "" {
			return err
		}
		j, err = t.end(ctx, j, c, "run", now)
		return err
	})
	if err != nil {
		return store.Job{}, "", err
	}
	return j, refused, nil
}

// mayBeOn refuses a node that is dedicated to another tenant. One that is not registered says
// nothing of itself.
func (t *turn) mayBeOn(ctx context.Context, j store.Job, nodeID string) error {
	if nodeID == "" {
		return nil
	}
	n, err := node(ctx, t, nodeID)
	switch {
	case provision.ClassOf(err) == provision.NotFound:
		return nil
	case err == nil && n.Dedicated && n.TenantID != j.TenantID:
		return provision.Errorf(provision.Conflict, "node %s is dedicated to another tenant than that of job %s", nodeID, j.ID)
	}
	return err
}

// admit returns the job as the run that reports may change it, or says why it may not. A
// job that has failed is begun again where its run is.
func (t *turn) admit(ctx context.Context, j store.Job, runURL string, attempt int, now time.Time) (_ store.Job, refused string, err error) {
	report := store.ReportOf(j, runURL, attempt)
	switch {
	case report == store.OfOlder:
		return j, "this run, or attempt of it, is an older one than the job's", nil
	case store.Active(j.Status):
		return j, "", nil
	case report == store.OfThis || j.Status == provision.JobCompleted:
		return j, fmt.Sprintf("the job has ended already: it is %s", j.Status), nil
	}
	newest, err := t.newest(ctx, j)
	if err != nil {
		return j, "", err
	}
	if newest != j.ID {
		return j, fmt.Sprintf("the job has ended already: its tenant has a newer one, %s", newest), nil
	}
	j, err = t.again(ctx, j, "run", "its run was started again", now)
	return j, "", err
}

// newest returns the id of the newest job of j's tenant.
func (t *turn) newest(ctx context.Context, j store.Job) (string, error) {
	id, err := one(ctx, t, "SELECT job_id FROM provision_jobs WHERE tenant_id = $1 ORDER BY seq DESC, created_at DESC LIMIT 1",
		[]any{j.TenantID}, scan[string])
	if err != nil || id == nil {
		return "", err
	}
	return *id, nil
}

// again makes j Pending, as its next attempt.
func (t *turn) again(ctx context.Context, j store.Job, actor, why string, now time.Time) (store.Job, error) {
	next := j.Again(now)
	next.Status = j.Status
	return t.move(ctx, next, provision.JobPending, actor, why, now)
}

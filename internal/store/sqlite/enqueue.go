package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// Enqueue implements [store.Store].
func (db *DB) Enqueue(ctx context.Context, o store.Order) (store.Receipt, error) {
	var r store.Receipt
	err := db.tx(ctx, "enqueue", func(tx *sql.Tx) (err error) {
		if r, err = replay(ctx, tx, o.Key); err != nil || r.Replayed {
			return err
		}
		r, err = enqueue(ctx, tx, o)
		return err
	})
	if err != nil {
		return store.Receipt{}, err
	}
	return r, nil
}

// replay finds what was answered under the key before.
func replay(ctx context.Context, tx *sql.Tx, k store.Key) (store.Receipt, error) {
	var r store.Receipt
	if k.Value == "" {
		return r, nil
	}
	var hash, jobID string
	err := tx.QueryRowContext(ctx, "SELECT hash, job_id, answer FROM idempotency_keys WHERE scope = ? AND key = ?",
		k.Scope, k.Value).Scan(&hash, &jobID, &r.Answer)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return store.Receipt{}, nil
	case err != nil:
		return r, err
	case hash != k.Hash:
		return r, &provision.Error{Class: provision.Invalid,
			Text: "this Idempotency-Key was used for another request",
			Next: "send the request of then again, or use a new key"}
	}
	r.Replayed = true
	r.Job, err = job(ctx, tx, jobID)
	return r, err
}

// enqueue stores a new order.
func enqueue(ctx context.Context, tx *sql.Tx, o store.Order) (store.Receipt, error) {
	active, err := jobs(ctx, tx, "WHERE tenant_id = ? AND status IN ('Pending', 'Dispatched', 'Running')", o.TenantID)
	if err != nil {
		return store.Receipt{}, err
	}
	if len(active) > 0 {
		return store.Receipt{}, &store.ActiveJobError{Job: active[0]}
	}
	slug, node, err := tenant(ctx, tx, o)
	if err != nil {
		return store.Receipt{}, err
	}
	nodes, err := placeable(ctx, tx)
	if err != nil {
		return store.Receipt{}, err
	}
	d := o.Decide(store.World{Nodes: nodes, At: node})
	j := newJob(o, slug, d)
	if err := insertJob(ctx, tx, j); err != nil {
		return store.Receipt{}, err
	}
	detail, err := store.DecisionDetail(d)
	if err != nil {
		return store.Receipt{}, err
	}
	if err := audit(ctx, tx, store.AuditEntry{At: o.Now, Actor: o.Actor, Action: "enqueue",
		JobID: j.ID, TenantID: j.TenantID, Detail: detail}); err != nil {
		return store.Receipt{}, err
	}
	answer, err := o.Answer(j)
	if err != nil {
		return store.Receipt{}, err
	}
	if o.Key.Value != "" {
		_, err = tx.ExecContext(ctx, `INSERT INTO idempotency_keys (scope, key, hash, job_id, answer, created_at)
			VALUES (?, ?, ?, ?, ?, ?)`, o.Key.Scope, o.Key.Value, o.Key.Hash, j.ID, answer, stamp(o.Now))
	}
	return store.Receipt{Job: j, Answer: answer}, err
}

func newJob(o store.Order, slug string, d placement.Decision) store.Job {
	return store.Job{
		Job: provision.Job{
			ID:                o.JobID,
			TenantID:          o.TenantID,
			Region:            d.Placement.Region,
			CreateNewServer:   d.Placement.CreateNewServer,
			TargetServerID:    d.Placement.TargetServerID,
			SubdomainSlug:     slug,
			CanonicalHostname: slug + "." + o.Domain,
			Dedicated:         d.Placement.Dedicated,
			TraceID:           o.TraceID,
		},
		Status:    provision.JobPending,
		Tier:      o.Tier,
		Reason:    d.Reason,
		CreatedAt: o.Now,
		UpdatedAt: o.Now,
	}
}

// tenant creates or updates the tenant of o, and returns its slug and the node it is on.
func tenant(ctx context.Context, tx *sql.Tx, o store.Order) (slug, node string, err error) {
	err = tx.QueryRowContext(ctx, "SELECT subdomain_slug, node_id FROM tenants_master WHERE tenant_id = ?", o.TenantID).
		Scan(&slug, &node)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		if slug, err = freeSlug(ctx, tx, o); err != nil {
			return "", "", err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO tenants_master
			(tenant_id, company_name, subdomain_slug, canonical_hostname, plan_tier, status, created_at, updated_at)
			VALUES (?, ?, ?, ?, ?, 'Pending', ?, ?)`,
			o.TenantID, o.Company, slug, slug+"."+o.Domain, o.Tier, stamp(o.Now), stamp(o.Now))
		return slug, "", err
	case err != nil:
		return "", "", err
	case o.Slug != "" && o.Slug != slug:
		return "", "", provision.Errorf(provision.Conflict, "tenant %s has the subdomain_slug %q and keeps it", o.TenantID, slug)
	}
	_, err = tx.ExecContext(ctx, `UPDATE tenants_master SET plan_tier = ?, updated_at = ?, canonical_hostname = ?,
		company_name = CASE WHEN ? = '' THEN company_name ELSE ? END WHERE tenant_id = ?`,
		o.Tier, stamp(o.Now), slug+"."+o.Domain, o.Company, o.Company, o.TenantID)
	return slug, node, err
}

// freeSlug returns the slug that a new tenant gets.
func freeSlug(ctx context.Context, tx *sql.Tx, o store.Order) (string, error) {
	choices := o.Slugs
	if o.Slug != "" {
		choices = []string{o.Slug}
	}
	for _, slug := range choices {
		owner, err := slugOwner(ctx, tx, slug)
		if err != nil || owner == "" {
			return slug, err
		}
	}
	return "", &provision.Error{Class: provision.Conflict, Next: "choose another subdomain_slug",
		Text: "subdomain_slug " + quoted(choices) + " is taken by another tenant"}
}

// SlugOwner implements [store.Store].
func (db *DB) SlugOwner(ctx context.Context, slug string) (string, error) {
	owner, err := slugOwner(ctx, db.read, slug)
	return owner, classify("slug "+slug, err)
}

func slugOwner(ctx context.Context, q queryer, slug string) (owner string, err error) {
	err = q.QueryRowContext(ctx, "SELECT tenant_id FROM tenants_master WHERE subdomain_slug = ?", slug).Scan(&owner)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return owner, err
}

package sqlstore

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// place decides on the orders one after the other, each seeing those before, and then
// stores all of them, table by table. What is refused has w.err; the error is of the database.
func (t *turn) place(ctx context.Context, orders []*write, log *slog.Logger) error {
	orders, err := t.replay(ctx, orders)
	if err != nil {
		return err
	}
	p, err := t.look(ctx, orders)
	if err != nil {
		return err
	}
	p.log = log
	for _, w := range orders {
		w.receipt, w.err = p.takeSafely(ctx, *w.order)
	}
	return p.store(ctx)
}

// A tenant is what an order needs to know of its tenant.
type tenant struct {
	id, slug string
	node     string // that it was completed on; empty for none
	active   *store.Job
}

// A placer places the orders of one transaction.
type placer struct {
	turn    *turn
	log     *slog.Logger
	tenants map[string]*tenant // by id
	owners  map[string]string  // of slugs
	// The rows to be stored.
	newTenants, oldTenants, jobs, audit, keys [][]any
	triggers                                  []Args
}

// look reads what there is of the orders' tenants and slugs.
func (t *turn) look(ctx context.Context, orders []*write) (*placer, error) {
	p := &placer{turn: t, tenants: map[string]*tenant{}, owners: map[string]string{}}
	if len(orders) == 0 {
		return p, nil
	}
	var ids, slugs List
	asked := map[string]bool{}
	for _, w := range orders {
		ids = append(ids, w.order.TenantID)
		slugs = append(slugs, choices(w.order)...)
		asked[w.order.TenantID] = true
	}
	list, err := all(ctx, t, `SELECT t.tenant_id, t.subdomain_slug, t.node_id FROM {$1} ids CROSS JOIN tenants_master t WHERE t.tenant_id = ids.value
		UNION ALL SELECT t.tenant_id, t.subdomain_slug, t.node_id FROM {$2} slugs CROSS JOIN tenants_master t WHERE t.subdomain_slug = slugs.value`,
		[]any{ids, slugs}, func(r Rows) (have tenant, err error) {
			err = r.Scan(&have.id, &have.slug, &have.node)
			return have, err
		})
	if err != nil {
		return nil, err
	}
	ids = nil
	for _, have := range list {
		p.owners[have.slug] = have.id
		if asked[have.id] {
			p.tenants[have.id] = &have
			ids = append(ids, have.id)
		}
	}
	if len(ids) == 0 {
		return p, nil
	}
	active, err := jobs(ctx, t, "WHERE tenant_id IN {$1} AND status IN ('Pending', 'Dispatched', 'Running') AND ended_at IS NULL", ids)
	for _, j := range active {
		p.tenants[j.TenantID].active = &j
	}
	return p, err
}

// takeSafely is take, whose panic is the error of the order that has caused it: the orders of
// others are in the same transaction.
func (p *placer) takeSafely(ctx context.Context, o store.Order) (r store.Receipt, err error) {
	defer func() {
		if v := recover(); v != nil {
			p.log.ErrorContext(ctx, "panic in an order", slog.String("job_id", o.JobID), slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
			r, err = store.Receipt{}, provision.Errorf(provision.Internal, "order %s: panic: %v", o.JobID, v)
		}
	}()
	return p.take(o)
}

// take decides on an order. What it returns an error of has changed nothing.
func (p *placer) take(o store.Order) (store.Receipt, error) {
	have := p.tenants[o.TenantID]
	known := have != nil
	if !known {
		have = &tenant{id: o.TenantID}
	}
	if known && o.New {
		return store.Receipt{}, &provision.Error{Class: provision.Conflict, Text: "there is a tenant with this tenant_id already",
			Next: "choose another tenant_id, or leave it out"}
	}
	if have.active != nil {
		return store.Receipt{}, &store.ActiveJobError{Job: *have.active}
	}
	slug, err := p.slug(o, have)
	if err != nil {
		return store.Receipt{}, err
	}
	d := o.Decide(store.World{Nodes: p.turn.index.next, At: have.node})
	if o.Snapshot != "" && o.Snapshot != d.Snapshot {
		return store.Receipt{}, &store.MovedError{Decision: d}
	}
	j := newJob(o, slug, d)
	answer, err := o.Answer(j)
	if err != nil {
		return store.Receipt{}, err
	}
	detail, err := store.DecisionDetail(d)
	if err != nil {
		return store.Receipt{}, err
	}
	p.add(o, j, detail, answer, known)
	if target := j.TargetServerID; target != "" && target != have.node {
		p.turn.index.add(target)
	}
	have.slug, have.active = slug, &j
	p.tenants[o.TenantID], p.owners[slug] = have, o.TenantID
	return store.Receipt{Job: j, Answer: answer}, nil
}

// slug returns the slug that the tenant of o gets, or has.
func (p *placer) slug(o store.Order, have *tenant) (string, error) {
	if have.slug != "" {
		if o.Slug != "" && o.Slug != have.slug {
			return "", provision.Errorf(provision.Conflict, "tenant %s has the subdomain_slug %q and keeps it", o.TenantID, have.slug)
		}
		return have.slug, nil
	}
	for _, slug := range choices(&o) {
		if strings.Contains(slug, ".") { // otherwise two could be one hostname
			return "", provision.Errorf(provision.Invalid, "subdomain_slug %q is more than a label", slug)
		}
		if p.owners[slug] == "" {
			return slug, nil
		}
	}
	return "", &provision.Error{Class: provision.Conflict, Next: "choose another subdomain_slug",
		Text: "subdomain_slug " + quoted(choices(&o)) + " is taken by another tenant"}
}

// choices are the slugs that a new tenant may get.
func choices(o *store.Order) []string {
	if o.Slug != "" {
		return []string{o.Slug}
	}
	return o.Slugs
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
		Attempt:   1,
		CreatedAt: o.Now,
		UpdatedAt: o.Now,
	}
}

// add notes the rows of a new job.
func (p *placer) add(o store.Order, j store.Job, detail, answer []byte, known bool) {
	now := stamp(o.Now)
	if known {
		p.oldTenants = append(p.oldTenants, []any{o.Tier, now, j.CanonicalHostname, o.Company, o.TenantID})
	} else {
		p.newTenants = append(p.newTenants, []any{o.TenantID, o.Company, j.SubdomainSlug, j.CanonicalHostname, o.Tier, "Pending", now, now})
	}
	p.jobs = append(p.jobs, newJobRow(j, p.turn.seq))
	p.audit = append(p.audit, auditRow(store.AuditEntry{At: o.Now, Actor: o.Actor, Action: "enqueue",
		JobID: j.ID, TenantID: j.TenantID, Detail: detail}))
	if o.Key.Value != "" {
		p.keys = append(p.keys, []any{o.Key.Scope, o.Key.Value, o.Key.Hash, j.ID, answer, now})
	}
	p.triggers = append(p.triggers, Args{JobID: j.ID, Attempt: j.Attempt})
}

// store stores the rows.
func (p *placer) store(ctx context.Context) error {
	if len(p.jobs) == 0 {
		return nil
	}
	if err := p.turn.ExecMany(ctx, `UPDATE tenants_master SET plan_tier = $1, updated_at = $2, canonical_hostname = $3,
		company_name = CASE WHEN $4 = '' THEN company_name ELSE $4 END WHERE tenant_id = $5`, p.oldTenants); err != nil {
		return err
	}
	for _, table := range []struct {
		into string
		rows [][]any
	}{
		{"tenants_master (tenant_id, company_name, subdomain_slug, canonical_hostname, plan_tier, status, created_at, updated_at)", p.newTenants},
		{intoJobs, p.jobs},
		{intoAudit, p.audit},
		{"idempotency_keys (scope, key, hash, job_id, answer, created_at)", p.keys},
	} {
		if err := p.turn.Insert(ctx, table.into, table.rows); err != nil {
			return err
		}
	}
	return p.turn.Trigger(ctx, p.triggers)
}

// quoted lists names for a sentence.
func quoted(names []string) string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = fmt.Sprintf("%q", name)
	}
	return strings.Join(list, " and ")
}

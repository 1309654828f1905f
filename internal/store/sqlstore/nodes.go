package sqlstore

import (
	"context"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

const nodeQuery = `SELECT n.node_id, n.region, n.host, n.status, n.dedicated, n.tenant_id, n.provider, n.provider_server_id,
	n.ipv6, n.db_host, n.redis_host, n.created_at, m.memory_pct, m.cpu_pct, m.disk_pct, m.updated_at, coalesce(m.tenant_count, 0),
	(SELECT count(*) FROM tenants_master t WHERE t.node_id = n.node_id AND t.node_id <> '')
	FROM nodes n LEFT JOIN server_metrics m ON m.node_id = n.node_id `

func scanNode(row Rows) (provision.Node, error) {
	var n provision.Node
	var at time.Time
	var dedicated, arrived int
	err := row.Scan(&n.ID, &n.Region, &n.Host, &n.Status, &dedicated, &n.TenantID, &n.Provider, &n.ProviderServerID,
		&n.IPv6, &n.DBHost, &n.RedisHost, into{&n.CreatedAt}, &n.MemoryPct, &n.CPUPct, &n.DiskPct, into{&at}, &n.TenantCount, &arrived)
	n.Dedicated = dedicated == 1
	n.TenantCount = max(n.TenantCount, arrived)
	if !at.IsZero() {
		n.MetricsAt = &at
	}
	return n, err
}

// Node implements [store.Store].
func (db *DB) Node(ctx context.Context, id string) (provision.Node, error) {
	n, err := node(ctx, db.backend, id)
	return n, db.classify("node "+id, err)
}

func node(ctx context.Context, q Queryer, id string) (provision.Node, error) {
	n, err := one(ctx, q, nodeQuery+"WHERE n.node_id = $1", []any{id}, scanNode)
	if err != nil {
		return provision.Node{}, err
	}
	if n == nil {
		return provision.Node{}, noNode(id)
	}
	return *n, nil
}

func noNode(id string) error { return provision.Errorf(provision.NotFound, "there is no node %s", id) }

// Nodes implements [store.Store].
func (db *DB) Nodes(ctx context.Context) ([]provision.Node, error) {
	list, err := all(ctx, db.backend, nodeQuery+"ORDER BY n.node_id", nil, scanNode)
	return list, db.classify("nodes", err)
}

// Placement implements [store.Store].
func (db *DB) Placement(ctx context.Context, f func(*placement.Index)) error {
	if db.backend.Shared() {
		if err := db.index.ask(ctx, db.backend); err != nil {
			return db.classify("nodes for placement", err)
		}
	}
	db.index.mu.Lock()
	defer db.index.mu.Unlock()
	f(db.index.committed)
	return nil
}

// PutNode implements [store.Store].
func (db *DB) PutNode(ctx context.Context, n provision.Node, jobID string) (created bool, err error) {
	err = db.write(ctx, "register node "+n.ID, func(ctx context.Context, t *turn) error {
		created = false
		if err := t.ownedBy(ctx, n, jobID); err != nil {
			return err
		}
		have, err := node(ctx, t, n.ID)
		switch {
		case provision.ClassOf(err) == provision.NotFound:
			created = true
			return t.insertNode(ctx, n, jobID)
		case err != nil:
			return err
		case !same(have, n):
			return provision.Errorf(provision.Conflict, "node %s is registered as another: region %s, host %s, %s server %q, tenant %q",
				n.ID, have.Region, have.Host, have.Provider, have.ProviderServerID, have.TenantID)
		}
		return nil
	})
	return created && err == nil, err
}

// SetNodeStatus implements [store.Store].
func (db *DB) SetNodeStatus(ctx context.Context, id string, status provision.NodeStatus, actor string, now time.Time) error {
	return db.write(ctx, "status of node "+id, func(ctx context.Context, t *turn) error {
		have, err := node(ctx, t, id)
		if err != nil || have.Status == status {
			return err
		}
		detail, err := store.NodeDetail(id, have.Status, status)
		if err != nil {
			return err
		}
		t.nodes[id] = true
		if _, err := t.Exec(ctx, "UPDATE nodes SET status = $1 WHERE node_id = $2", status, id); err != nil {
			return err
		}
		err = t.Insert(ctx, intoAudit, [][]any{auditRow(store.AuditEntry{At: now, Actor: actor, Action: "node", Detail: detail})})
		return err
	})
}

func (t *turn) insertNode(ctx context.Context, n provision.Node, jobID string) error {
	dedicated := 0
	if n.Dedicated {
		dedicated = 1
	}
	t.nodes[n.ID] = true
	_, err := t.Exec(ctx, `INSERT INTO nodes (node_id, region, host, status, dedicated, tenant_id, provider,
		provider_server_id, ipv6, db_host, redis_host, job_id, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		n.ID, n.Region, n.Host, n.Status, dedicated, n.TenantID, n.Provider,
		n.ProviderServerID, n.IPv6, n.DBHost, n.RedisHost, jobID, stamp(n.CreatedAt))
	return err
}

// ownedBy refuses a node that a job registers for another tenant or in another region.
// A job that is not ours was started by hand, and says nothing.
func (t *turn) ownedBy(ctx context.Context, n provision.Node, jobID string) error {
	if jobID == "" {
		return nil
	}
	j, err := job(ctx, t, jobID)
	switch {
	case provision.ClassOf(err) == provision.NotFound:
		return nil
	case err != nil:
		return err
	case n.Dedicated && n.TenantID != j.TenantID:
		return provision.Errorf(provision.Conflict, "node %s is for tenant %s, but job %s is not", n.ID, n.TenantID, jobID)
	case n.Region != j.Region:
		return provision.Errorf(provision.Conflict, "node %s is in region %s, but job %s is for %s", n.ID, n.Region, jobID, j.Region)
	}
	return nil
}

// same reports whether a and b are one server. What an operator or an agent may change is not compared.
func same(a, b provision.Node) bool {
	return a.Region == b.Region && a.Host == b.Host && a.Dedicated == b.Dedicated && a.TenantID == b.TenantID &&
		a.Provider == b.Provider && a.ProviderServerID == b.ProviderServerID
}

// PutMetrics implements [store.Store].
func (db *DB) PutMetrics(ctx context.Context, m store.Metrics) error {
	return db.write(ctx, "metrics of node "+m.NodeID, func(ctx context.Context, t *turn) error {
		if _, err := node(ctx, t, m.NodeID); err != nil {
			return err
		}
		t.nodes[m.NodeID] = true
		row := []any{m.NodeID, m.CPUPct, m.MemoryPct, m.DiskPct, m.TenantCount, m.Source, stamp(m.At)}
		if _, err := t.Exec(ctx, `INSERT INTO server_metrics (node_id, cpu_pct, memory_pct, disk_pct, tenant_count, source, updated_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (node_id) DO UPDATE SET cpu_pct = excluded.cpu_pct, memory_pct = excluded.memory_pct,
			disk_pct = excluded.disk_pct, tenant_count = excluded.tenant_count, source = excluded.source, updated_at = excluded.updated_at`,
			row...); err != nil || !m.Snapshot {
			return err
		}
		_, err := t.Exec(ctx, `INSERT INTO server_metrics_snapshots (node_id, cpu_pct, memory_pct, disk_pct, tenant_count, source, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`, row...)
		return err
	})
}

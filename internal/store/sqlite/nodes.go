package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

const nodeQuery = `SELECT n.node_id, n.region, n.host, n.status, n.dedicated, n.tenant_id, n.provider, n.provider_server_id,
	n.ipv6, n.db_host, n.redis_host, n.created_at, m.memory_pct, m.cpu_pct, m.disk_pct, m.updated_at,
	max(coalesce(m.tenant_count, 0), (SELECT count(*) FROM tenants_master t WHERE t.node_id = n.node_id))
	FROM nodes n LEFT JOIN server_metrics m ON m.node_id = n.node_id `

func scanNode(row interface{ Scan(...any) error }) (provision.Node, error) {
	var n provision.Node
	var at time.Time
	err := row.Scan(&n.ID, &n.Region, &n.Host, &n.Status, &n.Dedicated, &n.TenantID, &n.Provider, &n.ProviderServerID,
		&n.IPv6, &n.DBHost, &n.RedisHost, into{&n.CreatedAt}, &n.MemoryPct, &n.CPUPct, &n.DiskPct, into{&at}, &n.TenantCount)
	if !at.IsZero() {
		n.MetricsAt = &at
	}
	return n, err
}

// Node implements [store.Store].
func (db *DB) Node(ctx context.Context, id string) (provision.Node, error) {
	n, err := node(ctx, db.read, id)
	return n, classify("node "+id, err)
}

func node(ctx context.Context, q queryer, id string) (provision.Node, error) {
	n, err := scanNode(q.QueryRowContext(ctx, nodeQuery+"WHERE n.node_id = ?", id))
	if errors.Is(err, sql.ErrNoRows) {
		err = provision.Errorf(provision.NotFound, "there is no node %s", id)
	}
	return n, err
}

// Nodes implements [store.Store].
func (db *DB) Nodes(ctx context.Context) ([]provision.Node, error) {
	rows, err := db.read.QueryContext(ctx, nodeQuery+"ORDER BY n.node_id")
	list, err := collect(rows, err, func(r *sql.Rows) (provision.Node, error) { return scanNode(r) })
	return list, classify("nodes", err)
}

// Placeable implements [store.Store].
func (db *DB) Placeable(ctx context.Context) ([]placement.Node, error) {
	list, err := placeable(ctx, db.read)
	return list, classify("nodes for placement", err)
}

// PutNode implements [store.Store].
func (db *DB) PutNode(ctx context.Context, n provision.Node, jobID string) (created bool, err error) {
	err = db.tx(ctx, "register node "+n.ID, func(tx *sql.Tx) error {
		if err := ownedBy(ctx, tx, n, jobID); err != nil {
			return err
		}
		have, err := node(ctx, tx, n.ID)
		if provision.ClassOf(err) == provision.NotFound {
			created = true
			_, err = tx.ExecContext(ctx, `INSERT INTO nodes (node_id, region, host, status, dedicated, tenant_id, provider,
				provider_server_id, ipv6, db_host, redis_host, job_id, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
				n.ID, n.Region, n.Host, n.Status, n.Dedicated, n.TenantID, n.Provider,
				n.ProviderServerID, n.IPv6, n.DBHost, n.RedisHost, jobID, stamp(n.CreatedAt))
		}
		if err == nil && !created && !same(have, n) {
			err = provision.Errorf(provision.Conflict, "node %s is registered as another: region %s, host %s, %s server %q, tenant %q",
				n.ID, have.Region, have.Host, have.Provider, have.ProviderServerID, have.TenantID)
		}
		return err
	})
	return created && err == nil, err
}

// ownedBy refuses a node that a job registers for another tenant or in another region.
// A job that is not ours was started by hand, and says nothing.
func ownedBy(ctx context.Context, tx *sql.Tx, n provision.Node, jobID string) error {
	j, err := job(ctx, tx, jobID)
	switch {
	case jobID == "" || provision.ClassOf(err) == provision.NotFound:
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
	return db.tx(ctx, "metrics of node "+m.NodeID, func(tx *sql.Tx) error {
		if _, err := node(ctx, tx, m.NodeID); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO server_metrics (node_id, cpu_pct, memory_pct, disk_pct, tenant_count, source, updated_at)
			VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (node_id) DO UPDATE SET cpu_pct = excluded.cpu_pct, memory_pct = excluded.memory_pct,
			disk_pct = excluded.disk_pct, tenant_count = excluded.tenant_count, source = excluded.source, updated_at = excluded.updated_at`,
			m.NodeID, m.CPUPct, m.MemoryPct, m.DiskPct, m.TenantCount, m.Source, stamp(m.At)); err != nil || !m.Snapshot {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO server_metrics_snapshots (node_id, cpu_pct, memory_pct, disk_pct, tenant_count, source, created_at)
			VALUES (?, ?, ?, ?, ?, ?, ?)`, m.NodeID, m.CPUPct, m.MemoryPct, m.DiskPct, m.TenantCount, m.Source, stamp(m.At))
		return err
	})
}

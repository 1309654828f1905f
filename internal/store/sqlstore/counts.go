package sqlstore

import (
	"context"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// A count is how many rows have a status, and the oldest of them.
type count struct {
	status string
	n      int
	oldest time.Time
}

// Counts implements [store.Store].
func (db *DB) Counts(ctx context.Context) (store.Counts, error) {
	c := store.Counts{Jobs: map[provision.JobStatus]int{}, Tenants: map[string]int{}, Nodes: map[provision.NodeStatus]int{}}
	for table, note := range map[string]func(count){
		"provision_jobs": func(row count) {
			c.Jobs[provision.JobStatus(row.status)] = row.n
			if row.status == string(provision.JobPending) {
				c.Oldest = row.oldest
			}
		},
		"tenants_master": func(row count) { c.Tenants[row.status] = row.n },
		"nodes":          func(row count) { c.Nodes[provision.NodeStatus(row.status)] = row.n },
	} {
		list, err := all(ctx, db.backend, "SELECT status, count(*), min(created_at) FROM "+table+" GROUP BY status", nil,
			func(r Rows) (row count, err error) {
				err = r.Scan(&row.status, &row.n, into{&row.oldest})
				return row, err
			})
		if err != nil {
			return store.Counts{}, db.classify("counts", err)
		}
		for _, row := range list {
			note(row)
		}
	}
	return c, nil
}

// maxPrune is how many rows one transaction forgets, so that orders need not wait for it.
const maxPrune = 500

// Prune implements [store.Store].
func (db *DB) Prune(ctx context.Context, before time.Time) error {
	for _, statement := range []string{
		"DELETE FROM idempotency_keys WHERE (key, scope) IN (SELECT key, scope FROM idempotency_keys WHERE created_at < $1 LIMIT $2)",
		"DELETE FROM server_metrics_snapshots WHERE id IN (SELECT id FROM server_metrics_snapshots WHERE created_at < $1 LIMIT $2)",
	} {
		for n := int64(maxPrune); n == maxPrune; {
			if err := db.write(ctx, "prune", func(ctx context.Context, t *turn) (err error) {
				n, err = t.Exec(ctx, statement, before.UnixNano(), maxPrune)
				return err
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

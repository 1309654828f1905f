package sqlstore

import (
	"context"
	"errors"
	"maps"
	"slices"
)

// A turn is a transaction that writes.
type turn struct {
	Tx
	seq   int64 // from 1; 0 before it is taken
	index *index
	dirty bool // whether something has been written
	// What is counted on these nodes, and on those that these jobs go to, has changed.
	nodes, jobs map[string]bool
}

// take waits for the turn, and brings the index up to date.
func (t *turn) take(ctx context.Context) error {
	seq, err := one(ctx, t.Tx, "UPDATE write_turn SET seq = seq + 1 RETURNING seq", nil, scan[int64])
	if err != nil {
		return err
	}
	if seq == nil {
		return errors.New("the table write_turn is empty")
	}
	t.seq = *seq
	return t.index.begin(ctx, t.Tx, t.seq)
}

// Exec implements [Tx].
func (t *turn) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	t.dirty = true
	return t.Tx.Exec(ctx, query, args...)
}

// ExecMany implements [Tx].
func (t *turn) ExecMany(ctx context.Context, query string, args [][]any) error {
	t.dirty = true
	if len(args) == 0 {
		return nil
	}
	return t.Tx.ExecMany(ctx, query, args)
}

// Insert implements [Tx].
func (t *turn) Insert(ctx context.Context, into string, rows [][]any) error {
	t.dirty = true
	if len(rows) == 0 {
		return nil
	}
	return t.Tx.Insert(ctx, into, rows)
}

// recount reads what has changed of nodes, and puts it into the index.
func (t *turn) recount(ctx context.Context) error {
	if len(t.nodes)+len(t.jobs) == 0 {
		return nil
	}
	list, err := all(ctx, t, placeable+"WHERE n.node_id IN {$1} OR n.job_id <> '' AND n.job_id IN {$2}",
		[]any{List(slices.Collect(maps.Keys(t.nodes))), List(slices.Collect(maps.Keys(t.jobs)))}, scanPlaceable)
	for _, n := range list {
		t.index.put(n.Node)
	}
	return err
}

// mark tells other processes which nodes have changed.
func (t *turn) mark(ctx context.Context) error {
	if len(t.index.touched) == 0 {
		return nil
	}
	_, err := t.Exec(ctx, "UPDATE nodes SET changed_seq = $1 WHERE node_id IN {$2}", t.seq, List(slices.Collect(maps.Keys(t.index.touched))))
	return err
}

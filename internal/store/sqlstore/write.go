package sqlstore

import (
	"context"
	"errors"
	"slices"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// maxBatch is the most changes of one transaction: enough that the disk is not what holds
// us up, and few enough that the last of them need not wait long.
const maxBatch = 256

// maxAgain is how often a transaction is made again that the database has undone.
const maxAgain = 2

// A write is a change that somebody waits for: an order, or whatever do does. Do first
// reads whether it may, and then writes: what it returns without having written is said to
// its caller, and disturbs nobody else.
type write struct {
	ctx   context.Context
	do    func(ctx context.Context, t *turn) error
	order *store.Order
	// What came of it. The writer's until done is closed.
	receipt store.Receipt
	err     error
	done    chan struct{}
}

// errClosed is what is said after Close.
func errClosed() error { return provision.Errorf(provision.Busy, "store: is closed") }

// write makes a change in a transaction, together with others that wait. It waits for the
// end of what has begun, also when ctx is done.
func (db *DB) write(ctx context.Context, what string, do func(ctx context.Context, t *turn) error) error {
	return db.classify(what, db.submit(&write{ctx: ctx, do: do, done: make(chan struct{})}))
}

func (db *DB) submit(w *write) error {
	select {
	case db.writes <- w:
	case <-w.ctx.Done():
		return w.ctx.Err()
	case <-db.closing:
		return errClosed()
	}
	<-w.done
	return w.err
}

// writer makes all changes, until the store is closed.
func (db *DB) writer(ctx context.Context) {
	defer close(db.stopped)
	for {
		select {
		case w := <-db.writes:
			db.commit(ctx, db.gather(w))
		case <-db.closing:
			return
		}
	}
}

// gather returns first and the changes that wait already.
func (db *DB) gather(first *write) []*write {
	batch := []*write{first}
	for len(batch) < maxBatch {
		select {
		case w := <-db.writes:
			batch = append(batch, w)
		default:
			return batch
		}
	}
	return batch
}

// commit makes the changes in one transaction. Where one of them fails in the middle, which
// is not in the order of things, each is made in a transaction of its own, unless all would
// fail: the database is not there, or full.
func (db *DB) commit(ctx context.Context, batch []*write) {
	batch = slices.DeleteFunc(batch, func(w *write) bool {
		if w.err = w.ctx.Err(); w.err != nil {
			close(w.done) // its caller has gone
		}
		return w.err != nil
	})
	if len(batch) == 0 {
		return
	}
	err := db.try(ctx, batch)
	for again := 0; again < maxAgain && err != nil && db.backend.Again(err); again++ {
		err = db.try(ctx, batch)
	}
	db.broken.Store(err != nil && !refusal(err))
	if err != nil && len(batch) > 1 && provision.ClassOf(db.classify("", err)) != provision.Busy {
		for _, w := range batch {
			db.commit(ctx, []*write{w})
		}
		return
	}
	for _, w := range batch {
		if err != nil {
			w.err, w.receipt = err, store.Receipt{}
		}
		close(w.done)
	}
}

// try makes the changes in one transaction, and undoes it if it fails.
func (db *DB) try(ctx context.Context, batch []*write) error {
	tx, err := db.backend.Begin(ctx)
	if err != nil {
		return err
	}
	t := &turn{Tx: tx, index: &db.index, nodes: map[string]bool{}, jobs: map[string]bool{}}
	err = db.perform(ctx, t, batch)
	if err == nil && t.seq > 0 {
		err = tx.Commit(ctx)
	}
	if err != nil || t.seq == 0 {
		// The rollback can add nothing: the connection is dropped if it fails.
		_ = tx.Rollback(ctx)
		db.index.rollback()
		return err
	}
	db.index.commit(t.seq)
	return nil
}

// perform takes the turn and does everything in batch: the orders last, and together. Where
// nothing is left to be done, it does not wait for the turn.
func (db *DB) perform(ctx context.Context, t *turn, batch []*write) error {
	var orders []*write
	for _, w := range batch {
		if w.order != nil {
			orders = append(orders, w)
		}
	}
	others := len(batch) - len(orders)
	orders, err := db.claim(ctx, t, orders)
	if err != nil || len(orders)+others == 0 {
		return err
	}
	if err := t.take(ctx); err != nil {
		return err
	}
	for _, w := range batch {
		if w.order != nil {
			continue
		}
		t.dirty = false
		if w.err = w.do(ctx, t); w.err != nil && (t.dirty || !refusal(w.err)) {
			return w.err
		}
	}
	if err := t.recount(ctx); err != nil {
		return err
	}
	if len(orders) > 0 {
		if err := t.place(ctx, orders, db.log); err != nil {
			return err
		}
	}
	return t.mark(ctx)
}

// refusal reports whether err is what we say ourselves: the transaction is as it was. After
// an error of the database it may be of no more use.
func refusal(err error) bool { return errors.As(err, new(*provision.Error)) }

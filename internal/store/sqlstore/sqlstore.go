// Package sqlstore is what the stores on SQLite and on Postgres have in common: every
// statement, and what a transaction does. A [Backend] is one database; the packages sqlite
// and postgres each are one, with their schema.
//
// All changes are made by one goroutine, which takes the changes that wait and commits them
// together, so that one write to the disk serves them all. A transaction begins by taking
// its turn, see the table write_turn: turns follow one another, whichever process takes
// them, and so nothing that is read in one can change before it is committed.
//
// Statements are written for both: $1 is a parameter, IN {$1} looks for a value in a [List], and
// FROM {$1} list has its values as list.value, in the order of the joins: of a long list that is
// to be found by an index, and may name something twice. To add a question, add its method here; to add a column, a migration to each of
// the backends, and the column to the statements.
package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// A DB is a [store.Store] in a database. It is safe for concurrent use.
type DB struct {
	backend Backend
	log     *slog.Logger
	index   index

	writes  chan *write
	closing chan struct{}
	stopped chan struct{}
	close   sync.Once
	closed  error // what came of it

	broken atomic.Bool // the last transaction failed, for reasons of the database's

	mu       sync.Mutex
	inFlight map[flight]bool
}

var _ store.Store = (*DB)(nil)

// New returns the store in the database of b, whose schema is up to date. Close closes b, too.
func New(ctx context.Context, b Backend, o store.Options) (*DB, error) {
	db := &DB{
		backend:  b,
		log:      o.Log,
		writes:   make(chan *write),
		closing:  make(chan struct{}),
		stopped:  make(chan struct{}),
		inFlight: map[flight]bool{},
	}
	if db.log == nil {
		db.log = slog.New(slog.DiscardHandler)
	}
	db.index.committed = placement.NewIndex(o.Thresholds)
	db.index.next = placement.NewIndex(o.Thresholds)
	db.index.touched = map[string]bool{}
	if err := db.index.read(ctx, b); err != nil {
		return nil, db.classify("nodes for placement", err)
	}
	// The writer outlives the call; its end is Close.
	go db.writer(context.WithoutCancel(ctx))
	return db, nil
}

// Close waits for what is being done and closes the database. Work has ended before.
func (db *DB) Close() error {
	db.close.Do(func() {
		close(db.closing)
		<-db.stopped
		db.closed = db.backend.Close()
	})
	return db.closed
}

// Ping implements [store.Store].
func (db *DB) Ping(ctx context.Context) error {
	if db.broken.Load() { // perhaps it can only be read; whether that is over, a write tells
		return db.write(ctx, "ping", func(context.Context, *turn) error { return nil })
	}
	_, err := one(ctx, db.backend, "SELECT seq FROM write_turn", nil, scan[int64])
	return db.classify("ping", err)
}

// classify says what can be done about err, unless it says so itself.
func (db *DB) classify(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(*provision.Error)):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("store: %s: %w", what, err)
	}
	return db.backend.Classify(what, err)
}

// A stamp is a time as it is stored: nanoseconds since 1970, NULL for the zero time.
func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixNano()
}

// into scans a stamp.
type into struct{ t *time.Time }

// Scan implements [database/sql.Scanner].
func (s into) Scan(v any) error {
	switch n := v.(type) {
	case nil:
		*s.t = time.Time{}
	case int64:
		*s.t = time.Unix(0, n).UTC()
	default:
		return fmt.Errorf("a time is stored as %T", v)
	}
	return nil
}

// Package postgres is the store of control planes on several machines, or of one whose
// database is elsewhere: a Postgres server, from version 13 on.
//
// What is answered is as durable as the server makes a commit. Everybody who writes takes
// turns, see package sqlstore, which has the statements; here is what is Postgres's own:
// how to reach the server, what became of a commit whose answer was lost, who has an
// idempotency key, and whose jobs are handed out again because their process has gone. The
// schema is in migrations, one file per step, applied on opening by one process at a time;
// a change of the schema is a new file there, and its twin in package sqlite.
//
// Sessions and their settings are relied on, so there must be no pooler such as PgBouncer
// between us and the server. After a failover to a standby that had not everything, the
// processes must be started again: what they know of the nodes may be of what was lost.
package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
	"github.com/pregoi/provision-tenant/internal/store/sqlstore"
)

// A DB is a store at a server. It is safe for concurrent use.
type DB struct {
	*sqlstore.DB
	server *server
}

var _ store.Store = (*DB)(nil)

// A server is the backend of a store.
type server struct {
	pool  *pgxpool.Pool
	river *river.Client[pgx.Tx] // which only inserts
	log   *slog.Logger
	cut   context.CancelFunc // breaks every connection

	writer string       // this process, in the table writers
	number atomic.Int64 // of its last transaction
	broken uint32       // the server's process of the last transaction whose connection broke; 0 for none
}

var _ sqlstore.Backend = (*server)(nil)

// openTime bounds how long Open waits for the server, and for others that bring the schema
// up to date.
const openTime = 30 * time.Second

// Open connects to the server that address names, which is postgres://USER:PASSWORD@HOST/NAME
// or what libpq takes, and brings the schema up to date. The address is not repeated in an
// error. It sets pool_max_conns to 10 where the address does not; and two more connections
// are used, to hear of new jobs and to show that this process is there.
func Open(ctx context.Context, address string, o store.Options) (*DB, error) {
	line, cut := context.WithCancel(context.WithoutCancel(ctx))
	config, err := parse(line, address)
	if err != nil {
		cut()
		return nil, err
	}
	s := &server{log: o.Log, cut: cut, writer: rand.Text()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	wait, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	if err := s.prepare(ctx, wait, config); err != nil {
		return nil, errors.Join(s.Classify("open", err), s.Close())
	}
	shared, err := sqlstore.New(ctx, s, o)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &DB{shared, s}, nil
}

// prepare brings the schema up to date and opens the pool, while wait lasts.
func (s *server) prepare(ctx, wait context.Context, config *pgxpool.Config) error {
	if err := migrate(wait, config.Copy()); err != nil {
		return migrated(ctx, err)
	}
	var err error
	if s.pool, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), config); err != nil {
		return reached(ctx, err)
	}
	// Processes that have not written for so long are gone, or will say their name again.
	if _, err := s.pool.Exec(wait, "DELETE FROM writers WHERE seen_at < now() - interval '7 days'"); err != nil {
		return migrated(ctx, err)
	}
	s.river, err = river.NewClient(riverpgxv5.New(s.pool), &river.Config{
		FetchCooldown: time.Millisecond, // how often others are told of new jobs
		Logger:        slog.New(slog.DiscardHandler),
	})
	return err
}

// closeTime is what is under way may take when the store is closed.
const closeTime = 3 * time.Second

// Close waits for what is being done, for 3 seconds at most, and closes the connections.
func (db *DB) Close() error {
	defer time.AfterFunc(closeTime, db.server.cut).Stop()
	return db.DB.Close()
}

// Close closes the connections.
func (s *server) Close() error {
	if s.pool != nil {
		s.pool.Close()
	}
	s.cut()
	return nil
}

// Shared implements [sqlstore.Backend].
func (s *server) Shared() bool { return true }

// sleep waits, unless ctx is done before.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// notAnAddress is said of an address that cannot be read.
func notAnAddress() error {
	return &provision.Error{Class: provision.Invalid,
		Text: "store: the address of the server is not like postgres://USER:PASSWORD@HOST/NAME",
		Next: "correct DATABASE_URL"}
}

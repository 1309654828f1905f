package postgres

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/pregoi/provision-tenant/internal/provision"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the schema up to date, while no other process does. A statement of it may
// take as long as ctx lasts.
func migrate(ctx context.Context, config *pgxpool.Config) error {
	config.MinConns, config.MaxConns = 0, 2 // goose's, and River's
	delete(config.ConnConfig.RuntimeParams, "statement_timeout")
	delete(config.ConnConfig.RuntimeParams, "idle_in_transaction_session_timeout")
	unlock, err := lock(ctx, config.ConnConfig)
	if err != nil {
		return err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return errors.Join(err, unlock())
	}
	defer pool.Close()
	return errors.Join(steps(ctx, pool), unlock())
}

// steps applies the steps that have not been applied, ours and River's.
func steps(ctx context.Context, pool *pgxpool.Pool) error {
	ours, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	db := stdlib.OpenDBFromPool(pool)
	p, err := goose.NewProvider(goose.DialectPostgres, db, ours)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	_, err = p.Up(ctx)
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	m, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

// lock waits until no other process migrates. The lock is the connection's, and so is lost
// with its process. It is asked for again and again: who waits for it inside of a statement
// keeps an index from being built beside it.
func lock(ctx context.Context, config *pgx.ConnConfig) (unlock func() error, err error) {
	c, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	unlock = func() error {
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		return c.Close(bye)
	}
	for {
		var got bool
		if err := c.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", hash("migrate")).Scan(&got); err != nil {
			return nil, errors.Join(err, unlock())
		}
		if got {
			return unlock, nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				err = provision.Errorf(provision.Busy, "store: open: another process has not finished bringing the schema up to date")
			}
			return nil, errors.Join(err, unlock())
		}
	}
}

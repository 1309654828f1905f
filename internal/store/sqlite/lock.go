package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net/url"
	"path/filepath"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// Hold keeps the file at path for one process that serves from it: another would answer from
// what it has in memory. It waits a moment for one that is about to end. It is called before
// Open, so that no schema is changed under a process that serves.
func Hold(ctx context.Context, path string) (release func() error, err error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, provision.Errorf(provision.Invalid, "database %q: %w", path, err)
	}
	wait, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	if err := makePrivate(abs); err != nil {
		return nil, unusable(err)
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil { // by whatever name it is opened
		return nil, unusable(err)
	}
	release, err = lock(wait, abs+"-serve")
	switch {
	case err == nil:
		return release, nil
	case busy(err) && ctx.Err() == nil:
		return nil, &provision.Error{Class: provision.Busy, Text: "another control plane serves from " + abs, Err: err,
			Next: "stop that one first; several can share one Postgres database"}
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return nil, unusable(err)
	}
	return nil, new(file).Classify("keep "+abs, err)
}

// lock waits for the lock that the file at path stands for. One holder has it at a time, and
// loses it with its process. It is SQLite's own, which there is wherever SQLite is.
func lock(ctx context.Context, path string) (unlock func() error, err error) {
	if err := makePrivate(path); err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: "_txlock=exclusive"}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	// The lock outlives the call.
	lasting := context.WithoutCancel(ctx)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		tx, err := db.BeginTx(lasting, nil)
		if err == nil {
			return func() error { return errors.Join(tx.Rollback(), db.Close()) }, nil
		}
		if !busy(err) {
			return nil, errors.Join(err, db.Close())
		}
		if stopped := sleep(ctx, pause); stopped != nil {
			return nil, errors.Join(stopped, err, db.Close())
		}
	}
}

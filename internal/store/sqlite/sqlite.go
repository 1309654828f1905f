// Package sqlite is the store of a control plane on one machine: a file.
//
// What is answered has been written through to the disk (WAL, synchronous=FULL). There is
// one writing connection, so transactions never wait for each other inside a process, and
// another process that writes is waited for. What a transaction does is in package
// sqlstore. The schema is in migrations, one file per step, applied on opening; a change of
// the schema is a new file there, and its twin in package postgres.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	driver "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
	"github.com/pregoi/provision-tenant/internal/store/sqlstore"
)

//go:embed migrations/*.sql
var migrations embed.FS

// A DB is a store in a file. It is safe for concurrent use.
type DB struct {
	*sqlstore.DB
	file *file
}

var _ store.Store = (*DB)(nil)

// batches lets a transaction of many orders, which touches a thousand pages, stay in memory
// until it is written: 16 MB. And it has what is written before the pages are carried over from
// the log to the file, 4,000 of them, so that those that change again and again are carried once.
const batches = "&_pragma=cache_size(-16384)&_pragma=wal_autocheckpoint(4000)"

// readers is how many queries run side by side.
const readers = 4

// Open opens the file at path, creates it where there is none, and brings its schema up to
// date. The file can be read by its owner alone; so can a folder that is made for it.
func Open(ctx context.Context, path string, o store.Options) (*DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, provision.Errorf(provision.Invalid, "database %q: %w", path, err)
	}
	if err := makePrivate(abs); err != nil {
		return nil, unusable(err)
	}
	f := &file{
		path:  abs,
		write: connect(abs, 1, "_txlock=immediate"+batches),
		read:  connect(abs, readers, "_pragma=query_only(1)"),
	}
	if err := f.prepare(ctx); err != nil {
		return nil, errors.Join(f.Classify("open "+abs, err), f.Close())
	}
	shared, err := sqlstore.New(ctx, f, o)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &DB{shared, f}, nil
}

func unusable(err error) error {
	return &provision.Error{Class: provision.Invalid, Text: "database: " + err.Error(), Err: err,
		Next: "check DATABASE_URL, and that its folder can be written"}
}

// makePrivate sees to it that the file at path exists and is its owner's alone. SQLite
// gives the files beside it (-wal, -shm) the mode of this one. One that exists is not
// opened: closing it again would undo the locks that this process has on it.
func makePrivate(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("is no file")}
	}
	return errors.Join(err, os.Chmod(path, 0o600))
}

// connect returns a pool of n connections at most to the file at path.
func connect(path string, n int, extra string) *sql.DB {
	u := url.URL{Scheme: "file", Path: path, RawQuery: "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)" +
		"&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&" + extra}
	db := sql.OpenDB(connector(u.String()))
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db
}

// openTime bounds how long Open waits for others that open the same file.
const openTime = 10 * time.Second

// prepare applies the migrations, while no other process does.
func (f *file) prepare(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	unlock, err := lock(wait, f.path+"-open")
	if err != nil {
		return err
	}
	return errors.Join(f.migrate(wait), unlock())
}

// migrate brings the schema up to date. Who turns a file into WAL mode while another closes
// it is told that it is busy at once: SQLite does not wait there.
func (f *file) migrate(ctx context.Context) error {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		_, err := f.write.ExecContext(ctx, "PRAGMA user_version")
		if !busy(err) {
			break
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
	steps, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, f.write, steps)
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return err
	}
	silent := slog.New(slog.DiscardHandler)
	m, err := rivermigrate.New(riversqlite.New(f.write), &rivermigrate.Config{Logger: silent})
	if err != nil {
		return err
	}
	_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

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

// Classify implements [sqlstore.Backend].
func (f *file) Classify(what string, err error) error {
	if err == nil || errors.As(err, new(*provision.Error)) {
		return err
	}
	class, e := provision.Internal, (*driver.Error)(nil)
	if errors.As(err, &e) {
		switch e.Code() & 0xff { // the rest says which kind of each
		case codes.SQLITE_BUSY, codes.SQLITE_LOCKED, codes.SQLITE_FULL, codes.SQLITE_INTERRUPT, codes.SQLITE_READONLY:
			class = provision.Busy
		case codes.SQLITE_IOERR:
			if e.Code() == codes.SQLITE_IOERR_SHMSIZE { // no space for the -shm file
				class = provision.Busy
			}
		}
	} else if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("store: %s: %w", what, err)
	}
	return provision.Errorf(class, "store: %s: %w", what, err)
}

// busy reports whether another process holds what is needed.
func busy(err error) bool {
	e := (*driver.Error)(nil)
	return errors.As(err, &e) && (e.Code()&0xff == codes.SQLITE_BUSY || e.Code()&0xff == codes.SQLITE_LOCKED)
}

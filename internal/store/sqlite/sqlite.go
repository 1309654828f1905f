// Package sqlite is the store of a control plane on one machine: a file.
//
// What is answered has been written through to the disk (WAL, synchronous=FULL). There is
// one writing connection, so transactions never wait for each other inside a process, and
// another process that writes is waited for. The schema is in migrations, one file per
// step, applied on opening; a change of the schema is a new file there.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3"
	driver "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// A DB is a store in a file. It is safe for concurrent use.
type DB struct {
	write *sql.DB // one connection, every transaction begins with the lock
	read  *sql.DB
}

var _ store.Store = (*DB)(nil)

// readers is how many queries run side by side.
const readers = 4

// Open opens the file at path, creates it where there is none, and brings its schema up to
// date. The file can be read by its owner alone; so can a folder that is made for it.
func Open(ctx context.Context, path string) (*DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, provision.Errorf(provision.Invalid, "database %q: %w", path, err)
	}
	if err := makePrivate(abs); err != nil {
		return nil, provision.Errorf(provision.Invalid, "database: %w", err)
	}
	db := &DB{}
	if db.write, err = connect(abs, 1, "_txlock=immediate"); err != nil {
		return nil, classify("open "+abs, err)
	}
	if db.read, err = connect(abs, readers, "_pragma=query_only(1)"); err != nil {
		return nil, errors.Join(classify("open "+abs, err), db.write.Close())
	}
	if err := db.migrate(ctx); err != nil {
		return nil, errors.Join(classify("migrate "+abs, err), db.Close())
	}
	return db, nil
}

// makePrivate sees to it that the file at path exists and is its owner's alone. SQLite
// gives the files beside it (-wal, -shm) the mode of this one.
func makePrivate(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o600), f.Close())
}

// connect opens n connections at most to the file at path.
func connect(path string, n int, extra string) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Path: path, RawQuery: "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)" +
		"&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&" + extra}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

func (db *DB) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db.write, files)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// Close waits for what is being done and closes the file.
func (db *DB) Close() error { return errors.Join(db.read.Close(), db.write.Close()) }

// Ping implements [store.Store].
func (db *DB) Ping(ctx context.Context) error {
	var n int
	return classify("ping", db.read.QueryRowContext(ctx, "SELECT count(*) FROM goose_db_version").Scan(&n))
}

// tx runs do in a transaction, and classifies what stops it.
func (db *DB) tx(ctx context.Context, what string, do func(*sql.Tx) error) error {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return classify(what, err)
	}
	if err := do(tx); err != nil {
		// The rollback can add nothing: the connection is dropped if it fails.
		_ = tx.Rollback()
		return classify(what, err)
	}
	return classify(what, tx.Commit())
}

// classify says what can be done about err, unless it says so itself.
func classify(what string, err error) error {
	if err == nil {
		return nil
	}
	if e := (*provision.Error)(nil); errors.As(err, &e) {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("store: %s: %w", what, err)
	}
	class := provision.Internal
	if e := (*driver.Error)(nil); errors.As(err, &e) {
		switch e.Code() & 0xff { // the rest says which kind of each
		case codes.SQLITE_BUSY, codes.SQLITE_LOCKED, codes.SQLITE_FULL, codes.SQLITE_INTERRUPT:
			class = provision.Busy
		}
	}
	return provision.Errorf(class, "store: %s: %w", what, err)
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

// Scan implements [sql.Scanner].
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

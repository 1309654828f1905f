// Package sqliteledger is the ledger of dispatchers on one machine: a file.
//
// What Save answers true to has been written through to the disk (WAL, synchronous=FULL).
// Several processes may have the file open: one that writes is waited for. The tables are in
// schema.sql, which is applied on opening; what is added to it later is added there with
// a statement that may be repeated.
package sqliteledger

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	driver "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/provision"
)

//go:embed schema.sql
var schema string

// A Ledger is a ledger in a file. It is safe for concurrent use.
type Ledger struct {
	db    *sql.DB
	group group
}

var (
	_ dispatch.Ledger   = (*Ledger)(nil)
	_ dispatch.Slots    = (*Ledger)(nil)
	_ dispatch.Refusals = (*Ledger)(nil)
)

// Open opens the file at path, and creates it where there is none. It can be read by its
// owner alone; so can a folder that is made for it.
func Open(ctx context.Context, path string) (*Ledger, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, provision.Errorf(provision.Invalid, "ledger %q: %w", path, err)
	}
	if err := makePrivate(abs); err != nil {
		return nil, provision.Errorf(provision.Invalid, "ledger: %w", err)
	}
	u := url.URL{Scheme: "file", Path: abs, RawQuery: "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)" +
		"&_pragma=synchronous(FULL)&_txlock=immediate"}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, classify("open "+abs, err)
	}
	db.SetMaxOpenConns(1) // statements of one process never wait for each other's locks
	if err := prepare(ctx, db, abs); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Ledger{db: db, group: group{turn: make(chan struct{}, 1)}}, nil
}

// openTime bounds how long Open waits for others that open the same file.
const openTime = 5 * time.Second

// prepare connects and applies the schema. Who turns a file into WAL mode while another
// does the same, or closes it, is told that it is busy at once: SQLite does not wait there.
func prepare(ctx context.Context, db *sql.DB, path string) error {
	for start, pause := time.Now(), 5*time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		_, err := db.ExecContext(ctx, schema)
		err = classify("open "+path, err)
		if provision.ClassOf(err) != provision.Busy || time.Since(start) > openTime {
			return unfit(err)
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return err
		}
	}
}

// unfit makes an error about the file that DATABASE_URL names Invalid: another one is needed.
func unfit(err error) error {
	if e := (*driver.Error)(nil); errors.As(err, &e) {
		switch e.Code() & 0xff {
		case codes.SQLITE_NOTADB, codes.SQLITE_CANTOPEN, codes.SQLITE_READONLY, codes.SQLITE_PERM:
			return &provision.Error{Class: provision.Invalid, Text: err.Error(), Err: err,
				Next: "set DATABASE_URL to sqlite://PATH of a file that is a ledger, or is not there yet, in a folder that can be written to"}
		}
	}
	return err
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
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() { // whose mode is others' business
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Chmod(0o600), f.Close())
}

// Close waits for what is being done and closes the file.
func (l *Ledger) Close() error { return l.db.Close() }

// Load implements [dispatch.Ledger].
func (l *Ledger) Load(ctx context.Context, jobID string) (dispatch.Record, error) {
	r := dispatch.Record{JobID: jobID}
	err := l.db.QueryRowContext(ctx, `SELECT version, hash, state, until_at, sends, first_at, sent_at, looks, look_at, run_id, run_url,
		run_html_url, reason, class, next_action, attempt, after_run_id FROM dispatch_ledger WHERE job_id = ?`, jobID).
		Scan(&r.Version, &r.Hash, &r.State, into{&r.Until}, &r.Sends, into{&r.FirstAt}, into{&r.SentAt}, &r.Looks, into{&r.LookAt}, &r.Run.ID, &r.Run.URL,
			&r.Run.HTMLURL, &r.Reason, &r.Class, &r.Next, &r.Attempt, &r.After)
	if errors.Is(err, sql.ErrNoRows) {
		return dispatch.Record{}, nil
	}
	return r, classify("load job "+jobID, err)
}

// Save implements [dispatch.Ledger].
func (l *Ledger) Save(ctx context.Context, r dispatch.Record) (bool, error) {
	values := []any{r.Version + 1, r.Hash, string(r.State), stamp(r.Until), r.Sends, stamp(r.FirstAt), stamp(r.SentAt),
		r.Looks, stamp(r.LookAt), r.Run.ID, r.Run.URL, r.Run.HTMLURL, r.Reason, string(r.Class), r.Next, r.Attempt, r.After, r.JobID}
	statement := `UPDATE dispatch_ledger SET version = ?, hash = ?, state = ?, until_at = ?, sends = ?, first_at = ?, sent_at = ?, looks = ?, look_at = ?,
		run_id = ?, run_url = ?, run_html_url = ?, reason = ?, class = ?, next_action = ?, attempt = ?, after_run_id = ? WHERE job_id = ? AND version = ?`
	if r.Version == 0 {
		statement = `INSERT INTO dispatch_ledger (version, hash, state, until_at, sends, first_at, sent_at, looks, look_at,
			run_id, run_url, run_html_url, reason, class, next_action, attempt, after_run_id, job_id)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`
	} else {
		values = append(values, r.Version)
	}
	return l.one(ctx, "save job "+r.JobID, statement, values)
}

// classify says what can be done about err.
func classify(what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("ledger: %s: %w", what, err)
	}
	e := &provision.Error{Class: provision.Internal, Text: fmt.Sprintf("ledger: %s: %v", what, err), Err: err}
	if cause := (*driver.Error)(nil); errors.As(err, &cause) {
		switch cause.Code() & 0xff { // the rest says which kind of each
		case codes.SQLITE_INTERRUPT:
			return fmt.Errorf("ledger: %s: %w", what, context.Canceled)
		case codes.SQLITE_FULL:
			e.Class, e.Next = provision.Busy, "make room on the disk that holds the ledger, and send the same again"
		case codes.SQLITE_BUSY, codes.SQLITE_LOCKED:
			e.Class = provision.Busy
		}
	}
	return e
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

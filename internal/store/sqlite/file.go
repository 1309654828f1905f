package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/pregoi/provision-tenant/internal/store/sqlstore"
)

// A file is the backend of a store.
type file struct {
	path  string
	write *sql.DB // one connection, every transaction begins with the lock; River has it, too
	read  *sql.DB
	texts sync.Map // statements as SQLite wants them, by what they were: a string or an insertion
}

var _ sqlstore.Backend = (*file)(nil)

// Close closes the connections.
func (f *file) Close() error { return errors.Join(f.read.Close(), f.write.Close()) }

// Shared implements [sqlstore.Backend]: one process serves from a file. Another that writes
// is seen as soon as this one writes, too.
func (f *file) Shared() bool { return false }

// Claim implements [sqlstore.Backend].
func (f *file) Claim(_ context.Context, _ sqlstore.Tx, keys []string) ([]bool, error) {
	return make([]bool, len(keys)), nil
}

// Again implements [sqlstore.Backend]: what fails here has waited already.
func (f *file) Again(error) bool { return false }

// Query implements [sqlstore.Queryer].
func (f *file) Query(ctx context.Context, query string, args ...any) (sqlstore.Rows, error) {
	return f.rows(f.read.QueryContext(ctx, f.text(query), values(args)...))
}

// rows keeps a nil pointer from looking like rows.
func (f *file) rows(r *sql.Rows, err error) (sqlstore.Rows, error) {
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Begin implements [sqlstore.Backend].
func (f *file) Begin(ctx context.Context) (sqlstore.Tx, error) {
	t, err := f.write.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	return &tx{f, t}, nil
}

// A tx is a transaction with the lock.
type tx struct {
	file *file
	tx   *sql.Tx
}

// Query implements [sqlstore.Queryer].
func (t *tx) Query(ctx context.Context, query string, args ...any) (sqlstore.Rows, error) {
	return t.file.rows(t.tx.QueryContext(ctx, t.file.text(query), values(args)...))
}

// Exec implements [sqlstore.Tx].
func (t *tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	result, err := t.tx.ExecContext(ctx, t.file.text(query), values(args)...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// ExecMany implements [sqlstore.Tx].
func (t *tx) ExecMany(ctx context.Context, query string, rows [][]any) error {
	query = t.file.text(query)
	for _, args := range rows {
		if _, err := t.tx.ExecContext(ctx, query, values(args)...); err != nil {
			return err
		}
	}
	return nil
}

// many is how many rows a statement inserts at once. What a statement costs however many rows
// there are is more than a row; but the driver looks for each of its arguments among all of them.
const many = 8

// Insert implements [sqlstore.Tx].
func (t *tx) Insert(ctx context.Context, into string, rows [][]any) error {
	for len(rows) > 0 {
		n := 1
		if len(rows) >= many {
			n = many
		}
		if _, err := t.tx.ExecContext(ctx, t.file.insert(into, n, len(rows[0])), slices.Concat(rows[:n]...)...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// insert returns the statement that inserts n rows. OR FAIL leaves the rows before one that is
// refused, so that SQLite need not keep every page as it was before the statement: the
// transaction is undone anyway.
func (f *file) insert(into string, n, columns int) string {
	key := insertion{into, n}
	if text, ok := f.texts.Load(key); ok {
		return text.(string)
	}
	row := "(" + strings.Repeat("?, ", columns-1) + "?)"
	text := "INSERT OR FAIL INTO " + into + " VALUES " + strings.Repeat(row+", ", n-1) + row
	f.texts.Store(key, text)
	return text
}

// An insertion is a statement that inserts so many rows.
type insertion struct {
	into string
	rows int
}

// trigger stores jobs as River's client does, which takes a statement for each and a savepoint
// around them, and so several times as long. A test holds the two to each other.
const trigger = `INSERT OR FAIL INTO river_job (args, created_at, kind, max_attempts, metadata, priority, queue, scheduled_at, state, tags)
	SELECT cast(value AS BLOB), ?2, ?3, ?4, '{}', ?5, ?6, ?2, ?7, '[]' FROM json_each(?1)`

// riverTime is how River writes a time, in UTC.
const riverTime = "2006-01-02 15:04:05.000"

// Trigger implements [sqlstore.Tx].
func (t *tx) Trigger(ctx context.Context, jobs []sqlstore.Args) error {
	list, err := json.Marshal(jobs)
	if err != nil {
		return err
	}
	_, err = t.tx.ExecContext(ctx, trigger, string(list), time.Now().UTC().Format(riverTime), jobs[0].Kind(), jobs[0].InsertOpts().MaxAttempts,
		river.PriorityDefault, river.QueueDefault, string(rivertype.JobStateAvailable))
	return err
}

// Commit implements [sqlstore.Tx]. SQLite leaves a transaction open whose commit it refuses, and
// database/sql takes it for ended.
func (t *tx) Commit(ctx context.Context) error {
	err := t.tx.Commit()
	if err != nil {
		_, _ = t.file.write.ExecContext(ctx, "ROLLBACK") // it may have ended after all
	}
	return err
}

// Rollback implements [sqlstore.Tx].
func (t *tx) Rollback(context.Context) error { return t.tx.Rollback() }

var (
	in        = regexp.MustCompile(`\bIN \{\$(\d+)\}`)
	list      = regexp.MustCompile(`\{\$(\d+)\}`)
	parameter = regexp.MustCompile(`\$(\d+)`)
)

// text returns the statement as SQLite wants it.
func (f *file) text(query string) string {
	if text, ok := f.texts.Load(query); ok {
		return text.(string)
	}
	text := in.ReplaceAllString(query, "IN (SELECT value FROM json_each(?$1))")
	text = list.ReplaceAllString(text, "json_each(?$1)")
	text = parameter.ReplaceAllString(text, "?$1")
	f.texts.Store(query, text)
	return text
}

// values returns the arguments as SQLite wants them: a list is JSON.
func values(args []any) []any {
	for i, arg := range args {
		if list, ok := arg.(sqlstore.List); ok {
			text, err := json.Marshal(list)
			if err != nil {
				panic(err) // strings can always be written
			}
			args[i] = string(text)
		}
	}
	return args
}

package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"regexp"
	"sync"

	"github.com/riverqueue/river"

	"github.com/pregoi/provision-tenant/internal/store/sqlstore"
)

// A file is the backend of a store.
type file struct {
	path  string
	write *sql.DB // one connection, every transaction begins with the lock; River has it, too
	read  *sql.DB
	river *river.Client[*sql.Tx]
	texts sync.Map // statements as SQLite wants them, by what they were
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

// Trigger implements [sqlstore.Tx].
func (t *tx) Trigger(ctx context.Context, jobs []river.InsertManyParams) error {
	_, err := t.file.river.InsertManyFastTx(ctx, t.tx, jobs)
	return err
}

// Commit implements [sqlstore.Tx].
func (t *tx) Commit(context.Context) error { return t.tx.Commit() }

// Rollback implements [sqlstore.Tx].
func (t *tx) Rollback(context.Context) error { return t.tx.Rollback() }

var (
	in        = regexp.MustCompile(`\{\$(\d+)\}`)
	parameter = regexp.MustCompile(`\$(\d+)`)
)

// text returns the statement as SQLite wants it.
func (f *file) text(query string) string {
	if text, ok := f.texts.Load(query); ok {
		return text.(string)
	}
	text := in.ReplaceAllString(query, "(SELECT value FROM json_each(?$1))")
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

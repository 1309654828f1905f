package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/pregoi/provision-tenant/internal/store/sqlstore"
)

// Query implements [sqlstore.Queryer].
func (s *server) Query(ctx context.Context, query string, args ...any) (sqlstore.Rows, error) {
	limited, cancel := context.WithTimeout(ctx, statementTime)
	c, err := s.pool.Acquire(limited)
	if err != nil {
		cancel()
		return nil, reached(ctx, err)
	}
	r, err := c.Query(limited, text(query), values(args)...)
	free := func() { cancel(); c.Release() }
	if err != nil {
		defer free()
		return nil, ended(ctx, c.Conn(), err)
	}
	return &rows{r, ctx, c.Conn(), free}, nil
}

// rows are what a statement answers.
type rows struct {
	pgx.Rows
	ctx  context.Context
	conn *pgx.Conn
	free func()
}

// Err implements [sqlstore.Rows].
func (r *rows) Err() error { return ended(r.ctx, r.conn, r.Rows.Err()) }

// Close implements [sqlstore.Rows].
func (r *rows) Close() error {
	r.Rows.Close()
	r.free()
	return nil
}

// A tx is a transaction.
type tx struct {
	server *server
	ctx    context.Context // its caller's, without our deadline
	number int64
	conn   *pgxpool.Conn
	tx     pgx.Tx
	cancel context.CancelFunc
	free   bool       // whether the connection has been given back
	rest   *pgx.Batch // what ExecMany has put off
}

// Begin implements [sqlstore.Backend]. The transaction leaves its number, by which it can be
// found out later whether it was committed.
func (s *server) Begin(ctx context.Context) (sqlstore.Tx, error) {
	limited, cancel := context.WithTimeout(ctx, statementTime)
	c, err := s.pool.Acquire(limited)
	if err != nil {
		cancel()
		return nil, reached(ctx, err)
	}
	t := &tx{server: s, ctx: limited, number: s.number.Add(1), conn: c, cancel: cancel}
	// Neither of the two can hold a quote. What is read after the turn was taken must be what
	// was committed before it.
	t.tx, err = c.BeginTx(limited, pgx.TxOptions{BeginQuery: fmt.Sprintf(`BEGIN ISOLATION LEVEL READ COMMITTED;
		INSERT INTO writers (writer, number) VALUES ('%s', %d)
		ON CONFLICT (writer) DO UPDATE SET number = excluded.number, seen_at = excluded.seen_at`, s.writer, t.number)})
	if err != nil {
		err = ended(ctx, c.Conn(), err)
		t.release()
		return nil, err
	}
	return t, nil
}

// release gives the connection back; one that is in the middle of something is closed.
func (t *tx) release() {
	if !t.free {
		t.free = true
		if c := t.conn.Conn(); c.IsClosed() {
			t.server.broken = c.PgConn().PID()
		}
		t.conn.Release()
		t.cancel()
	}
}

// Query implements [sqlstore.Queryer].
func (t *tx) Query(ctx context.Context, query string, args ...any) (sqlstore.Rows, error) {
	if err := t.flush(ctx); err != nil {
		return nil, err
	}
	r, err := t.tx.Query(t.ctx, text(query), values(args)...)
	if err != nil {
		return nil, ended(ctx, t.conn.Conn(), err)
	}
	return &rows{r, ctx, t.conn.Conn(), func() {}}, nil
}

// Exec implements [sqlstore.Tx].
func (t *tx) Exec(ctx context.Context, query string, args ...any) (affected int64, err error) {
	t.later(query, args).Exec(func(tag pgconn.CommandTag) error {
		affected = tag.RowsAffected()
		return nil
	})
	return affected, t.flush(ctx)
}

// ExecMany implements [sqlstore.Tx]. Others wait for us by now: all that is written is sent
// at once, at the end.
func (t *tx) ExecMany(_ context.Context, query string, list [][]any) error {
	for _, args := range list {
		t.later(query, args)
	}
	return nil
}

func (t *tx) later(query string, args []any) *pgx.QueuedQuery {
	if t.rest == nil {
		t.rest = new(pgx.Batch)
	}
	return t.rest.Queue(text(query), values(args)...)
}

// flush sends what was put off.
func (t *tx) flush(ctx context.Context) error {
	b := t.rest
	if b == nil {
		return nil
	}
	t.rest = nil
	return ended(ctx, t.conn.Conn(), t.tx.SendBatch(t.ctx, b).Close())
}

// Insert implements [sqlstore.Tx].
func (t *tx) Insert(ctx context.Context, into string, rows [][]any) error {
	parameters := make([]string, len(rows[0]))
	for i := range parameters {
		parameters[i] = "$" + strconv.Itoa(i+1)
	}
	return t.ExecMany(ctx, "INSERT INTO "+into+" VALUES ("+strings.Join(parameters, ", ")+")", rows)
}

// Trigger implements [sqlstore.Tx].
func (t *tx) Trigger(ctx context.Context, jobs []sqlstore.Args) error {
	list := make([]river.InsertManyParams, len(jobs))
	for i, args := range jobs {
		list[i].Args = args
	}
	_, err := t.server.river.InsertManyTx(t.ctx, t.tx, list)
	return ended(ctx, t.conn.Conn(), err)
}

// Rollback implements [sqlstore.Tx].
func (t *tx) Rollback(ctx context.Context) error {
	if t.free {
		return nil
	}
	defer t.release()
	return ended(ctx, t.conn.Conn(), t.tx.Rollback(t.ctx))
}

// hash returns the number by which everybody knows a lock.
func hash(words ...string) int64 {
	h := sha256.New()
	for _, w := range append([]string{"controlplane"}, words...) {
		fmt.Fprintf(h, "%q", w)
	}
	return int64(binary.BigEndian.Uint64(h.Sum(nil)))
}

var (
	in   = regexp.MustCompile(`\bIN \{(\$\d+)\}`)
	list = regexp.MustCompile(`\{(\$\d+)\} (\w+)`)
)

// text returns the statement as Postgres wants it.
func text(query string) string {
	if !strings.Contains(query, "{") {
		return query
	}
	return list.ReplaceAllString(in.ReplaceAllString(query, "= ANY($1)"), "unnest($1::text[]) $2 (value)")
}

// values returns the arguments as Postgres wants them: an empty list is not NULL, and text
// is UTF-8 without NUL, which what a run or a remote says need not be.
// https://www.postgresql.org/docs/current/datatype-character.html
func values(args []any) []any {
	for i, arg := range args {
		switch v := arg.(type) {
		case string:
			args[i] = plain(v)
		case sqlstore.List:
			list := make([]string, len(v))
			for k, s := range v {
				list[k] = plain(s)
			}
			args[i] = list
		}
	}
	return args
}

func plain(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
}

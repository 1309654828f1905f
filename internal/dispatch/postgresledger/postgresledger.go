// Package postgresledger is a ledger that dispatchers on several machines share: tables of
// a Postgres server.
//
// What Save answers true to is as durable as the server makes a commit. Every statement is
// a transaction of its own, whose condition is the fence, so that nothing is ever locked
// while a dispatcher waits for GitHub. The tables are in schema.sql, which is applied on
// opening; what is added to it later is added there with a statement that may be repeated.
package postgresledger

import (
	"context"
	_ "embed"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/provision"
)

//go:embed schema.sql
var schema string

// timeout bounds every statement, so that a server that has gone away is noticed.
const timeout = 10 * time.Second

// lock is what those who open the ledger at once agree on: any number.
const lock = 7_267_353_116

// A Ledger is a ledger at a server. It is safe for concurrent use.
type Ledger struct{ pool *pgxpool.Pool }

var (
	_ dispatch.Ledger   = (*Ledger)(nil)
	_ dispatch.Slots    = (*Ledger)(nil)
	_ dispatch.Refusals = (*Ledger)(nil)
)

// Open connects to the server that address names, which is postgres://USER:PASSWORD@HOST/NAME
// or what libpq takes, and makes the table where there is none. The address is not
// repeated in an error.
func Open(ctx context.Context, address string) (*Ledger, error) {
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, provision.Errorf(provision.Invalid, "ledger: the address of the server is not like postgres://USER:PASSWORD@HOST/NAME")
	}
	config.ConnConfig.ConnectTimeout = timeout
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, classify("open", err)
	}
	l := &Ledger{pool}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		// CREATE TABLE IF NOT EXISTS fails when two do it at the same moment.
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", lock); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, schema)
		return err
	})
	if err != nil {
		pool.Close()
		return nil, classify("open", err)
	}
	return l, nil
}

// Close waits for what is being done and closes the connections. It answers nil.
func (l *Ledger) Close() error {
	l.pool.Close()
	return nil
}

// Load implements [dispatch.Ledger].
func (l *Ledger) Load(ctx context.Context, jobID string) (dispatch.Record, error) {
	r := dispatch.Record{JobID: jobID}
	var until, first, sent, look *int64
	none := false
	err := l.do(ctx, "load job "+jobID, func(ctx context.Context) error {
		err := l.pool.QueryRow(ctx, `SELECT version, hash, state, until_at, sends, first_at, sent_at, looks, look_at, run_id, run_url,
			run_html_url, reason, class, next_action, attempt, after_run_id FROM dispatch_ledger WHERE job_id = $1`, jobID).
			Scan(&r.Version, &r.Hash, &r.State, &until, &r.Sends, &first, &sent, &r.Looks, &look, &r.Run.ID, &r.Run.URL,
				&r.Run.HTMLURL, &r.Reason, &r.Class, &r.Next, &r.Attempt, &r.After)
		if none = errors.Is(err, pgx.ErrNoRows); none {
			return nil
		}
		return err
	})
	if err != nil || none {
		return dispatch.Record{}, err
	}
	r.Until, r.FirstAt, r.SentAt, r.LookAt = timeOf(until), timeOf(first), timeOf(sent), timeOf(look)
	return r, nil
}

// Save implements [dispatch.Ledger].
func (l *Ledger) Save(ctx context.Context, r dispatch.Record) (bool, error) {
	mark := rand.Int64()
	values := []any{r.JobID, r.Version + 1, r.Hash, string(r.State), stamp(r.Until), r.Sends, stamp(r.FirstAt), stamp(r.SentAt),
		r.Looks, stamp(r.LookAt), r.Run.ID, r.Run.URL, r.Run.HTMLURL, r.Reason, string(r.Class), r.Next, mark, r.Attempt, r.After}
	statement := `UPDATE dispatch_ledger SET version = $2, hash = $3, state = $4, until_at = $5, sends = $6, first_at = $7,
		sent_at = $8, looks = $9, look_at = $10, run_id = $11, run_url = $12, run_html_url = $13, reason = $14, class = $15,
		next_action = $16, mark = $17, attempt = $18, after_run_id = $19 WHERE job_id = $1 AND version = $20`
	if r.Version == 0 {
		statement = `INSERT INTO dispatch_ledger (job_id, version, hash, state, until_at, sends, first_at, sent_at, looks, look_at,
			run_id, run_url, run_html_url, reason, class, next_action, mark, attempt, after_run_id)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) ON CONFLICT DO NOTHING`
	} else {
		values = append(values, r.Version)
	}
	return l.fenced(ctx, r.JobID, r.Version+1, mark, statement, values)
}

// stamp returns a time as it is stored: nanoseconds since 1970, nil for the zero time.
func stamp(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.UnixNano()
	return &n
}

func timeOf(n *int64) time.Time {
	if n == nil {
		return time.Time{}
	}
	return time.Unix(0, *n).UTC()
}

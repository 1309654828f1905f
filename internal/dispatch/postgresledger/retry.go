package postgresledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// tries is how often a statement is sent that has had no effect.
const tries = 7

// do runs what sends one statement, and again where it is certain that it had no effect.
func (l *Ledger) do(ctx context.Context, what string, send func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var err error
	for try := range tries {
		if err = send(limited); !undone(err) || !rest(limited, try) {
			break
		}
	}
	return cause(ctx, classify(what, err))
}

// undone reports whether err says that a statement had no effect, and that the same may
// have one now: others were in its way, or it was not sent.
// https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html
func undone(err error) bool {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code == "40001" || e.Code == "40P01"
	}
	return err != nil && pgconn.SafeToRetry(err)
}

// unknown reports whether a statement that ended in err may have had an effect.
func unknown(err error) bool {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code == "40003" || strings.HasPrefix(e.Code, "57P") || strings.HasPrefix(e.Code, "08")
	}
	return err != nil && !undone(err)
}

// rest waits before the next try, and reports whether there is one.
func rest(ctx context.Context, try int) bool {
	t := time.NewTimer(10 * time.Millisecond << try)
	defer t.Stop()
	select {
	case <-t.C:
		return try+1 < tries
	case <-ctx.Done():
		return false
	}
}

// errOvertaken says that a record was saved by somebody, and then by others.
var errOvertaken = errors.New("others have saved it since")

// fenced runs a statement that saves version of a job as mark, unless another has come
// first. Where its answer is lost, it is sent again: if it had an effect, this one has
// none, and the mark is there to see.
func (l *Ledger) fenced(ctx context.Context, job string, version, mark int64, statement string, values []any) (bool, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	what, lost := "save job "+job, false
	for try := 0; ; try++ {
		tag, err := l.pool.Exec(limited, statement, values...)
		switch {
		case err == nil && tag.RowsAffected() == 1:
			return true, nil
		case err == nil && !lost:
			return false, nil
		case err == nil:
			var ours bool
			if ours, err = l.marked(limited, job, version, mark); err == nil {
				return ours, nil
			}
		}
		lost = lost || unknown(err)
		if errors.Is(err, errOvertaken) || !undone(err) && !unknown(err) || !rest(limited, try) {
			return false, cause(ctx, classify(what, err))
		}
	}
}

// marked reports whether the record that was saved as version has the mark.
func (l *Ledger) marked(ctx context.Context, job string, version, mark int64) (bool, error) {
	var v, m int64
	err := l.pool.QueryRow(ctx, "SELECT version, mark FROM dispatch_ledger WHERE job_id = $1", job).Scan(&v, &m)
	switch {
	case errors.Is(err, pgx.ErrNoRows), err == nil && v < version:
		return false, nil
	case err == nil && v > version:
		return false, errOvertaken
	}
	return m == mark, err
}

// cause keeps the caller's own end of patience apart from ours.
func cause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("ledger: %w", ctx.Err())
	}
	return err
}

// classify says what can be done about err. Only the server's own words are repeated: the
// driver's name the host and the user.
func classify(what string, err error) error {
	if err == nil {
		return nil
	}
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return &provision.Error{Class: provision.Busy, Text: "ledger: " + what + ": the database server does not answer", Err: err}
	}
	class := provision.Internal
	switch {
	case strings.HasPrefix(e.Code, "28"): // authorization
		class = provision.Denied
	case e.Code == "3D000": // no such database
		class = provision.NotFound
	case e.Code == "25006": // a copy, which others write to: the server that was ours has been replaced
		class = provision.Busy
	case strings.HasPrefix(e.Code, "40"), strings.HasPrefix(e.Code, "53"), strings.HasPrefix(e.Code, "57"), strings.HasPrefix(e.Code, "08"):
		class = provision.Busy // a deadlock, resources, an operator, the connection
	}
	return &provision.Error{Class: class, Text: "ledger: " + what + ": " + e.Code + " " + e.Message, Err: err}
}

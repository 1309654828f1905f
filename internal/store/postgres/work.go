package postgres

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/pregoi/provision-tenant/internal/store/sqlstore"
)

const (
	// pollTime is how often jobs are looked for whose notice was missed.
	pollTime = 500 * time.Millisecond
	// watchTime is how often a process looks whether it and the others are there still, and
	// answerTime how long the server may take to say so. Together they are shorter than the
	// time after which the server gives up a connection that is silent, see settings: so who
	// is cut off has stopped before its jobs are handed out again.
	watchTime, answerTime = time.Second, 3 * time.Second
	// graceTime is how long a process has to be gone before its jobs are handed out again: one
	// that has lost its connection only, which it notices at once, stops its jobs meanwhile.
	graceTime = 2 * time.Second
)

// Work implements [sqlstore.Backend]: every process works, until ctx is done or the server is
// lost. A connection of its own shows to others that this process is there: it has the lock
// of the name under which River works.
func (s *server) Work(ctx context.Context, config *river.Config, run func(context.Context, sqlstore.Client) error) error {
	host, _ := os.Hostname() // which may have none
	w := &watch{log: s.log, name: fmt.Sprintf("%.60s-%d-%s", host, os.Getpid(), rand.Text()), gone: map[string]time.Time{}}
	var err error
	if w.conn, err = s.show(ctx, w.name); err != nil {
		return err
	}
	named := *config
	named.ID, named.FetchPollInterval = w.name, pollTime
	client, err := river.NewClient(riverpgxv5.New(s.pool), &named)
	if err != nil {
		return w.end(ctx, err)
	}
	alive, leave := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		if err = w.watch(alive); err != nil {
			leave(sqlstore.ErrGone)
		}
	})
	ran := run(alive, client)
	leave(nil)
	watching.Wait()
	select {
	case <-client.Stopped(): // otherwise it might yet say what became of jobs that are others'
	case <-ctx.Done():
	}
	if err == nil {
		err = ran
	}
	return w.end(ctx, err)
}

// show connects, and takes the lock of the name.
func (s *server) show(ctx context.Context, name string) (*pgx.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	c, err := pgx.ConnectConfig(limited, s.pool.Config().ConnConfig.Copy())
	if err != nil {
		return nil, reached(ctx, err)
	}
	if _, err := c.Exec(limited, "SELECT pg_advisory_lock($1)", hash("worker", name)); err != nil {
		err = ended(ctx, c, err)
		_ = c.Close(limited)
		return nil, err
	}
	return c, nil
}

// A watch shows that a process is there, and looks for those that are not.
type watch struct {
	log  *slog.Logger
	name string
	conn *pgx.Conn
	gone map[string]time.Time // since when, by name
	told bool                 // that it cannot look
}

// end closes the connection, and returns err.
func (w *watch) end(ctx context.Context, err error) error {
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = w.conn.Close(bye) // at the latest the end of the process does
	return err
}

// watch returns nil when ctx is done, and an error when the connection is lost.
func (w *watch) watch(ctx context.Context) error {
	for {
		// Nobody notifies this connection: its end is what is waited for.
		wait, cancel := context.WithTimeout(ctx, watchTime)
		_, err := w.conn.WaitForNotification(wait)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if !w.conn.IsClosed() {
			limited, cancel := context.WithTimeout(ctx, answerTime)
			err = pgx.BeginFunc(limited, w.conn, func(tx pgx.Tx) error { return w.look(limited, tx) })
			cancel()
			w.tell(ctx, err)
		}
		if w.conn.IsClosed() && ctx.Err() == nil {
			return ended(ctx, w.conn, err)
		}
	}
}

// tell logs the first of several errors.
func (w *watch) tell(ctx context.Context, err error) {
	if err != nil && !w.told && ctx.Err() == nil {
		w.log.WarnContext(ctx, "it cannot be found out whose jobs are to be handed out again", slog.Any("error", err))
	}
	w.told = err != nil
}

// look hands out again what processes have begun that are not there any more, and takes the
// role of River's leader from them. That a process has gone in the middle of a try says nothing
// of the job: the try is made again, and not counted twice.
func (w *watch) look(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `SELECT DISTINCT coalesce(attempted_by[cardinality(attempted_by)], '') FROM river_job WHERE state = 'running'
		UNION SELECT leader_id FROM river_leader`)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	before := w.gone
	w.gone = map[string]time.Time{}
	for _, name := range names {
		var gone bool
		// The lock is shared, so that those who look do not take each other for the holder.
		if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock_shared($1)", hash("worker", name)).Scan(&gone); err != nil {
			return err
		}
		if !gone || name == w.name {
			continue
		}
		since, ok := before[name]
		if !ok {
			since = time.Now()
		}
		w.gone[name] = since
		if time.Since(since) < graceTime {
			continue
		}
		tag, err := tx.Exec(ctx, `UPDATE river_job SET state = 'available', attempt = greatest(attempt - 1, 0) WHERE state = 'running' AND attempted_by[cardinality(attempted_by)] = $1`, name)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "DELETE FROM river_leader WHERE leader_id = $1", name); err != nil {
			return err
		}
		w.log.WarnContext(ctx, "a process is gone, and its jobs are handed out again", slog.String("process", name), slog.Int64("jobs", tag.RowsAffected()))
	}
	return nil
}

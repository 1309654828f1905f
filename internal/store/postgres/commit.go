package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Commit implements [sqlstore.Tx]. Where the answer is lost, it finds out what it was.
func (t *tx) Commit(ctx context.Context) error {
	if err := t.flush(ctx); err != nil {
		return err
	}
	err := t.tx.Commit(t.ctx)
	t.release()
	e := (*pgconn.PgError)(nil)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pgx.ErrTxCommitRollback), errors.As(err, &e) && e.Severity == "ERROR":
		return err
	}
	committed, lookErr := t.server.committed(ctx, t.number)
	switch {
	case lookErr != nil:
		t.server.log.ErrorContext(ctx, "it is not known whether a transaction was committed", "error", err, "look", lookErr)
		return &doubtError{}
	case committed:
		return nil
	}
	return lost(err)
}

// lookTime bounds how long a server is waited for that has to tell what became of a commit.
const lookTime = 5 * time.Second

// committed reports whether the transaction with the number, this process's last, was
// committed. It waits for the end of one that the server is still busy with.
func (s *server) committed(ctx context.Context, number int64) (bool, error) {
	limited, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	for {
		var last int64
		err := s.pool.QueryRow(limited, "SELECT number FROM writers WHERE writer = $1 FOR UPDATE", s.writer).Scan(&last)
		switch {
		case err == nil:
			return last == number, nil
		case errors.Is(err, pgx.ErrNoRows):
			return false, nil
		}
		if sleep(limited, 100*time.Millisecond) != nil {
			return false, err
		}
	}
}

package postgresledger

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pregoi/provision-tenant/internal/dispatch"
)

var _ dispatch.Inbox = (*Ledger)(nil)

// Keep implements [dispatch.Inbox].
func (l *Ledger) Keep(ctx context.Context, k dispatch.Kept) (dispatch.Kept, error) {
	text, err := json.Marshal(k.Message)
	if err != nil {
		return dispatch.Kept{}, classify("keep job "+k.Message.JobID, err)
	}
	// An update that changes nothing makes the row that is there come back.
	k, _, err = l.kept(ctx, "keep job "+k.Message.JobID, `INSERT INTO dispatch_inbox (job_id, message, due_at) VALUES ($1, $2, $3)
		ON CONFLICT (job_id) DO UPDATE SET job_id = excluded.job_id RETURNING message, due_at`, k.Message.JobID, string(text), k.Due.UnixNano())
	return k, err
}

// Claim implements [dispatch.Inbox].
func (l *Ledger) Claim(ctx context.Context, now, until time.Time) (dispatch.Kept, bool, error) {
	return l.kept(ctx, "claim a job", `UPDATE dispatch_inbox SET due_at = $1 WHERE job_id =
		(SELECT job_id FROM dispatch_inbox WHERE due_at <= $2 ORDER BY due_at, job_id LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING message, due_at`, until.UnixNano(), now.UnixNano())
}

// Find implements [dispatch.Inbox].
func (l *Ledger) Find(ctx context.Context, jobID string) (dispatch.Kept, bool, error) {
	return l.kept(ctx, "find job "+jobID, `SELECT message, due_at FROM dispatch_inbox WHERE job_id = $1`, jobID)
}

// Postpone implements [dispatch.Inbox].
func (l *Ledger) Postpone(ctx context.Context, jobID string, due time.Time) error {
	return l.do(ctx, "postpone job "+jobID, func(ctx context.Context) error {
		_, err := l.pool.Exec(ctx, `UPDATE dispatch_inbox SET due_at = $1 WHERE job_id = $2`, due.UnixNano(), jobID)
		return err
	})
}

// Drop implements [dispatch.Inbox].
func (l *Ledger) Drop(ctx context.Context, jobID string) error {
	return l.do(ctx, "drop job "+jobID, func(ctx context.Context) error {
		_, err := l.pool.Exec(ctx, `DELETE FROM dispatch_inbox WHERE job_id = $1`, jobID)
		return err
	})
}

// Waiting implements [dispatch.Inbox].
func (l *Ledger) Waiting(ctx context.Context) (n int, err error) {
	err = l.do(ctx, "count the jobs", func(ctx context.Context) error {
		return l.pool.QueryRow(ctx, `SELECT count(*) FROM dispatch_inbox`).Scan(&n)
	})
	return n, err
}

// kept runs a statement that returns one row of the inbox or none.
func (l *Ledger) kept(ctx context.Context, what, statement string, values ...any) (k dispatch.Kept, ok bool, err error) {
	err = l.do(ctx, what, func(ctx context.Context) error {
		var text string
		var due int64
		err := l.pool.QueryRow(ctx, statement, values...).Scan(&text, &due)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err == nil {
			err = json.Unmarshal([]byte(text), &k.Message)
		}
		k.Due, ok = time.Unix(0, due).UTC(), err == nil
		return err
	})
	return k, ok && err == nil, err
}

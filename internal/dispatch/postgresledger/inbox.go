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
	what := "keep job " + k.Message.JobID
	text, err := json.Marshal(k.Message)
	if err != nil {
		return dispatch.Kept{}, classify(what, err)
	}
	for {
		// An update that changes nothing makes the row that is there come back.
		old, _, err := l.kept(ctx, what, `INSERT INTO dispatch_inbox (job_id, message, due_at) VALUES ($1, $2, $3)
			ON CONFLICT (job_id) DO UPDATE SET job_id = excluded.job_id RETURNING message, due_at`, k.Message.JobID, string(text), k.Due.UnixNano())
		if err != nil || !k.Supersedes(old) {
			return old, err
		}
		// When the answer to this is lost, the next round finds k, or what k is to replace.
		if err := l.exec(ctx, what, `UPDATE dispatch_inbox SET message = $3, due_at = $4 WHERE `+same, old, string(text), k.Due.UnixNano()); err != nil {
			return dispatch.Kept{}, err
		}
	}
}

// same is the condition for one attempt of a job, which exec fills.
const same = `job_id = $1 AND coalesce(message::json ->> 'attempt', '') = $2`

// exec runs a statement about one attempt of a job.
func (l *Ledger) exec(ctx context.Context, what, statement string, k dispatch.Kept, more ...any) error {
	return l.do(ctx, what, func(ctx context.Context) error {
		_, err := l.pool.Exec(ctx, statement, append([]any{k.Message.JobID, k.Message.Attempt}, more...)...)
		return err
	})
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
func (l *Ledger) Postpone(ctx context.Context, k dispatch.Kept, due time.Time) error {
	return l.exec(ctx, "postpone job "+k.Message.JobID, `UPDATE dispatch_inbox SET due_at = $3 WHERE `+same, k, due.UnixNano())
}

// Drop implements [dispatch.Inbox].
func (l *Ledger) Drop(ctx context.Context, k dispatch.Kept) error {
	return l.exec(ctx, "drop job "+k.Message.JobID, `DELETE FROM dispatch_inbox WHERE `+same, k)
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

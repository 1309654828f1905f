package sqliteledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

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
		old, err := kept(what, l.db.QueryRowContext(ctx, `INSERT INTO dispatch_inbox (job_id, message, due_at) VALUES (?, ?, ?)
			ON CONFLICT (job_id) DO UPDATE SET job_id = excluded.job_id RETURNING message, due_at`, k.Message.JobID, string(text), k.Due.UnixNano()))
		if err != nil || !k.Supersedes(old) {
			return old, err
		}
		replaced, err := l.one(ctx, what, `UPDATE dispatch_inbox SET message = ?, due_at = ? WHERE `+same,
			append([]any{string(text), k.Due.UnixNano()}, key(old)...))
		if err != nil || replaced {
			return k, err
		}
	}
}

// same is the condition for one attempt of a job, and key what it is filled with.
const same = `job_id = ? AND coalesce(message ->> 'attempt', '') = ?`

func key(k dispatch.Kept) []any { return []any{k.Message.JobID, k.Message.Attempt} }

// Claim implements [dispatch.Inbox].
func (l *Ledger) Claim(ctx context.Context, now, until time.Time) (dispatch.Kept, bool, error) {
	var due bool // looking comes first: it takes no lock
	err := l.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM dispatch_inbox WHERE due_at <= ?)`, now.UnixNano()).Scan(&due)
	if err != nil || !due {
		return dispatch.Kept{}, false, classify("look for a job", err)
	}
	return found(kept("claim a job", l.db.QueryRowContext(ctx, `UPDATE dispatch_inbox SET due_at = ? WHERE job_id =
		(SELECT job_id FROM dispatch_inbox WHERE due_at <= ? ORDER BY due_at, job_id LIMIT 1)
		RETURNING message, due_at`, until.UnixNano(), now.UnixNano())))
}

// Find implements [dispatch.Inbox].
func (l *Ledger) Find(ctx context.Context, jobID string) (dispatch.Kept, bool, error) {
	return found(kept("find job "+jobID, l.db.QueryRowContext(ctx, `SELECT message, due_at FROM dispatch_inbox WHERE job_id = ?`, jobID)))
}

// Postpone implements [dispatch.Inbox].
func (l *Ledger) Postpone(ctx context.Context, k dispatch.Kept, due time.Time) error {
	_, err := l.db.ExecContext(ctx, `UPDATE dispatch_inbox SET due_at = ? WHERE `+same, append([]any{due.UnixNano()}, key(k)...)...)
	return classify("postpone job "+k.Message.JobID, err)
}

// Drop implements [dispatch.Inbox].
func (l *Ledger) Drop(ctx context.Context, k dispatch.Kept) error {
	_, err := l.db.ExecContext(ctx, `DELETE FROM dispatch_inbox WHERE `+same, key(k)...)
	return classify("drop job "+k.Message.JobID, err)
}

// Waiting implements [dispatch.Inbox].
func (l *Ledger) Waiting(ctx context.Context) (int, error) {
	var n int
	err := l.db.QueryRowContext(ctx, `SELECT count(*) FROM dispatch_inbox`).Scan(&n)
	return n, classify("count the jobs", err)
}

// kept reads one row of the inbox.
func kept(what string, row *sql.Row) (k dispatch.Kept, err error) {
	var text string
	if err = row.Scan(&text, into{&k.Due}); err == nil {
		err = json.Unmarshal([]byte(text), &k.Message)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return k, err
	}
	return k, classify(what, err)
}

// found tells an error from a row that is not there.
func found(k dispatch.Kept, err error) (dispatch.Kept, bool, error) {
	if errors.Is(err, sql.ErrNoRows) {
		return k, false, nil
	}
	return k, err == nil, err
}

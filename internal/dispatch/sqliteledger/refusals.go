package sqliteledger

import (
	"context"

	"github.com/pregoi/provision-tenant/internal/dispatch"
)

// Refuse implements [dispatch.Refusals].
func (l *Ledger) Refuse(ctx context.Context, r dispatch.Refusal) error {
	r, err := r.Bounded()
	if err != nil {
		return err
	}
	_, err = l.one(ctx, "keep the refusal of message "+r.MessageID, `INSERT INTO dispatch_refusals (message_id, job_id, at, class, reason, body)
		VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		[]any{r.MessageID, r.JobID, r.At.UnixNano(), string(r.Class), r.Reason, append([]byte{}, r.Body...)})
	return err
}

// Refusals implements [dispatch.Refusals].
func (l *Ledger) Refusals(ctx context.Context, limit int) ([]dispatch.Refusal, error) {
	const what = "list the refusals"
	rows, err := l.db.QueryContext(ctx, `SELECT message_id, job_id, at, class, reason, body FROM dispatch_refusals
		ORDER BY at DESC, message_id LIMIT ?`, max(0, limit))
	if err != nil {
		return nil, classify(what, err)
	}
	defer rows.Close()
	var list []dispatch.Refusal
	for rows.Next() {
		var r dispatch.Refusal
		if err := rows.Scan(&r.MessageID, &r.JobID, into{&r.At}, &r.Class, &r.Reason, &r.Body); err != nil {
			return nil, classify(what, err)
		}
		list = append(list, r)
	}
	return list, classify(what, rows.Err())
}

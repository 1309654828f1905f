package postgresledger

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pregoi/provision-tenant/internal/dispatch"
)

// Refuse implements [dispatch.Refusals].
func (l *Ledger) Refuse(ctx context.Context, r dispatch.Refusal) error {
	r, err := r.Bounded()
	if err != nil {
		return err
	}
	return l.do(ctx, "keep the refusal of message "+r.MessageID, func(ctx context.Context) error {
		_, err := l.pool.Exec(ctx, `INSERT INTO dispatch_refusals (message_id, job_id, at, class, reason, body)
			VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`,
			r.MessageID, r.JobID, r.At.UnixNano(), string(r.Class), r.Reason, append([]byte{}, r.Body...))
		return err
	})
}

// Refusals implements [dispatch.Refusals].
func (l *Ledger) Refusals(ctx context.Context, limit int) (list []dispatch.Refusal, err error) {
	err = l.do(ctx, "list the refusals", func(ctx context.Context) error {
		rows, err := l.pool.Query(ctx, `SELECT message_id, job_id, at, class, reason, body FROM dispatch_refusals
			ORDER BY at DESC, message_id LIMIT $1`, max(0, limit))
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r dispatch.Refusal, err error) {
			var at int64
			err = row.Scan(&r.MessageID, &r.JobID, &at, &r.Class, &r.Reason, &r.Body)
			r.At = time.Unix(0, at).UTC()
			return r, err
		})
		return err
	})
	return list, err
}

package postgresledger

import (
	"context"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
)

// LoadTally implements [dispatch.Slots]. Its clock is the server's.
func (l *Ledger) LoadTally(ctx context.Context) (dispatch.Tally, error) {
	var t dispatch.Tally
	var version *int64
	var strikes *int
	var quiet, last *int64
	var writes []int64
	err := l.do(ctx, "load the pace", func(ctx context.Context) error {
		return l.pool.QueryRow(ctx, `SELECT clock_timestamp(), version, quiet_until, strikes, last_at, writes
			FROM (SELECT 1) AS always LEFT JOIN dispatch_pace ON id = 1`).Scan(&t.Now, &version, &quiet, &strikes, &last, &writes)
	})
	if err != nil || version == nil {
		return t, err
	}
	t.Version, t.Strikes, t.Quiet, t.Last = *version, *strikes, timeOf(quiet), timeOf(last)
	for _, n := range writes {
		t.Writes = append(t.Writes, time.Unix(0, n).UTC())
	}
	return t, nil
}

// SaveTally implements [dispatch.Slots].
func (l *Ledger) SaveTally(ctx context.Context, t dispatch.Tally) (ok bool, err error) {
	writes := make([]int64, len(t.Writes))
	for i, w := range t.Writes {
		writes[i] = w.UnixNano()
	}
	values := []any{t.Version + 1, stamp(t.Quiet), t.Strikes, stamp(t.Last), writes}
	statement := "UPDATE dispatch_pace SET version = $1, quiet_until = $2, strikes = $3, last_at = $4, writes = $5 WHERE id = 1 AND version = $6"
	if t.Version == 0 {
		statement = "INSERT INTO dispatch_pace (id, version, quiet_until, strikes, last_at, writes) VALUES (1, $1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"
	} else {
		values = append(values, t.Version)
	}
	err = l.do(ctx, "save the pace", func(ctx context.Context) error {
		tag, err := l.pool.Exec(ctx, statement, values...)
		ok = tag.RowsAffected() == 1
		return err
	})
	return ok && err == nil, err
}

package sqliteledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
)

// LoadTally implements [dispatch.Slots]. Its clock is this machine's, which all who have
// the file open share.
func (l *Ledger) LoadTally(ctx context.Context) (dispatch.Tally, error) {
	const what = "load the pace"
	var t dispatch.Tally
	var writes []byte
	err := l.db.QueryRowContext(ctx, "SELECT version, quiet_until, strikes, last_at, writes FROM dispatch_pace WHERE id = 1").
		Scan(&t.Version, into{&t.Quiet}, &t.Strikes, into{&t.Last}, &writes)
	if t.Now = time.Now(); errors.Is(err, sql.ErrNoRows) {
		return t, nil
	}
	if err != nil {
		return t, classify(what, err)
	}
	var stamps []int64
	if err := json.Unmarshal(writes, &stamps); err != nil {
		return t, classify(what, err)
	}
	for _, n := range stamps {
		t.Writes = append(t.Writes, time.Unix(0, n).UTC())
	}
	return t, nil
}

// SaveTally implements [dispatch.Slots].
func (l *Ledger) SaveTally(ctx context.Context, t dispatch.Tally) (bool, error) {
	const what = "save the pace"
	stamps := make([]int64, len(t.Writes))
	for i, w := range t.Writes {
		stamps[i] = w.UnixNano()
	}
	writes, err := json.Marshal(stamps)
	if err != nil {
		return false, classify(what, err)
	}
	values := []any{t.Version + 1, stamp(t.Quiet), t.Strikes, stamp(t.Last), string(writes)}
	statement := "UPDATE dispatch_pace SET version = ?, quiet_until = ?, strikes = ?, last_at = ?, writes = ? WHERE id = 1 AND version = ?"
	if t.Version == 0 {
		statement = "INSERT INTO dispatch_pace (version, quiet_until, strikes, last_at, writes, id) VALUES (?, ?, ?, ?, ?, 1) ON CONFLICT DO NOTHING"
	} else {
		values = append(values, t.Version)
	}
	return l.one(ctx, what, statement, values)
}

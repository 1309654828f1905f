package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/pregoi/provision-tenant/internal/store/sqlstore"
)

// brokenTime bounds how long a server is waited for that has not noticed that a connection broke.
const brokenTime = time.Second

// outlive waits until the last connection that broke has no keys any more: the server may have
// noticed and be about to give them free. They are not another process's.
func (s *server) outlive(ctx context.Context, t sqlstore.Tx) error {
	if s.broken == 0 {
		return nil
	}
	for end := time.Now().Add(brokenTime); time.Now().Before(end); {
		r, err := t.Query(ctx, "SELECT 1 FROM pg_locks WHERE pid = $1 AND locktype = 'advisory' LIMIT 1", int64(s.broken))
		if err != nil {
			return err
		}
		holds := r.Next()
		if err := errors.Join(r.Err(), r.Close()); err != nil {
			return err
		}
		if !holds {
			break
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	s.broken = 0
	return nil
}

// Claim implements [sqlstore.Backend].
func (s *server) Claim(ctx context.Context, t sqlstore.Tx, keys []string) (taken []bool, err error) {
	if err := s.outlive(ctx, t); err != nil {
		return nil, err
	}
	hashes := make([]int64, len(keys))
	for i, key := range keys {
		hashes[i] = hash("key", key)
	}
	r, err := t.Query(ctx, "SELECT NOT pg_try_advisory_xact_lock(k) FROM unnest($1::bigint[]) WITH ORDINALITY AS list (k, n) ORDER BY n", hashes)
	if err != nil {
		return nil, err
	}
	for r.Next() {
		var has bool
		if err := r.Scan(&has); err != nil {
			_ = r.Close()
			return nil, err
		}
		taken = append(taken, has)
	}
	if err := r.Err(); err != nil {
		_ = r.Close()
		return nil, err
	}
	return taken, r.Close()
}

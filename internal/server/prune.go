package server

import (
	"context"
	"log/slog"
	"time"
)

const (
	// keepTime is how long an idempotency key and a metrics snapshot are kept.
	keepTime = 30 * 24 * time.Hour
	// pruneEvery is the time between two looks for older ones.
	pruneEvery = time.Hour
)

// prune forgets what is too old, until ctx is done.
func (s *Server) prune(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.Store.Prune(ctx, s.now().Add(-keepTime)); err != nil && ctx.Err() == nil {
			s.Log.ErrorContext(ctx, "forget what is too old", slog.Any("error", err))
		}
	}
}

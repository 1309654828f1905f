package server

import (
	"context"
	"sync"
	"time"
)

// Work triggers jobs, sweeps, and forgets what is too old, until ctx is done; then it
// finishes what it has begun.
func (s *Server) Work(ctx context.Context) {
	last, stop := outlive(ctx, shutdownTime)
	defer stop()
	var all sync.WaitGroup
	all.Go(func() { s.work(ctx, last) })
	all.Go(func() { s.sweep(ctx, last) })
	all.Go(func() { s.prune(ctx) })
	all.Wait()
}

// outlive returns a context that is done d after ctx is.
func outlive(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			cancel()
		case <-last.Done():
		}
	})
	return last, func() {
		stop()
		cancel()
	}
}

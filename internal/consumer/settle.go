package consumer

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// settle tells the queue the verdicts, many at once, until there are no more.
func (r *run) settle(ctx context.Context) error {
	var lost error
	for v := range r.verdicts {
		list := r.gather(v)
		var acks []string
		var retries []Retry
		for _, v := range list {
			if v.ack {
				acks = append(acks, v.lease)
			} else {
				retries = append(retries, Retry{Lease: v.lease, Delay: v.delay})
			}
		}
		err := r.tell(ctx, acks, retries)
		for _, v := range list {
			close(v.told)
		}
		if err != nil {
			// Their leases end by themselves, and the ledger knows what was started.
			r.log().Error("not settled", slog.Int("messages", len(list)), slog.String("error", err.Error()))
			if ctx.Err() != nil || r.once {
				lost = provision.Errorf(provision.Busy, "the queue was not told what became of %d messages, and will deliver them again: %w", len(list), err)
			}
			continue
		}
		r.count(func(s *Stats) {
			for _, v := range list {
				v.count(s)
			}
		})
	}
	return lost
}

// gatherTime is how long a verdict waits for others, at least.
const gatherTime = 50 * time.Millisecond

// gather returns v and those that come before the queue may be told.
func (r *run) gather(v verdict) []verdict {
	list := []verdict{v}
	t := time.NewTimer(max(gatherTime, time.Until(r.slot())))
	defer t.Stop()
	for len(list) < maxBatch {
		select {
		case v, ok := <-r.verdicts:
			if !ok {
				return list
			}
			list = append(list, v)
		case <-t.C:
			return list
		}
	}
	return list
}

// tell settles, more than once if it must: a late word is better than none.
func (r *run) tell(ctx context.Context, acks []string, retries []Retry) error {
	for try := 1; ; try++ {
		err := r.Queue.Settle(ctx, acks, retries)
		if err == nil {
			return nil
		}
		r.count(func(s *Stats) { s.QueueErrors++ })
		if try == 5 || !provision.Retryable(err) || sleep(ctx, max(pause(err, try), time.Until(r.slot()))) != nil {
			return err
		}
	}
}

// pause is how long to leave the queue alone after an error: as it says, or growing.
func pause(err error, try int) time.Duration {
	d := growing(time.Second, time.Minute, try)
	var told interface{ NotBefore() time.Time }
	if errors.As(err, &told) {
		d = max(d, min(time.Until(told.NotBefore()), time.Hour))
	}
	return d
}

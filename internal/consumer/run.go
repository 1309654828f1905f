package consumer

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A run is one call of Run or Empty.
type run struct {
	*Consumer
	once     bool
	verdicts chan verdict
	cut      chan struct{} // closed when what is not done is given back as it is
	judging  sync.WaitGroup

	mu     sync.Mutex
	held   int           // messages that somebody works on
	told   int           // verdicts that the queue does not know yet
	moved  chan struct{} // told that one of them has become less
	fault  error         // of all messages; nil since the last run that was started
	faults int           // in a row
	resume time.Time     // before that no message is tried with the fault
}

// start runs the puller in this goroutine, each message in its own, and the settler in one.
func (c *Consumer) start(ctx context.Context, once bool) error {
	r := &run{Consumer: c, once: once, verdicts: make(chan verdict, c.holds()), cut: make(chan struct{}), moved: make(chan struct{}, 1)}
	// Settling goes on when ctx has ended, for as long as Drain says.
	last, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	pulling, leave := context.WithCancel(context.WithoutCancel(ctx))
	defer leave()
	defer context.AfterFunc(ctx, func() {
		if sleep(pulling, pullTime) == nil {
			leave()
		}
	})()
	// What is under way gets three quarters of Drain to end by itself.
	drain := cmp.Or(c.Drain, 5*time.Second)
	defer context.AfterFunc(ctx, func() {
		if sleep(last, drain*3/4) == nil {
			close(r.cut)
		}
		if sleep(last, drain/4) == nil {
			end()
		}
	})()
	settled := make(chan error, 1)
	go func() { settled <- r.settle(last) }()
	err := r.pull(ctx, pulling)
	r.judging.Wait()
	close(r.verdicts)
	switch {
	case ctx.Err() == nil:
	case once:
		err = provision.Errorf(provision.Cancelled, "stopped before the queue was empty")
	default:
		err = nil
	}
	return errors.Join(err, <-settled)
}

// pullTime is how long a pull that is under way may take when the run is to end.
const pullTime = time.Second

// take counts n more messages as held, and m more verdicts as untold.
func (r *run) take(n, m int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held, r.told = r.held+n, r.told+m
	held := r.held
	r.count(func(s *Stats) { s.Held = held })
	if n >= 0 && m >= 0 {
		return
	}
	select {
	case r.moved <- struct{}{}:
	default:
	}
}

// work sees to one message until its verdict, which comes in time for its lease.
func (r *run) work(ctx context.Context, m Message, lease time.Time) {
	defer r.judging.Done()
	// At the end of its time who works on it gives it back; a little later it is given
	// back over his head.
	kept := r.visibility() - r.workTime()
	limited, cancel := context.WithDeadline(ctx, lease.Add(-kept))
	defer cancel()
	over := time.NewTimer(time.Until(lease) - kept/2)
	defer over.Stop()
	done := make(chan verdict, 1)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		done <- r.judge(limited, ctx, m)
	}()
	var v verdict
	select {
	case v = <-done:
	case <-r.cut:
		v = r.released(r.log().With(slog.String("message_id", m.ID)), m, 0)
	case <-over.C:
		v = r.released(r.log().With(slog.String("message_id", m.ID)), m, soon())
	}
	r.learn(v)
	r.take(0, 1)
	r.verdicts <- v
	select {
	case <-finished:
	case <-r.cut: // the process ends before it
	}
	r.take(-1, 0)
}

// learn takes a fault of all messages from a verdict, or that there is none any more.
func (r *run) learn(v verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch now := time.Now(); {
	case v.ack:
		r.fault, r.faults = nil, 0
	case v.fault != nil && !now.Before(r.resume): // not the others of the same pull
		r.faults++
		r.resume = now.Add(growing(30*time.Second, 10*time.Minute, r.faults))
		fallthrough
	case v.fault != nil:
		r.fault = v.fault
	}
}

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
		r.take(0, -len(list))
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

// gatherTime is how long a verdict waits for others.
const gatherTime = 50 * time.Millisecond

// gather returns v and those that come soon after it.
func (r *run) gather(v verdict) []verdict {
	list := []verdict{v}
	t := time.NewTimer(gatherTime)
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
		if try == 5 || !provision.Retryable(err) || sleep(ctx, pause(err, try)) != nil {
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

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

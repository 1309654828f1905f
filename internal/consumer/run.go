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
	held   int           // messages that somebody works on, or whose verdict the queue does not know
	next   time.Time     // no request to the queue before that
	moved  chan struct{} // told that held has become less
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
const pullTime = 2 * time.Second

// take counts n more messages as held.
func (r *run) take(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held += n
	held := r.held
	r.count(func(s *Stats) { s.Held = held })
	select {
	case r.moved <- struct{}{}:
	default:
	}
}

// slot takes the next time at which the queue may be asked something.
func (r *run) slot() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := time.Now()
	if r.next.After(at) {
		at = r.next
	}
	r.next = at.Add(r.Gap)
	return at
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
	if r.last(m, v) {
		r.spent(ctx, m, v)
	}
	v.told = make(chan struct{})
	r.verdicts <- v
	<-v.told
	select {
	case <-finished:
	case <-r.cut: // the process ends before it
	}
	r.take(-1)
}

// learn takes a fault of all messages from a verdict, or that there is none any more.
func (r *run) learn(v verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch now := time.Now(); {
	case v.began:
		r.fault, r.faults, r.resume = nil, 0, time.Time{}
	case v.fault != nil && !now.Before(r.resume): // not the others of the same pull
		r.faults++
		r.resume = now.Add(growing(30*time.Second, 10*time.Minute, r.faults))
		fallthrough
	case v.fault != nil:
		r.fault = v.fault
	}
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

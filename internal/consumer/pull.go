package consumer

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// pull brings messages until ctx ends or, when the queue is to be emptied, it gives no more.
// What a pull leases while ctx ends is to be given back, so that pulling ends a little later.
func (r *run) pull(ctx, pulling context.Context) error {
	empty, failed := 0, 0
	for {
		n, err := r.room(ctx)
		if err != nil {
			return err
		}
		if failed > 0 { // an answer that is lost costs an attempt of each message in it
			n = 1
		}
		if err := sleep(ctx, time.Until(r.slot())); err != nil {
			return err
		}
		began, done := time.Now(), r.done()
		batch, err := r.Queue.Pull(pulling, n, r.visibility())
		if err == nil {
			failed = 0
		}
		switch {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			failed++
			err = r.failed(ctx, err, failed)
		case len(batch.Messages) > 0:
			empty = 0
			r.begin(ctx, batch, began)
		case !r.once:
			empty++
			r.begin(ctx, batch, began)
			err = sleep(ctx, r.idle(empty))
		case !done: // what is held may come back yet
			err = r.wait(ctx, time.Second, r.done)
		default:
			// What others hold, and what is delayed, is in the backlog too, and does not come now.
			r.begin(ctx, batch, began)
			if empty++; batch.Backlog == 0 || empty > 2 {
				_, _, fault := r.state()
				return fault
			}
			err = sleep(ctx, r.idle(empty))
		}
		if err != nil {
			return err
		}
	}
}

// begin sets to work on what a pull has brought that began then.
func (r *run) begin(ctx context.Context, batch Batch, then time.Time) {
	r.count(func(s *Stats) {
		s.Pulls++
		s.Pulled += len(batch.Messages)
		s.Backlog, s.LastPull = batch.Backlog, then
	})
	r.take(len(batch.Messages))
	for _, m := range batch.Messages {
		r.judging.Add(1)
		go r.work(ctx, m, then.Add(r.visibility()))
	}
}

// failed waits after a pull that failed, the n'th in a row. It returns the end of that.
func (r *run) failed(ctx context.Context, err error, n int) error {
	r.count(func(s *Stats) { s.QueueErrors++ })
	if r.once && (n == 5 || !provision.Retryable(err)) {
		return err
	}
	wait := pause(err, n)
	r.log().Error("pull", slog.String("error", err.Error()), slog.String("next", provision.NextAction(err)),
		slog.Duration("again_in", wait.Round(time.Second)))
	return sleep(ctx, wait)
}

// idle is the pause after so many looks into an empty queue.
func (r *run) idle(empty int) time.Duration {
	longest := cmp.Or(r.Idle, 10*time.Second)
	d := min(longest, time.Second<<min(empty-1, 10))
	return d/2 + rand.N(d/2+1)
}

// state returns how many are held, and the fault of the moment, after the time until which
// nothing is tried because of it.
func (r *run) state() (held int, resume time.Time, fault error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held, r.resume, r.fault
}

// done reports whether nothing is held and everything settled.
func (r *run) done() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held == 0
}

// wait waits until enough says yes, or for d.
func (r *run) wait(ctx context.Context, d time.Duration, enough func() bool) error {
	t := time.NewTimer(d)
	defer t.Stop()
	for !enough() {
		select {
		case <-r.moved:
		case <-t.C:
			return ctx.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

// A plan is what may be pulled.
type plan struct {
	n    int       // how many messages
	from time.Time // not before that
	err  error     // why not
}

// room waits until messages may be pulled, and returns how many.
func (r *run) room(ctx context.Context) (int, error) {
	failed, told := 0, false
	for {
		fewer := r.holds() - r.batch()
		if _, _, fault := r.state(); fault != nil {
			fewer = 0
		}
		if err := r.wait(ctx, time.Minute, func() bool { held, _, _ := r.state(); return held <= fewer }); err != nil {
			return 0, err
		}
		p := r.plan(ctx)
		wait := time.Until(p.from)
		switch {
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case p.err != nil:
			if failed++; r.once && (failed == 5 || !provision.Retryable(p.err)) {
				return 0, p.err
			}
			wait = max(pause(p.err, failed), growing(8*time.Second, 10*time.Minute, failed))
			r.nothing(p.err, wait)
		case wait > 0:
			if !told {
				_, _, fault := r.state()
				r.nothing(fault, wait)
			}
			told, wait = true, min(wait, time.Minute)
		case p.n > 0:
			return p.n, nil
		default: // those that are held need all the room there is
			before, _, _ := r.state()
			if err := r.wait(ctx, time.Second, func() bool { held, _, _ := r.state(); return held < before }); err != nil {
				return 0, err
			}
		}
		if err := sleep(ctx, wait); err != nil {
			return 0, err
		}
	}
}

// plan asks how many may be pulled.
func (r *run) plan(ctx context.Context) plan {
	held, resume, fault := r.state()
	p := plan{n: r.batch()}
	switch {
	case held > r.holds()-r.batch():
		return plan{}
	case fault != nil && r.once:
		return plan{err: fault}
	case fault != nil && time.Now().Before(resume):
		return plan{from: resume}
	case fault != nil:
		p.n = 1 - held // one message shows whether it is mended
	}
	if r.Room != nil {
		n, from, err := r.Room(ctx, r.workTime())
		p.n, p.from, p.err = min(p.n, n-held), from, err
	}
	return p
}

// nothing says that nothing is pulled for a while, and why: err, or nil for GitHub's limits.
func (r *run) nothing(err error, wait time.Duration) {
	again := slog.Duration("again_in", wait.Round(time.Second))
	if err == nil {
		r.log().Info("nothing is pulled: the limits of GitHub are reached", again)
		return
	}
	r.log().Error("nothing is pulled", again, slog.String("class", string(provision.ClassOf(err))),
		slog.String("error", err.Error()), slog.String("next", provision.NextAction(err)))
}

package dispatch

import (
	"context"
	"time"
)

// A turn is one write's place in the line of this process, and then its slot among those
// of all. The nil turn, which is that of no Pace, never waits.
type turn struct {
	p      *Pace
	slot   time.Time     // by the tally's clock; zero when there is none to be given back
	at     time.Time     // the slot by our clock, or a little later
	lead   time.Duration // how long before it to get ready: what the ledger takes, and twice that
	waited bool          // others were before it
	left   bool
}

// line waits until all writes of this process that came before have ended. Those after it
// wait until leave is called. There is a line also where nothing binds writes: what a crash
// cuts off is then one request, and not as many as there are messages.
func (p *Pace) line(ctx context.Context, until time.Time) (*turn, error) {
	if p == nil {
		return nil, ctx.Err()
	}
	p.once.Do(func() { p.turn = make(chan struct{}, 1) })
	p.count(1)
	select {
	case p.turn <- struct{}{}:
		return &turn{p: p}, nil
	default:
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case p.turn <- struct{}{}:
		return &turn{p: p, waited: true}, nil
	case <-ctx.Done():
		p.count(-1)
		return nil, ctx.Err()
	case <-timer.C:
		p.count(-1)
		return nil, laterAt(p.State().NextWrite, "others are being sent")
	}
}

func (p *Pace) count(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting += n
}

// leave lets the next one have its turn, and gives a slot back that was not used. It may
// be called again.
func (t *turn) leave(ctx context.Context) {
	if t == nil || t.left {
		return
	}
	t.left = true
	if !t.slot.IsZero() {
		ctx, cancel := parting(ctx, toldTime)
		_ = t.p.change(ctx, func(v *view) bool { // what cannot be given back is wasted
			v.free(t.slot)
			return true
		})
		cancel()
	}
	t.p.count(-1)
	<-t.p.turn
}

// reserve takes the next slot that is at least so far away, in place of the one that the
// turn has. Nothing is taken when it would be after until.
func (t *turn) reserve(ctx context.Context, away time.Duration, until time.Time) error {
	if t == nil {
		return ctx.Err()
	}
	if !t.p.counts() {
		t.at = time.Now()
		return ctx.Err()
	}
	began := time.Now()
	var slot, at time.Time
	far := false
	err := t.p.change(ctx, func(v *view) bool {
		if !t.slot.IsZero() {
			v.free(t.slot)
		}
		slot = latest(t.p.next(v.Tally), v.Now.Add(away))
		at = v.here(slot)
		if far = at.After(until); far {
			slot = time.Time{}
			return !t.slot.IsZero()
		}
		v.reserve(slot, max(kept, t.p.perMinute(), t.p.perHour()))
		return true
	})
	if err != nil {
		return err
	}
	t.slot, t.at, t.lead = slot, at, min(2*time.Since(began), time.Second)
	if far {
		return laterAt(at, "GitHub's limits are reached")
	}
	return sleep(ctx, t.at.Add(-t.lead))
}

// ready waits for the slot and returns when the request is to be sent: neither before it,
// nor so late that the next one would come too soon after it, nor when GitHub has asked for
// quiet since. A new slot, where one is needed, is not after until.
func (t *turn) ready(ctx context.Context, until time.Time) error {
	if t == nil {
		return ctx.Err()
	}
	for {
		quiet, err := t.last(ctx)
		if err != nil {
			return err
		}
		if now := time.Now(); quiet.After(now) {
			return laterAt(quiet, "GitHub's limits are reached")
		}
		late := time.Since(t.at)
		if late <= t.p.late() || !t.p.counts() {
			return nil
		}
		if err := t.reserve(ctx, 2*late, until); err != nil {
			return err
		}
	}
}

// last waits for the slot and returns when the quiet ends that anybody is known to have been
// asked for: as late as the ledger lets us know it in time.
func (t *turn) last(ctx context.Context) (quiet time.Time, err error) {
	for {
		began := time.Now()
		if quiet, err = t.p.quiet(ctx); err != nil {
			return quiet, err
		}
		took := time.Since(began)
		again := t.at.Add(-2 * took)
		if time.Until(again) <= took {
			break
		}
		if err := sleep(ctx, again); err != nil {
			return quiet, err
		}
	}
	if err := sleep(ctx, t.at); err != nil {
		return quiet, err
	}
	t.p.mu.Lock()
	defer t.p.mu.Unlock()
	return latest(quiet, t.p.until), nil
}

// sent notes that the request was sent, learns from what came of it, and leaves. It returns
// what told does.
func (t *turn) sent(ctx context.Context, err error) time.Time {
	if t == nil {
		return (*Pace)(nil).told(ctx, err)
	}
	p, slot, took := t.p, t.slot, time.Since(t.at)
	t.slot = time.Time{}
	p.mu.Lock()
	strikes := p.seen.Strikes
	p.mu.Unlock()
	long := !slot.IsZero() && took > time.Minute/100-p.late()
	if forgiven := err == nil && strikes > 0; long || forgiven {
		ctx, cancel := parting(ctx, toldTime)
		_ = p.change(ctx, func(v *view) bool { // the slot that it has counts too, and so do strikes
			if long {
				v.move(slot, slot.Add(took))
			}
			if forgiven {
				v.Strikes = 0
			}
			return true
		})
		cancel()
	}
	at := p.told(ctx, err)
	t.leave(ctx)
	return at
}

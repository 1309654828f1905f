package dispatch

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Pace keeps requests within GitHub's limits: writes one after another, apart, and so
// many in a minute and in an hour; and none at all while GitHub has asked for quiet. The
// zero Pace keeps to what GitHub documents. It is of one process and forgets: after a
// restart the hour begins anew, and GitHub's own answers are the limit.
// https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api
type Pace struct {
	Gap       time.Duration // from the start of one write to that of the next; 0 for a second, less for none
	PerMinute int           // writes; 0 for 80, less for no bound
	PerHour   int           // writes; 0 for 500, less for no bound

	once    sync.Once
	turn    chan struct{} // holds the write that is under way; its queue is first in, first out
	mu      sync.Mutex
	last    time.Time   // when the last write began
	writes  []time.Time // when those of the last hour had ended, the oldest first
	until   time.Time   // the end of the quiet that GitHub asked for
	strikes int         // limits without a time, since the last write that succeeded
	waiting int
	limited int
}

// A PaceState is a [Pace] at one moment.
type PaceState struct {
	QuietUntil time.Time // no request before that; zero or past for no limit
	NextWrite  time.Time // the earliest, for whoever is first in the queue; past for now
	LastMinute int       // writes
	LastHour   int       // writes
	Waiting    int       // writes that wait for their turn, and the one that has it
	Limited    int       // answers that were limits, since the start
}

// State returns how things stand.
func (p *Pace) State() PaceState {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.forget(now)
	s := PaceState{QuietUntil: p.until, NextWrite: p.next(), LastHour: len(p.writes), Waiting: p.waiting, Limited: p.limited}
	for _, w := range p.writes {
		if now.Sub(w) < time.Minute {
			s.LastMinute++
		}
	}
	return s
}

// read waits until a request that changes nothing may be sent. What would have to wait
// beyond until, or longer than ctx, is a [LaterError].
func (p *Pace) read(ctx context.Context, until time.Time) error {
	if p == nil {
		return ctx.Err()
	}
	return p.wait(ctx, until, func() time.Time { return p.until })
}

// write waits until a request that changes something may be sent, and holds others back
// until done is called: with the time at which the request was sent, zero if it was not,
// and with what came of it. Done returns what told does.
func (p *Pace) write(ctx context.Context, until time.Time) (done func(sent time.Time, err error) time.Time, err error) {
	if p == nil {
		return func(_ time.Time, err error) time.Time { return p.told(err) }, ctx.Err()
	}
	p.once.Do(func() { p.turn = make(chan struct{}, 1) })
	p.count(1)
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		p.count(-1)
		return nil, ctx.Err()
	case <-timer.C:
		p.count(-1)
		return nil, p.later("others are being sent")
	}
	if err := p.wait(ctx, until, p.next); err != nil {
		p.count(-1)
		<-p.turn
		return nil, err
	}
	return func(sent time.Time, err error) time.Time {
		at := time.Time{}
		if !sent.IsZero() {
			p.mu.Lock()
			p.last, p.writes = sent, append(p.writes, time.Now())
			if err == nil {
				p.strikes = 0
			}
			p.mu.Unlock()
			at = p.told(err)
		}
		p.count(-1)
		<-p.turn
		return at
	}, nil
}

// quiet returns when the quiet ends that GitHub has asked for.
func (p *Pace) quiet() time.Time {
	if p == nil {
		return time.Time{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.until
}

func (p *Pace) count(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting += n
}

// wait waits for what next says, which may move while it does.
func (p *Pace) wait(ctx context.Context, until time.Time, next func() time.Time) error {
	for {
		p.mu.Lock()
		p.forget(time.Now())
		at := next()
		p.mu.Unlock()
		if !at.After(time.Now()) {
			return ctx.Err()
		}
		if at.After(until) {
			return p.later("GitHub's limits are reached")
		}
		if err := sleep(ctx, at); err != nil {
			return err
		}
	}
}

func (p *Pace) later(why string) error {
	at := p.State().NextWrite
	return &LaterError{At: at, Err: &provision.Error{Class: provision.Busy, Text: why,
		Next: "send the same again at " + at.UTC().Format(time.RFC3339) + " at the earliest"}}
}

// told learns from the answer to a request. It returns when the limit ends that the
// answer was, zero if it was none.
func (p *Pace) told(err error) time.Time {
	at, limited := limit(err)
	if p == nil {
		if limited && at.IsZero() {
			at = time.Now().Add(time.Minute)
		}
		return at
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !limited {
		return time.Time{}
	}
	p.limited++
	if at.IsZero() {
		// At least a minute, and then longer each time.
		at = time.Now().Add(min(time.Hour, time.Minute<<min(p.strikes, 6)))
		p.strikes++
	}
	if at.After(p.until) {
		p.until = at
	}
	return at
}

// next returns when the next write may begin. The lock is held.
func (p *Pace) next() time.Time {
	at := p.until
	bound := func(n int, window time.Duration) {
		if n > 0 && len(p.writes) >= n {
			at = latest(at, p.writes[len(p.writes)-n].Add(window))
		}
	}
	if !p.last.IsZero() {
		at = latest(at, p.last.Add(cmp.Or(p.Gap, time.Second)))
	}
	bound(cmp.Or(p.PerMinute, 80), time.Minute)
	bound(cmp.Or(p.PerHour, 500), time.Hour)
	return at
}

// forget drops the writes that no bound counts any more. The lock is held.
func (p *Pace) forget(now time.Time) {
	n := 0
	for n < len(p.writes) && now.Sub(p.writes[n]) >= time.Hour {
		n++
	}
	p.writes = p.writes[n:]
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// sleep waits until at.
func sleep(ctx context.Context, at time.Time) error {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package dispatch

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Pace keeps requests within GitHub's limits: writes one after another, apart, and so
// many in a minute and in an hour; and none at all while GitHub has asked for quiet. The
// zero Pace keeps to what GitHub documents, for this process alone, and forgets when it
// ends; with Slots it does so together with all who share them, and after a restart.
// https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api
type Pace struct {
	Gap       time.Duration // from the start of one write to that of the next; 0 for a second, less for none
	PerMinute int           // writes; 0 for 80, less for no bound
	PerHour   int           // writes; 0 for 500, less for no bound
	// Slots are shared by all who use the same token, with the same three numbers; nil for
	// nobody else.
	Slots Slots

	own     ownSlots
	once    sync.Once
	turn    chan struct{} // holds the write that is under way; its queue is first in, first out
	mu      sync.Mutex
	seen    view      // the tally when it was last asked for
	until   time.Time // the end of the quiet that GitHub asked this process for
	waiting int
	limited int
}

// A PaceState is a [Pace] at one moment: what it knew when it last had to know.
type PaceState struct {
	QuietUntil time.Time `json:"quiet_until,omitzero"` // no request before that; zero or past for no limit
	NextWrite  time.Time `json:"next_write,omitzero"`  // the earliest, for whoever is first in the queue; past for now
	LastMinute int       `json:"last_minute"`          // writes of all who share it
	LastHour   int       `json:"last_hour"`            // writes of all who share it
	Waiting    int       `json:"waiting"`              // writes of this process that wait for their turn, and the one that has it
	Limited    int       `json:"limited"`              // answers to this process that were limits, since its start
}

// State returns how things stand. It asks nobody: see [Pace.Refresh].
func (p *Pace) State() PaceState {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := PaceState{QuietUntil: latest(p.seen.here(p.seen.Quiet), p.until), Waiting: p.waiting, Limited: p.limited}
	s.NextWrite = latest(p.seen.here(p.next(p.seen.Tally)), s.QuietUntil)
	now := p.seen.Now.Add(time.Since(p.seen.at))
	for _, w := range p.seen.Writes {
		if ago := now.Sub(w); ago >= 0 && ago < time.Hour {
			s.LastHour++
			if ago < time.Minute {
				s.LastMinute++
			}
		}
	}
	return s
}

// Refresh makes State know what others who share the Slots have done.
func (p *Pace) Refresh(ctx context.Context) error {
	_, err := p.load(ctx)
	return err
}

// A view is a tally as it was loaded here.
type view struct {
	Tally
	at     time.Time // by our clock, when its Now was, or a little later
	stored time.Time // its Quiet, without what this process failed to tell
}

// here returns what a time of the tally is by our clock, or a little later.
func (v view) here(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return v.at.Add(t.Sub(v.Now))
}

func (p *Pace) slots() Slots {
	if p.Slots == nil {
		return &p.own
	}
	return p.Slots
}

// load returns the tally, with what this process knows of quiet, which it may have failed
// to tell.
func (p *Pace) load(ctx context.Context) (view, error) {
	t, err := p.slots().LoadTally(ctx)
	if err != nil {
		return view{}, err
	}
	t.believe()
	v := view{Tally: t, at: time.Now(), stored: t.Quiet}
	p.mu.Lock()
	defer p.mu.Unlock()
	if left := p.until.Sub(v.at); !p.until.IsZero() && left > 0 {
		v.Quiet = latest(v.Quiet, v.Now.Add(left))
	}
	p.seen = v
	return v, nil
}

// change lets f change the tally, and stores it when f answers true. When another comes
// first, f is called again with what that one has made of it.
func (p *Pace) change(ctx context.Context, f func(*view) bool) error {
	for {
		v, err := p.load(ctx)
		if err != nil {
			return err
		}
		v.Writes = slices.Clone(v.Writes) // State reads the others
		if !f(&v) {
			return nil
		}
		ok, err := p.slots().SaveTally(ctx, v.Tally)
		if err != nil {
			return err
		}
		if ok {
			p.mu.Lock()
			p.seen = v
			p.mu.Unlock()
			return nil
		}
	}
}

// quiet returns when the quiet ends that GitHub has asked anybody for.
func (p *Pace) quiet(ctx context.Context) (time.Time, error) {
	if p == nil {
		return time.Time{}, nil
	}
	v, err := p.load(ctx)
	return v.here(v.Quiet), err
}

// read waits until a request that changes nothing may be sent. What would have to wait
// beyond until, or longer than ctx, is a [LaterError].
func (p *Pace) read(ctx context.Context, until time.Time) error {
	for {
		at, err := p.quiet(ctx)
		switch {
		case err != nil:
			return err
		case !at.After(time.Now()):
			return ctx.Err()
		case at.After(until):
			return laterAt(at, "GitHub's limits are reached")
		}
		if err := sleep(ctx, at); err != nil {
			return err
		}
	}
}

func laterAt(at time.Time, why string) error {
	return &LaterError{At: at, Err: &provision.Error{Class: provision.Busy, Text: why,
		Next: "send the same again at " + at.UTC().Format(time.RFC3339) + " at the earliest"}}
}

// toldTime is how long a limit may take to be written down.
const toldTime = 5 * time.Second

// told learns from the answer to a request, and tells all others. It returns when the limit
// ends that the answer was, zero if it was none.
func (p *Pace) told(ctx context.Context, err error) time.Time {
	end, limited := limit(err)
	if !limited {
		return time.Time{}
	}
	heard := time.Now()
	at := end
	if end.IsZero() {
		at = heard.Add(time.Minute)
	}
	if p == nil {
		return at
	}
	p.mu.Lock()
	p.limited++
	p.until = latest(p.until, at)
	p.mu.Unlock()
	// Whoever wanted the run may have gone; the others still have to know. Where it cannot
	// be written down, this process knows, and tells at the next opportunity.
	ctx, cancel := parting(ctx, toldTime)
	defer cancel()
	_ = p.change(ctx, func(v *view) bool {
		if end.IsZero() {
			at = v.here(v.strike())
		}
		v.Quiet = latest(v.Quiet, v.Now.Add(at.Sub(heard)))
		return true
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = latest(p.until, at)
	return at
}

// strike counts a limit without a time, and returns when it ends: after at least a minute,
// and then longer each time. The answers to what was under way at once are one strike.
func (v *view) strike() time.Time {
	if v.stored.After(v.Now) {
		return v.Now.Add(time.Minute)
	}
	v.Strikes++
	return v.Now.Add(min(time.Hour, time.Minute<<min(v.Strikes-1, 6)))
}

// parting returns a context for what is to be written down also when nobody waits for it
// any more; then for two seconds at most, because a program that is told to end has seven.
func parting(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if ctx.Err() != nil {
		d = min(d, 2*time.Second)
	}
	return context.WithTimeout(context.WithoutCancel(ctx), d)
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

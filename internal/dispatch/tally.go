package dispatch

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// Slots is where all who use one token at GitHub agree on when each may write, and tell
// one another when GitHub wants quiet. Both ledgers are Slots, and package ledgertest says
// as tests what Slots do.
type Slots interface {
	// LoadTally returns what is stored, the zero Tally where nothing is, with the present
	// time in Now.
	LoadTally(ctx context.Context) (Tally, error)
	// SaveTally stores t as version t.Version+1, provided that the stored version is
	// t.Version, which is 0 where nothing is stored. It answers false, and changes nothing,
	// when another came first. After an error either may be the case.
	SaveTally(ctx context.Context, t Tally) (bool, error)
}

// A Tally is what has been asked of GitHub, and what GitHub has answered to it. All its
// times are of one clock, which is the database server's where there is a server: the
// clocks of those who share it do not matter.
type Tally struct {
	Now     time.Time // by that clock, when it was loaded; not stored
	Version int64     // how often it was saved
	Quiet   time.Time // no request before that; zero for no limit
	Strikes int       // limits without a time, since the last write that succeeded
	Last    time.Time // the latest slot
	// Writes are those of the last hour and those to come, the earliest first: each its
	// slot or, when it took long to reach GitHub, the time when it had.
	Writes []time.Time
}

// kept is how many writes a tally holds, if no rule needs more.
const kept = 500

// farthest is how far from now a stored time is believed to be. What lies further ahead
// was stored before somebody put the clock back.
const farthest = 24 * time.Hour

// next returns the earliest time of another write.
func (p *Pace) next(t Tally) time.Time {
	at := latest(t.Now, t.Quiet)
	bound := func(n int, window time.Duration) {
		if n > 0 && len(t.Writes) >= n {
			at = latest(at, t.Writes[len(t.Writes)-n].Add(window))
		}
	}
	at = latest(at, t.Last)
	if gap := p.gap(); gap > 0 && !t.Last.IsZero() {
		at = latest(at, t.Last.Add(gap+p.late()))
	}
	// A hundredth is for what a request may take from its slot to GitHub.
	bound(p.perMinute(), time.Minute+time.Minute/100)
	bound(p.perHour(), time.Hour+time.Hour/100)
	return at
}

// late is how long after its slot a write may still begin. Slots are so much further apart.
func (p *Pace) late() time.Duration {
	if p.gap() > 0 {
		return max(p.gap()/20, 10*time.Millisecond)
	}
	return time.Minute / 200
}

func (p *Pace) gap() time.Duration { return cmp.Or(p.Gap, time.Second) }
func (p *Pace) perMinute() int     { return cmp.Or(p.PerMinute, 80) }
func (p *Pace) perHour() int       { return cmp.Or(p.PerHour, 500) }

// counts reports whether writes are bound by anything but quiet.
func (p *Pace) counts() bool { return p.gap() > 0 || p.perMinute() > 0 || p.perHour() > 0 }

// reserve puts a slot into the tally, and forgets those that nobody counts any more.
func (t *Tally) reserve(slot time.Time, keep int) {
	t.Last = latest(t.Last, slot)
	t.put(slot)
	old := 0
	for old < len(t.Writes)-keep && t.Now.Sub(t.Writes[old]) > time.Minute ||
		old < len(t.Writes) && t.Now.Sub(t.Writes[old]) > 2*time.Hour {
		old++
	}
	t.Writes = slices.Delete(t.Writes, 0, old)
}

func (t *Tally) put(at time.Time) {
	i, _ := slices.BinarySearchFunc(t.Writes, at, time.Time.Compare)
	t.Writes = slices.Insert(t.Writes, i, at)
}

// free takes a slot out again.
func (t *Tally) free(slot time.Time) {
	if i := slices.IndexFunc(t.Writes, slot.Equal); i >= 0 {
		t.Writes = slices.Delete(t.Writes, i, i+1)
	}
	if !t.Last.Equal(slot) {
		return
	}
	t.Last = time.Time{}
	if n := len(t.Writes); n > 0 {
		t.Last = t.Writes[n-1]
	}
}

// move notes that the write of a slot was later than that.
func (t *Tally) move(slot, to time.Time) {
	if i := slices.IndexFunc(t.Writes, slot.Equal); i >= 0 {
		t.Writes = slices.Delete(t.Writes, i, i+1)
		t.put(to)
	}
}

// believe drops what cannot be.
func (t *Tally) believe() {
	end := t.Now.Add(farthest)
	if t.Quiet.After(end) {
		t.Quiet = time.Time{}
	}
	if t.Last.After(end) {
		t.Last = time.Time{}
	}
	t.Writes = slices.DeleteFunc(t.Writes, end.Before)
}

// ownSlots are the slots of one process. The zero value is ready.
type ownSlots struct {
	mu sync.Mutex
	t  Tally
}

func (s *ownSlots) LoadTally(ctx context.Context) (Tally, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.t
	t.Now, t.Writes = time.Now(), slices.Clone(t.Writes)
	return t, ctx.Err()
}

func (s *ownSlots) SaveTally(ctx context.Context, t Tally) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil || s.t.Version != t.Version {
		return false, ctx.Err()
	}
	t.Version++
	t.Writes = slices.Clone(t.Writes)
	s.t = t
	return true, nil
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

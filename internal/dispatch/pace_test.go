package dispatch_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/dispatch/ledgertest"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// drain sends n jobs, all delivered at once to dispatchers in turn, and returns when each
// was sent.
func drain(t *testing.T, b *bench, n int, to ...*dispatch.Dispatcher) []time.Time {
	t.Helper()
	if len(to) == 0 {
		to = append(to, &b.Dispatcher)
	}
	var mu sync.Mutex
	var sent []time.Time
	start := b.start
	b.start = func(ctx context.Context) (dispatch.Run, error) {
		mu.Lock()
		sent = append(sent, time.Now())
		mu.Unlock()
		if start != nil {
			return start(ctx)
		}
		return run7, nil
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if _, err := to[i%len(to)].Once(t.Context(), provision.Job{ID: fmt.Sprint("job-", i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	return sent
}

// A thousand messages take as long as GitHub's limits make them take, and hardly longer:
// within two hundredths, which are for what a request needs to get there.
func TestPaceDrain(t *testing.T) {
	for _, test := range []struct {
		pace               func(dispatch.Slots) *dispatch.Pace
		n                  int
		gap                time.Duration
		perMinute, perHour int
		best               time.Duration
	}{
		{pace(0, 0, 0), 1000, time.Second, 80, 500, time.Hour + 499*time.Second},
		{pace(-1, 0, 0), 170, 0, 80, 500, 2 * time.Minute},
		{pace(-1, -1, 5), 11, 0, 5, 5, 2 * time.Hour},
		{pace(-1, -1, -1), 2000, 0, 2000, 2000, 0},
	} {
		for _, processes := range []int{1, 3} {
			synctest.Test(t, func(t *testing.T) {
				var slots ledgertest.Memory
				b := newBench()
				var all []*dispatch.Dispatcher
				for range processes {
					d := b.Dispatcher
					d.Pace = test.pace(&slots)
					d.Patience = 3 * time.Hour
					all = append(all, &d)
				}
				began := time.Now()
				sent := drain(t, b, test.n, all...)
				if d := time.Since(began); d < test.best || d > test.best+test.best/50 || len(sent) != test.n {
					t.Errorf("%d messages took %s, want %s for %d", len(sent), d, test.best, test.n)
				}
				within(t, sent, test.gap, test.perMinute, test.perHour)
			})
		}
	}
}

func pace(gap time.Duration, perMinute, perHour int) func(dispatch.Slots) *dispatch.Pace {
	return func(s dispatch.Slots) *dispatch.Pace {
		return &dispatch.Pace{Gap: gap, PerMinute: perMinute, PerHour: perHour, Slots: s}
	}
}

// within holds requests to limits.
func within(t *testing.T, sent []time.Time, gap time.Duration, perMinute, perHour int) {
	t.Helper()
	for i, at := range sent {
		if i > 0 && at.Sub(sent[i-1]) < gap {
			t.Errorf("two after %s", at.Sub(sent[i-1]))
		}
		if j := i + perMinute; j < len(sent) && sent[j].Sub(at) < time.Minute {
			t.Errorf("more than %d in a minute", perMinute)
		}
		if j := i + perHour; j < len(sent) && sent[j].Sub(at) < time.Hour {
			t.Errorf("more than %d in an hour", perHour)
		}
	}
}

// A process that sends one message and ends keeps to the limits as one that stays does.
func TestPaceRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slots ledgertest.Memory
		b := newBench()
		var sent []time.Time
		b.start = func(context.Context) (dispatch.Run, error) {
			sent = append(sent, time.Now())
			return run7, nil
		}
		began := time.Now()
		for i := range 700 {
			d := b.Dispatcher
			d.Pace, d.Patience = &dispatch.Pace{Slots: &slots}, 2*time.Hour
			if _, err := d.Once(t.Context(), provision.Job{ID: fmt.Sprint("job-", i)}); err != nil {
				t.Fatal(err)
			}
		}
		within(t, sent, time.Second, 80, 500)
		if best := time.Hour + 199*time.Second; time.Since(began) > best+best/50 {
			t.Errorf("they took %s", time.Since(began))
		}
	})
}

// Writes follow one another, however long one takes.
func TestPaceSerial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.Pace = &dispatch.Pace{}
		under := 0
		b.start = func(context.Context) (dispatch.Run, error) {
			if under++; under > 1 {
				t.Error("two at once")
			}
			time.Sleep(3 * time.Second)
			under--
			return run7, nil
		}
		began := time.Now()
		drain(t, b, 5)
		if d := time.Since(began); d != 15*time.Second {
			t.Errorf("they took %s", d)
		}
	})
}

// After a limit nothing is sent until it ends; one without an end doubles.
func TestPaceQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.Pace, b.Patience = &dispatch.Pace{}, 24*time.Hour
		busy := provision.Errorf(provision.Busy, "slow down")
		quiet := []time.Duration{17 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 0, time.Minute}
		told := 0
		until := time.Now()
		b.start = func(context.Context) (dispatch.Run, error) {
			if late := time.Since(until); (late < 0 || late > 50*time.Millisecond) && told > 0 && told < len(quiet) {
				t.Errorf("request %d comes %s after the end of the limit", told, time.Since(until))
			}
			if told == len(quiet) {
				return run7, nil
			}
			d := quiet[told]
			until = time.Now().Add(max(d, time.Second))
			at := time.Time{}
			if told == 0 {
				at = until
			}
			if told++; d == 0 {
				return run7, nil // which ends the doubling
			}
			return dispatch.Run{}, limited{busy, at}
		}
		for i := 0; told < len(quiet); i++ {
			j := provision.Job{ID: fmt.Sprint("job-", i)}
			_, err := b.Once(t.Context(), j)
			if l, ok := later(err); ok != (quiet[i] > 0) || ok && !l.At.Equal(until) {
				t.Errorf("job %d: %v, want %s", i, err, until)
			}
			if s := b.Pace.State(); quiet[i] > 0 && (!s.QuietUntil.Equal(until) || s.NextWrite.Before(until)) {
				t.Errorf("state %+v, want quiet until %s", s, until)
			}
		}
		if s := b.Pace.State(); s.Limited != 5 || s.LastHour != 6 || s.Waiting != 0 {
			t.Errorf("state %+v", s)
		}
	})
}

// Whoever would have to wait for longer than its patience is told when to come back.
func TestPacePatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.Pace, b.Patience = &dispatch.Pace{Gap: time.Hour}, time.Minute
		b.want(t, fresh, dispatch.Accepted)
		_, err := b.Once(t.Context(), provision.Job{ID: "other"})
		if l, ok := later(err); !ok || time.Until(l.At) != time.Hour+3*time.Minute || dispatch.OutcomeOf(dispatch.Run{}, err) != dispatch.Limited {
			t.Errorf("err = %v", err)
		}
		b.asked(t, 1, 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		b.Patience = 2 * time.Hour
		if _, err := b.Once(ctx, provision.Job{ID: "other"}); provision.ClassOf(err) != provision.Busy {
			t.Errorf("err = %v", err)
		}
		b.asked(t, 1, 0)
	})
}

// A slot that is beyond somebody's patience is not taken.
func TestPaceTooFar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.Pace, b.Patience = &dispatch.Pace{PerHour: 1, Slots: &b.ledger}, time.Minute
		b.want(t, fresh, dispatch.Accepted)
		for i := range 5 {
			if _, err := b.Once(t.Context(), provision.Job{ID: fmt.Sprint("other-", i)}); provision.ClassOf(err) != provision.Busy {
				t.Errorf("err = %v", err)
			}
		}
		time.Sleep(time.Hour + time.Minute)
		if _, err := b.Once(t.Context(), provision.Job{ID: "other"}); err != nil {
			t.Error(err)
		}
	})
}

// Two processes whose requests were under way at once have met one limit, and both know.
func TestPaceStrikes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.start = func(context.Context) (dispatch.Run, error) {
			time.Sleep(5 * time.Second)
			return dispatch.Run{}, limited{provision.Errorf(provision.Busy, "slow down"), time.Time{}}
		}
		second := b.Dispatcher
		b.Pace, second.Pace = &dispatch.Pace{Slots: &b.ledger}, &dispatch.Pace{Slots: &b.ledger}
		for _, want := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
			var wg sync.WaitGroup
			for i, d := range []*dispatch.Dispatcher{&b.Dispatcher, &second} {
				wg.Go(func() {
					_, err := d.Once(t.Context(), provision.Job{ID: fmt.Sprint(want, i)})
					if _, ok := later(err); !ok {
						t.Errorf("err = %v", err)
					}
				})
			}
			wg.Wait()
			for _, p := range []*dispatch.Pace{b.Pace, second.Pace} {
				if err := p.Refresh(t.Context()); err != nil {
					t.Error(err)
				}
				// The second was told a second later, and of a minute at least.
				if d := time.Until(p.State().QuietUntil); d < want-2*time.Second || d > want {
					t.Errorf("quiet for %s, want %s", d, want)
				}
			}
			time.Sleep(want)
		}
	})
}

// What lies too far ahead was stored before the clock was put back.
func TestPaceClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		future := time.Now().Add(1000 * time.Hour)
		if ok, err := b.ledger.SaveTally(t.Context(), dispatch.Tally{Quiet: future, Last: future, Writes: []time.Time{future}}); !ok || err != nil {
			t.Fatal(ok, err)
		}
		b.Pace = &dispatch.Pace{Slots: &b.ledger, PerHour: 1}
		b.want(t, fresh, dispatch.Accepted)
		if s := b.Pace.State(); s.LastHour != 1 || s.LastMinute != 1 || s.QuietUntil.After(time.Now()) {
			t.Errorf("state %+v", s)
		}
	})
}

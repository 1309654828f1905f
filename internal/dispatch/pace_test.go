package dispatch_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// drain sends n jobs, all delivered at once, and returns when each was sent.
func drain(t *testing.T, b *bench, n int) []time.Time {
	t.Helper()
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
			if _, err := b.Once(t.Context(), provision.Job{ID: fmt.Sprint("job-", i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	return sent
}

// A thousand messages take as long as GitHub's limits make them take, and no longer.
func TestPaceDrain(t *testing.T) {
	for _, test := range []struct {
		pace               *dispatch.Pace
		n                  int
		gap                time.Duration
		perMinute, perHour int
		want               time.Duration
	}{
		{&dispatch.Pace{}, 1000, time.Second, 60, 500, time.Hour + 499*time.Second},
		{&dispatch.Pace{Gap: -1}, 170, 0, 80, 500, 2 * time.Minute},
		{&dispatch.Pace{Gap: -1, PerMinute: -1, PerHour: 5}, 11, 0, 5, 5, 2 * time.Hour},
		{&dispatch.Pace{Gap: -1, PerMinute: -1, PerHour: -1}, 2000, 0, 2000, 2000, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench()
			b.Pace, b.Patience = test.pace, 3*time.Hour
			began := time.Now()
			sent := drain(t, b, test.n)
			if d := time.Since(began); d != test.want || len(sent) != test.n {
				t.Errorf("%d messages took %s, want %s for %d", len(sent), d, test.want, test.n)
			}
			for i, at := range sent {
				if i > 0 && at.Sub(sent[i-1]) < test.gap {
					t.Errorf("two after %s", at.Sub(sent[i-1]))
				}
				if j := i + test.perMinute; j < len(sent) && sent[j].Sub(at) < time.Minute {
					t.Errorf("more than %d in a minute", test.perMinute)
				}
				if j := i + test.perHour; j < len(sent) && sent[j].Sub(at) < time.Hour {
					t.Errorf("more than %d in an hour", test.perHour)
				}
			}
		})
	}
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
			if !time.Now().Equal(until) && told > 0 && told < len(quiet) {
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
		if l, ok := later(err); !ok || time.Until(l.At) != time.Hour || dispatch.OutcomeOf(dispatch.Run{}, err) != dispatch.Limited {
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

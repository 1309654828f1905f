package dispatch_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"text/tabwriter"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/dispatch/ledgertest"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A strict is a GitHub that enforces what it documents for whoever creates content: 80 in
// a minute, 500 in an hour, and a second from one to the next.
type strict struct {
	silent bool // it does not say how long to wait

	mu     sync.Mutex
	writes []time.Time
	limits int // answers that were limits
}

// way is how long a request or an answer takes.
const way = 100 * time.Millisecond

// post answers one request: zero when it started a run, or else how long to wait.
func (s *strict) post() time.Duration {
	time.Sleep(way)
	defer time.Sleep(way)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	wait := time.Duration(0)
	for _, limit := range []struct {
		n      int
		window time.Duration
	}{{1, time.Second}, {80, time.Minute}, {500, time.Hour}} {
		if n := len(s.writes) - limit.n; n >= 0 {
			wait = max(wait, limit.window-now.Sub(s.writes[n]))
		}
	}
	if wait > 0 {
		s.limits++
		return wait.Truncate(time.Second) + time.Second
	}
	s.writes = append(s.writes, now)
	return 0
}

// dispatchers drains n messages through dispatchers that share a ledger. Each message is
// delivered again as a queue does it.
func dispatchers(t *testing.T, s *strict, n, processes int) {
	var ledger ledgertest.Memory
	var list []*dispatch.Dispatcher
	for range processes {
		list = append(list, &dispatch.Dispatcher{
			Inputs: func(context.Context, provision.Job) (map[string]any, error) { return map[string]any{}, nil },
			Start: func(context.Context, map[string]any) (dispatch.Run, error) {
				wait := s.post()
				if wait == 0 {
					return dispatch.Run{ID: 1}, nil
				}
				l := limited{provision.Errorf(provision.Busy, "limit"), time.Time{}}
				if !s.silent {
					l.at = time.Now().Add(wait)
				}
				return dispatch.Run{}, l
			},
			Ledger: &ledger,
			Pace:   &dispatch.Pace{Slots: &ledger},
		})
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			for {
				_, err := list[i%processes].Once(t.Context(), provision.Job{ID: fmt.Sprint("job-", i)})
				if err == nil {
					return
				}
				l, ok := later(err)
				if !ok {
					t.Error(err)
					return
				}
				time.Sleep(time.Until(l.At))
			}
		})
	}
	wg.Wait()
}

// octokit drains n messages by the rules of @octokit/plugin-throttling: writes are a second
// apart, and repeated ones go first; one that meets a limit is repeated after what
// Retry-After says, or a minute, while the others go on. They know of no hour.
// https://github.com/octokit/plugin-throttling.js/blob/main/src/index.ts
func octokit(_ *testing.T, s *strict, n, _ int) {
	var mu sync.Mutex
	left, again := n, 0
	var wg sync.WaitGroup
	for done := 0; done < n; time.Sleep(time.Second) {
		mu.Lock()
		switch {
		case again > 0:
			again--
		case left > 0:
			left--
		default:
			done = n - waiting(s, n)
			mu.Unlock()
			continue
		}
		mu.Unlock()
		wg.Go(func() {
			wait := s.post()
			if wait == 0 {
				return
			}
			if s.silent {
				wait = time.Minute
			}
			time.Sleep(wait)
			mu.Lock()
			again++
			mu.Unlock()
		})
	}
	wg.Wait()
}

// waiting returns how many of n messages have no run yet.
func waiting(s *strict, n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return n - len(s.writes)
}

// A thousand messages are drained in hardly more time than GitHub's limits take, and
// without ever meeting one. Its table is what `go run ./internal/bench drain` prints.
func TestDrain(t *testing.T) {
	const n = 1000
	best := time.Hour + (n/2-1)*time.Second
	out := tabwriter.NewWriter(t.Output(), 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(out, "%d messages, virtual time\ttime\tof the optimum\tlimit answers\t\n", n)
	fmt.Fprintf(out, "the optimum\t%s\t\t\t\n", best)
	for _, test := range []struct {
		name   string
		drain  func(t *testing.T, s *strict, n, processes int)
		procs  int
		silent bool
		ours   bool
	}{
		{"dispatcher", dispatchers, 1, false, true},
		{"three dispatchers, one ledger", dispatchers, 3, false, true},
		{"the rules of octokit's throttling (a model)", octokit, 1, false, false},
		{"the same, without Retry-After", octokit, 1, true, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &strict{silent: test.silent}
			test.drain(t, s, n, test.procs)
			took := slices.MaxFunc(s.writes, time.Time.Compare).Sub(s.writes[0])
			fmt.Fprintf(out, "%s\t%s\t%.4f\t%d\t\n", test.name, took.Round(time.Millisecond), took.Seconds()/best.Seconds(), s.limits)
			if len(s.writes) != n {
				t.Errorf("%s: %d runs of %d", test.name, len(s.writes), n)
			}
			if test.ours && (s.limits > 0 || took > best+best/50 || took < best) {
				t.Errorf("%s: %d limits in %s", test.name, s.limits, took)
			}
			if !test.ours && s.limits == 0 {
				t.Errorf("%s: it met no limit, so that this GitHub has none", test.name)
			}
		})
	}
	if err := out.Flush(); err != nil {
		t.Error(err)
	}
}

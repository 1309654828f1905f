package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pregoi/provision-tenant/internal/consumer"
	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A site is one consumer with its queue, and what it has dispatched.
type site struct {
	consumer.Consumer
	q      queue
	answer func(ctx context.Context, job provision.Job, call int) error

	mu       sync.Mutex
	calls    map[string]int
	at       []time.Time
	done     map[string]bool
	refusals []dispatch.Refusal
	active   int
	most     int
}

func newSite(n int) *site {
	s := &site{calls: map[string]int{}, done: map[string]bool{}}
	s.Queue, s.Dispatch, s.Refuse = &s.q, s.dispatch, s.refuse
	for i := range n {
		s.q.put(message(i))
	}
	return s
}

func (s *site) dispatch(ctx context.Context, job provision.Job) (dispatch.Result, error) {
	s.mu.Lock()
	s.calls[job.ID]++
	call := s.calls[job.ID]
	s.at = append(s.at, time.Now())
	s.active++
	s.most = max(s.most, s.active)
	s.mu.Unlock()
	var err error
	if s.answer != nil {
		err = s.answer(ctx, job, call)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active--
	recorded := s.done[job.ID]
	if err == nil {
		s.done[job.ID] = true
	}
	return dispatch.Result{Run: dispatch.Run{ID: 1}, Recorded: recorded}, err
}

func (s *site) refuse(ctx context.Context, r dispatch.Refusal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.ContainsFunc(s.refusals, func(old dispatch.Refusal) bool { return old.MessageID == r.MessageID }) {
		s.refusals = append(s.refusals, r)
		slices.SortFunc(s.refusals, func(a, b dispatch.Refusal) int { return strings.Compare(a.MessageID, b.MessageID) })
	}
	return ctx.Err()
}

// during runs the consumer for d, and returns how long it took to end after that.
func (s *site) during(t *testing.T, d time.Duration) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	began := time.Now()
	if err := s.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	return time.Since(began) - d
}

// want checks what is left in the queue.
func (s *site) want(t *testing.T, messages, dead int) {
	t.Helper()
	if m, leased, d := s.q.left(); m != messages || leased != 0 || d != dead {
		t.Errorf("%d messages are left, %d of them leased, and %d are dead; want %d, 0, %d", m, leased, d, messages, dead)
	}
	if s.q.late > 0 {
		t.Errorf("%d messages were settled after their lease", s.q.late)
	}
}

func busy(text string) error { return provision.Errorf(provision.Busy, "%s", text) }

func TestEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(250)
		if err := s.Empty(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.want(t, 0, 0)
		stats := s.Stats()
		if len(s.done) != 250 || stats.Acked != 250 || stats.Pulled != 250 || stats.Held != 0 || stats.Retried() != 0 {
			t.Errorf("%d jobs are done: %+v", len(s.done), stats)
		}
		if s.most > 20 {
			t.Errorf("%d messages were worked on at once", s.most)
		}
	})
}

// What becomes of a message by what its dispatch ends in.
func TestVerdicts(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		poison bool
		min    time.Duration // until the next delivery
		max    time.Duration
	}{
		{"a limit with a time", &dispatch.LaterError{At: time.Time{}.Add(time.Hour), Err: busy("limited")}, false, time.Hour, time.Hour + 5*time.Second},
		{"later, at any time", &dispatch.LaterError{Maybe: true, Err: busy("ambiguous")}, false, 5 * time.Second, 11 * time.Second},
		{"the ledger is away", busy("ledger"), false, 5 * time.Second, 11 * time.Second},
		{"nobody knows", errors.New("what"), false, 5 * time.Second, 11 * time.Second},
		{"a token has expired", provision.Errorf(provision.Denied, "401"), false, 30 * time.Minute, time.Hour + time.Second},
		{"a workflow is gone", provision.Errorf(provision.NotFound, "404"), false, 30 * time.Minute, time.Hour + time.Second},
		{"the workflow does not take it", &provision.Error{Class: provision.Invalid, Text: "inputs",
			Err: &provision.FieldError{Field: "region", Value: "sg", Reason: "is not one of the choices"}}, false, 30 * time.Minute, time.Hour + time.Second},
		{"GitHub refuses its content", provision.Errorf(provision.Invalid, "422"), true, 0, 0},
		{"another content", provision.Errorf(provision.Conflict, "another message had the same job_id"), true, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(1)
				err := test.err
				if l := (*dispatch.LaterError)(nil); errors.As(err, &l) && !l.At.IsZero() {
					err = &dispatch.LaterError{At: time.Now().Add(l.At.Sub(time.Time{})), Err: l.Err}
				}
				s.answer = func(_ context.Context, job provision.Job, call int) error {
					if call == 1 {
						return fmt.Errorf("job %s: %w", job.ID, err)
					}
					return nil
				}
				s.during(t, 3*time.Hour)
				s.want(t, 0, 0)
				if test.poison {
					if len(s.at) != 1 || len(s.refusals) != 1 || s.refusals[0].JobID != "job-0" || s.refusals[0].MessageID != "m0" ||
						s.refusals[0].Class != provision.ClassOf(test.err) || string(s.refusals[0].Body) != message(0) || s.Stats().Poisoned != 1 {
						t.Errorf("dispatched %d times, refused as %+v", len(s.at), s.refusals)
					}
					return
				}
				if len(s.at) != 2 || len(s.refusals) > 0 {
					t.Fatalf("dispatched %d times, refused as %+v", len(s.at), s.refusals)
				}
				// The last look into the empty queue may have been a while ago.
				if d := s.at[1].Sub(s.at[0]); d < test.min || d > test.max+11*time.Second {
					t.Errorf("delivered again after %v, want %v to %v", d, test.min, test.max)
				}
			})
		})
	}
}

func TestPoison(t *testing.T) {
	bad := []string{`{"job_id":"job-7","region":"mars"}`, `no JSON`, ``, strings.Replace(message(1), "{", `{"colour":"red",`, 1)}
	for _, mode := range []consumer.Poison{consumer.Ack, consumer.Leave} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(1)
			s.Poison, s.q.maxRetries = mode, 3
			s.q.put(bad...)
			s.q.put(message(2))
			s.q.messages[2].broken = provision.Errorf(provision.Invalid, "v8 cannot be read")
			s.during(t, time.Hour)
			dead := 0
			if mode == consumer.Leave {
				dead = len(bad)
			}
			s.want(t, 0, dead)
			if len(s.done) != 2 || len(s.refusals) != len(bad) || s.refusals[0].JobID != "job-7" || s.refusals[1].Reason != "v8 cannot be read" {
				t.Errorf("%s: %d done, refused as %+v", mode, len(s.done), s.refusals)
			}
		})
	}
}

// Whose reason was not recorded is not acknowledged.
func TestPoisonUnrecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(0)
		s.q.put("no JSON")
		began := time.Now()
		refuse := s.Refuse
		s.Refuse = func(ctx context.Context, r dispatch.Refusal) error {
			if time.Since(began) < time.Minute {
				return busy("the ledger is away")
			}
			return refuse(ctx, r)
		}
		s.during(t, 59*time.Second)
		if n, _, _ := s.q.left(); n != 1 {
			t.Fatal("it is gone")
		}
		s.during(t, 10*time.Minute)
		s.want(t, 0, 0)
		if len(s.refusals) != 1 {
			t.Errorf("refusals: %+v", s.refusals)
		}
	})
}

// A token that has expired costs the queue's messages none of their attempts but a few, and
// loses none.
func TestFault(t *testing.T) {
	for _, known := range []bool{false, true} { // whether Room sees it
		synctest.Test(t, func(t *testing.T) {
			s := newSite(100)
			s.q.maxRetries, s.MaxRetries = 3, 3
			mended := time.Now().Add(3 * time.Hour)
			fault := func() error {
				if time.Now().Before(mended) {
					return provision.Errorf(provision.Denied, "401 Bad credentials")
				}
				return nil
			}
			s.answer = func(context.Context, provision.Job, int) error { return fault() }
			if known {
				s.Room = func(context.Context, time.Duration) (int, time.Time, error) { return 10, time.Time{}, fault() }
			}
			s.during(t, 24*time.Hour)
			s.want(t, 0, 0)
			lost := len(s.at) - 100
			if len(s.done) != 100 || known && lost != 0 || lost > 50 {
				t.Errorf("%d are done after %d deliveries too many", len(s.done), lost)
			}
			// Somebody who waits for the end is told at once.
			mended = time.Now().Add(time.Hour)
			s.q.put(message(101))
			if err := s.Empty(t.Context()); provision.ClassOf(err) != provision.Denied {
				t.Errorf("Empty: %v", err)
			}
		})
	}
}

// With an hour's limit reached, messages wait in the queue, and none is delivered in vain.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(70)
		s.q.maxRetries = 1
		var sent []time.Time
		var mu sync.Mutex
		// 30 in an hour, and one after another.
		s.Room = func(_ context.Context, ahead time.Duration) (int, time.Time, error) {
			mu.Lock()
			defer mu.Unlock()
			if len(sent) >= 30 {
				if from := sent[len(sent)-30].Add(time.Hour); from.After(time.Now()) {
					return 0, from, nil
				}
			}
			n := 0
			for _, at := range sent {
				if time.Since(at) < time.Hour {
					n++
				}
			}
			return min(30-n, int(ahead/time.Second)), time.Time{}, nil
		}
		s.answer = func(context.Context, provision.Job, int) error {
			mu.Lock()
			defer mu.Unlock()
			if len(sent) >= 30 && time.Since(sent[len(sent)-30]) < time.Hour {
				return &dispatch.LaterError{Err: busy("limited")}
			}
			sent = append(sent, time.Now())
			return nil
		}
		s.during(t, 3*time.Hour)
		s.want(t, 0, 0)
		if len(s.at) != 70 {
			t.Errorf("%d deliveries of 70 messages", len(s.at))
		}
		if last := sent[69].Sub(sent[0]); last < 2*time.Hour || last > 2*time.Hour+2*time.Minute {
			t.Errorf("the last was sent after %v", last)
		}
	})
}

// What takes longer than a lease is given back before its end, also by one who does not listen.
func TestLease(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(3)
			s.Visibility = time.Minute
			s.answer = func(ctx context.Context, _ provision.Job, call int) error {
				if call > 1 {
					return nil
				}
				if deaf {
					time.Sleep(90 * time.Second)
					return nil
				}
				<-ctx.Done()
				return ctx.Err()
			}
			s.during(t, 10*time.Minute)
			s.want(t, 0, 0)
			if len(s.done) != 3 || s.Stats().Released != 3 {
				t.Errorf("%d are done: %+v", len(s.done), s.Stats())
			}
		})
	}
}

func TestStop(t *testing.T) {
	tests := []struct {
		name   string
		answer func(ctx context.Context) error
		hang   bool // the queue does, from the end on
		done   int
		left   int
		most   time.Duration
	}{
		{"what listens is given back", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, false, 0, 5, time.Second},
		{"what is under way is finished", func(ctx context.Context) error { <-ctx.Done(); time.Sleep(3 * time.Second); return nil }, false, 5, 0, 4 * time.Second},
		{"what hangs is given back", func(context.Context) error { time.Sleep(time.Hour); return nil }, false, 0, 5, 6 * time.Second},
		{"the queue hangs", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, true, 0, 5, 7 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(5)
				defer time.Sleep(2 * time.Hour) // for who hangs
				s.answer = func(ctx context.Context, _ provision.Job, _ int) error { return test.answer(ctx) }
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				context.AfterFunc(ctx, func() {
					s.q.mu.Lock()
					defer s.q.mu.Unlock()
					s.q.hang = test.hang
				})
				err := s.Run(ctx)
				if end, _ := ctx.Deadline(); time.Since(end) > test.most {
					t.Errorf("took %v to end", time.Since(end))
				}
				if (err != nil) != test.hang {
					t.Errorf("Run: %v", err)
				}
				m, leased, _ := s.q.left()
				s.mu.Lock()
				defer s.mu.Unlock()
				if len(s.done) != test.done || m != test.left || leased > 0 != test.hang {
					t.Errorf("%d are done, %d left, %d leased", len(s.done), m, leased)
				}
			})
		})
	}
}

// What a pull leases while the end comes is given back, and not left to the end of its lease.
func TestStopWhilePulling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(5)
		s.q.lag = 2 * time.Second
		if took := s.during(t, 300*time.Millisecond); took > 2*time.Second {
			t.Errorf("took %v to end", took)
		}
		s.want(t, 5, 0)
		if len(s.at) > 0 {
			t.Error("it was dispatched after the end")
		}
		s.q.lag = time.Hour
		if took := s.during(t, 300*time.Millisecond); took > 3*time.Second {
			t.Errorf("took %v to end with a queue that hangs", took)
		}
	})
}

// A queue that fails is left alone for as long as it says, and then longer and longer.
func TestQueueFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(20)
		began := time.Now()
		s.q.fail = func(call string) error {
			if time.Since(began) < 10*time.Minute {
				return busy(call + " fails")
			}
			return nil
		}
		s.during(t, 30*time.Minute)
		s.want(t, 0, 0)
		if len(s.done) != 20 || s.Stats().QueueErrors > 20 {
			t.Errorf("%d are done after %d errors", len(s.done), s.Stats().QueueErrors)
		}

		s = newSite(1)
		began = time.Now()
		s.q.fail = func(string) error {
			if at := began.Add(20 * time.Minute); time.Now().Before(at) {
				return limit{busy("429"), at}
			}
			return nil
		}
		s.during(t, 30*time.Minute)
		if len(s.done) != 1 || s.Stats().QueueErrors != 1 {
			t.Errorf("%d are done after %d errors", len(s.done), s.Stats().QueueErrors)
		}
		s.q.fail = func(string) error { return provision.Errorf(provision.Denied, "403") }
		if err := s.Empty(t.Context()); provision.ClassOf(err) != provision.Denied {
			t.Errorf("Empty: %v", err)
		}
	})
}

type limit struct {
	error
	at time.Time
}

func (l limit) NotBefore() time.Time { return l.at }
func (l limit) Unwrap() error        { return l.error }

// An acknowledgement that is lost brings the message again, and what is on record is
// acknowledged once more.
func TestLostAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(20)
		s.Visibility = time.Minute
		lost := 0
		s.q.fail = func(call string) error {
			if call == "settle" && lost < 5 {
				lost++
				return busy("no answer")
			}
			return nil
		}
		s.during(t, 10*time.Minute)
		s.want(t, 0, 0)
		if len(s.done) != 20 || s.Stats().Acked != 20 || s.Stats().Known == 0 {
			t.Errorf("%d are done: %+v", len(s.done), s.Stats())
		}
	})
}

// An empty queue is looked into now and then.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(0)
		s.during(t, time.Hour)
		if s.q.pulls < 360 || s.q.pulls > 760 {
			t.Errorf("%d pulls in an idle hour", s.q.pulls)
		}
	})
}

// Two on one queue share the messages.
func TestTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newSite(100), newSite(0)
		b.Queue = &a.q
		work := func(context.Context, provision.Job, int) error { time.Sleep(time.Second); return nil }
		a.answer, b.answer = work, work
		var wg sync.WaitGroup
		for _, s := range []*site{a, b} {
			wg.Go(func() { s.during(t, 10*time.Minute) })
		}
		wg.Wait()
		a.want(t, 0, 0)
		var all []string
		for _, s := range []*site{a, b} {
			for id := range s.done {
				all = append(all, id)
			}
		}
		slices.Sort(all)
		if n := len(slices.Compact(all)); n != 100 || len(b.done) == 0 || len(a.at)+len(b.at) != 100 {
			t.Errorf("%d jobs are done, %d by the second", n, len(b.done))
		}
	})
}

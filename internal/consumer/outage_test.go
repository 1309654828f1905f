package consumer_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// What the queue does not deliver again is recorded, with what has kept it from its run:
// its attempts are used up, by an outage or by the end of the process, or it is too old.
func TestSpent(t *testing.T) {
	unavailable := func(context.Context, provision.Job, int) error { return busy("503") }
	tests := []struct {
		name   string
		set    func(s *site)
		time   time.Duration
		reason string
		dead   int
	}{
		{"an outage", func(s *site) { s.q.maxRetries, s.MaxRetries, s.answer = 3, 3, unavailable }, 30 * time.Minute,
			"given back at attempt 3, perhaps the last that its queue allows: job", 3},
		{"the end of the process", func(s *site) {
			s.q.maxRetries, s.MaxRetries = 1, 1
			s.answer = func(ctx context.Context, _ provision.Job, _ int) error { <-ctx.Done(); return ctx.Err() }
		}, time.Minute, "given back at attempt 1, perhaps the last that its queue allows: the dispatcher ended", 0},
		{"its age", func(s *site) {
			s.q.retention, s.answer = 4*24*time.Hour, func(context.Context, provision.Job, int) error {
				return provision.Errorf(provision.Denied, "401")
			}
		}, 5 * 24 * time.Hour, "perhaps the last that its queue allows: job", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(3)
				test.set(s)
				began := time.Now()
				inner := s.answer
				s.answer = func(ctx context.Context, job provision.Job, call int) error {
					if err := inner(ctx, job, call); err != nil {
						return provision.Errorf(provision.ClassOf(err), "job %s: %w", job.ID, err)
					}
					return nil
				}
				s.during(t, test.time)
				if _, _, dead := s.q.left(); dead != test.dead || len(s.refusals) != 3 || s.Stats().Spent != 3 {
					t.Fatalf("%d are dead, refused as %+v: %+v", dead, s.refusals, s.Stats())
				}
				for _, r := range s.refusals {
					if !strings.Contains(r.Reason, test.reason) || r.JobID == "" || len(r.Body) == 0 {
						t.Errorf("refused as %+v", r)
					}
				}
				// An old message is tried until shortly before the queue forgets it.
				if end := began.Add(s.q.retention); s.q.retention > 0 && s.at[len(s.at)-1].Before(end.Add(-2*time.Hour)) {
					t.Errorf("the last delivery is %v before the end", end.Sub(s.at[len(s.at)-1]))
				}
			})
		})
	}
}

// A queue that allows three attempts loses nothing to an outage of some minutes.
func TestFewAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(30)
		s.q.maxRetries, s.MaxRetries = 3, 3
		began := time.Now()
		s.answer = func(context.Context, provision.Job, int) error {
			if time.Since(began) < 3*time.Minute {
				return busy("503")
			}
			return nil
		}
		s.during(t, time.Hour)
		s.want(t, 0, 0)
		if len(s.done) != 30 || len(s.refusals) > 0 {
			t.Errorf("%d are done, refused: %+v", len(s.done), s.refusals)
		}
	})
}

// Poison, and what is on record already, say nothing of a fault of all messages.
func TestFaultStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(0)
		for i := range 100 {
			s.q.put(message(i), "poison")
		}
		s.answer = func(context.Context, provision.Job, int) error { return provision.Errorf(provision.Denied, "401") }
		s.during(t, 10*time.Minute)
		if len(s.at) > 20 {
			t.Errorf("%d messages were delivered in vain", len(s.at))
		}
	})
}

// Answers to pulls that are lost cost one message at a time an attempt.
func TestLostPulls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(100)
		began := time.Now()
		s.q.lose = func() error {
			if time.Since(began) < 10*time.Minute {
				return busy("no answer")
			}
			return nil
		}
		s.during(t, 10*time.Minute)
		spent := 0
		for _, m := range s.q.messages {
			spent += m.attempts
		}
		if spent > s.q.pulls+10 {
			t.Errorf("%d lost answers cost %d attempts", s.q.pulls, spent)
		}
		s.during(t, 20*time.Minute)
		s.want(t, 0, 0)
	})
}

// However little there is to say at a time, the queue is asked and told so often and no more.
func TestGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(5000)
		s.Gap, s.Batch = 300*time.Millisecond, 2
		s.answer = func(_ context.Context, _ provision.Job, call int) error {
			time.Sleep(10 * time.Millisecond)
			return nil
		}
		s.during(t, 5*time.Minute)
		if n := s.q.pulls + s.q.settles; n > 1010 {
			t.Errorf("%d requests in 5 minutes", n)
		}
		if len(s.done) < 500 {
			t.Errorf("%d are done", len(s.done))
		}
	})
}

// A message is held until the queue knows what became of it.
func TestHeldUntilTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(500)
		began := time.Now()
		s.q.fail = func(call string) error {
			if call == "settle" && time.Since(began) < 3*time.Second {
				return busy("no answer")
			}
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		time.AfterFunc(2*time.Second, func() {
			if held := s.Stats().Held; held != 20 || s.Stats().Pulled != 20 {
				t.Errorf("%d are held: %+v", held, s.Stats())
			}
		})
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
		s.want(t, 0, 0)
	})
}

// Who empties a queue ends in time too, when pulling has failed before, or when the queue wants quiet.
func TestEmptyStops(t *testing.T) {
	for _, call := range []string{"pull", "settle"} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(5)
			s.Batch = 5
			s.answer = func(ctx context.Context, job provision.Job, _ int) error {
				if call == "settle" && job.ID != "job-0" {
					return nil
				}
				<-ctx.Done()
				return &dispatch.LaterError{Err: ctx.Err()}
			}
			n := 0
			s.q.fail = func(c string) error {
				if n++; c != call || n == 1 {
					return nil
				}
				if call == "pull" {
					return provision.Errorf(provision.Denied, "403")
				}
				return limit{busy("429"), time.Now().Add(20 * time.Minute)}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			err := s.Empty(ctx)
			if end, _ := ctx.Deadline(); time.Since(end) > 5*time.Second+100*time.Millisecond || time.Since(end) < 0 {
				t.Errorf("%s: took %v to end", call, time.Since(end))
			}
			if err == nil {
				t.Error("no error")
			}
		})
	}
}

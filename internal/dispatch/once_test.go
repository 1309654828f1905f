package dispatch_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/dispatch/ledgertest"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A bench is a dispatcher with a ledger, whose GitHub answers what the test wants.
type bench struct {
	dispatch.Dispatcher
	ledger        ledgertest.Memory
	mu            sync.Mutex
	starts, finds int
	after         int64                                           // as Find was asked last
	start         func(ctx context.Context) (dispatch.Run, error) // nil: accepted
	find          func() (dispatch.Run, bool, error)              // nil: there is none
}

var (
	run7 = dispatch.Run{ID: 7, URL: "u", HTMLURL: "h"}
	job  = provision.Job{ID: "j", TenantID: "t"}
	gone = lost{provision.Errorf(provision.Busy, "502")}
)

func newBench() *bench {
	b := &bench{}
	b.Ledger = &b.ledger
	b.Inputs = func(context.Context, provision.Job) (map[string]any, error) { return map[string]any{}, nil }
	b.Start = func(ctx context.Context, _ map[string]any) (dispatch.Run, error) {
		b.mu.Lock()
		b.starts++
		b.mu.Unlock()
		if b.start != nil {
			return b.start(ctx)
		}
		return run7, nil
	}
	b.Find = func(_ context.Context, id string, after int64, _ time.Time) (dispatch.Run, bool, error) {
		b.finds++
		b.after = after
		if b.find != nil {
			return b.find()
		}
		return dispatch.Run{}, false, nil
	}
	return b
}

// want calls Once and wants this result.
func (b *bench) want(t *testing.T, result dispatch.Result, outcome dispatch.Outcome) error {
	t.Helper()
	got, err := b.Once(t.Context(), job)
	if got != result || dispatch.OutcomeOf(got.Run, err) != outcome {
		t.Errorf("Once = %+v, %v; want %+v, %s", got, err, result, outcome)
	}
	return err
}

// attempt delivers that attempt of the job and wants this result.
func (b *bench) attempt(t *testing.T, n int, want dispatch.Result) {
	t.Helper()
	j := job
	j.Attempt = n
	if got, err := b.Once(t.Context(), j); err != nil || got != want {
		t.Errorf("attempt %d: %+v, %v; want %+v", n, got, err, want)
	}
}

func (b *bench) asked(t *testing.T, starts, finds int) {
	t.Helper()
	if b.starts != starts || b.finds != finds {
		t.Errorf("%d requests for a run and %d for the list, want %d and %d", b.starts, b.finds, starts, finds)
	}
}

func (b *bench) record(t *testing.T) dispatch.Record {
	t.Helper()
	r, err := b.ledger.Load(context.WithoutCancel(t.Context()), job.ID)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var (
	fresh    = dispatch.Result{Run: run7}
	recorded = dispatch.Result{Run: run7, Recorded: true}
)

func TestOnce(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *bench){
		"the second delivery sends nothing": func(t *testing.T, b *bench) {
			b.want(t, fresh, dispatch.Accepted)
			time.Sleep(13 * 24 * time.Hour)
			b.want(t, recorded, dispatch.Accepted)
			b.asked(t, 1, 0)
		},
		"other content": func(t *testing.T, b *bench) {
			b.want(t, fresh, dispatch.Accepted)
			other := job
			other.TraceID = "trace_2"
			if _, err := b.Once(t.Context(), other); provision.ClassOf(err) != provision.Conflict {
				t.Errorf("other content: %v", err)
			}
			b.asked(t, 1, 0)
		},
		"a refusal is remembered until it is to be tried again": func(t *testing.T, b *bench) {
			b.start = func(context.Context) (dispatch.Run, error) {
				return dispatch.Run{}, &provision.Error{Class: provision.Invalid, Text: "no", Next: "ask"}
			}
			b.want(t, dispatch.Result{}, dispatch.Rejected)
			err := b.want(t, dispatch.Result{Recorded: true}, dispatch.Rejected)
			if provision.ClassOf(err) != provision.Invalid || err.Error() != "job j: no" || provision.NextAction(err) != "ask" {
				t.Errorf("recorded: %v, %s, %s", err, provision.ClassOf(err), provision.NextAction(err))
			}
			b.asked(t, 1, 0)
			b.RetryRejected = true
			b.want(t, dispatch.Result{}, dispatch.Rejected)
			b.start = nil
			b.want(t, fresh, dispatch.Accepted)
			b.want(t, recorded, dispatch.Accepted)
			b.asked(t, 3, 0)
		},
		"a token that is renewed is enough": func(t *testing.T, b *bench) {
			for _, class := range []provision.Class{provision.Denied, provision.NotFound} {
				b.start = func(context.Context) (dispatch.Run, error) { return dispatch.Run{}, provision.Errorf(class, "no") }
				if err := b.want(t, dispatch.Result{}, dispatch.Rejected); provision.ClassOf(err) != class {
					t.Errorf("refused: %v, want class %s", err, class)
				}
			}
			b.start = nil
			b.want(t, fresh, dispatch.Accepted)
			b.asked(t, 3, 0)
		},
		"an attempt is one run": func(t *testing.T, b *bench) {
			b.want(t, fresh, dispatch.Accepted)
			second := dispatch.Run{ID: 9, URL: "u2", HTMLURL: "h2"}
			b.start = func(context.Context) (dispatch.Run, error) { return second, nil }
			b.attempt(t, 2, dispatch.Result{Run: second})
			b.attempt(t, 2, dispatch.Result{Run: second, Recorded: true})
			b.attempt(t, 0, dispatch.Result{Run: second, Recorded: true}) // the message of the first, late
			b.asked(t, 2, 0)
			if r := b.record(t); r.Attempt != 2 || r.After != run7.ID || r.Sends != 1 {
				t.Errorf("record %+v, want attempt 2 after run 7, sent once", r)
			}
		},
		"an attempt begins when the one before is settled": func(t *testing.T, b *bench) {
			b.start = func(context.Context) (dispatch.Run, error) { return dispatch.Run{}, gone }
			b.Patience = time.Second
			b.want(t, dispatch.Result{}, dispatch.Ambiguous)
			b.find = func() (dispatch.Run, bool, error) {
				if b.after == run7.ID {
					return dispatch.Run{ID: 9}, true, nil
				}
				return run7, true, nil
			}
			b.Patience = time.Hour
			b.attempt(t, 2, dispatch.Result{Run: dispatch.Run{ID: 9}}) // sent, lost, and found, but not as run 7
			if b.starts != 2 {
				t.Errorf("%d requests for a run, want 2", b.starts)
			}
		},
		"a refused attempt gives way to the next": func(t *testing.T, b *bench) {
			b.start = func(context.Context) (dispatch.Run, error) {
				return dispatch.Run{}, provision.Errorf(provision.Invalid, "no")
			}
			b.want(t, dispatch.Result{}, dispatch.Rejected)
			b.start = nil
			b.attempt(t, 2, fresh)
			b.asked(t, 2, 0)
		},
		"a limit is kept by every delivery": func(t *testing.T, b *bench) {
			at := time.Now().Add(time.Hour)
			b.start = func(context.Context) (dispatch.Run, error) {
				return dispatch.Run{}, limited{provision.Errorf(provision.Busy, "slow down"), at}
			}
			for range 3 {
				if l, ok := later(b.want(t, dispatch.Result{}, dispatch.Limited)); !ok || !l.At.Equal(at) {
					t.Errorf("later: %+v", l)
				}
			}
			b.asked(t, 1, 0)
			b.start = nil
			time.Sleep(time.Until(at) - time.Minute)
			b.want(t, fresh, dispatch.Accepted) // it waits for a minute
			if time.Now().Before(at) {
				t.Error("it was sent too early")
			}
			b.asked(t, 2, 0)
		},
		"a lost answer, and the run is found": func(t *testing.T, b *bench) {
			b.start = func(context.Context) (dispatch.Run, error) { return dispatch.Run{}, gone }
			b.find = func() (dispatch.Run, bool, error) { return run7, b.finds == 3, nil }
			b.want(t, fresh, dispatch.Accepted)
			b.want(t, recorded, dispatch.Accepted)
			b.asked(t, 1, 3)
		},
		"a lost answer, and there is no run": func(t *testing.T, b *bench) {
			began := time.Now()
			var sent []time.Duration
			b.start = func(context.Context) (dispatch.Run, error) {
				sent = append(sent, time.Since(began))
				if b.starts < 4 {
					return dispatch.Run{}, gone
				}
				return run7, nil
			}
			b.Patience = time.Hour
			b.want(t, fresh, dispatch.Accepted)
			window := 2 * time.Minute
			want := []time.Duration{0, window, 2*window + time.Minute, 3*window + 3*time.Minute}
			for i := range want {
				if sent[i] != want[i] {
					t.Errorf("sent after %v, want %v", sent, want)
				}
			}
		},
		"nobody can look": func(t *testing.T, b *bench) {
			b.Find = nil
			b.start = func(context.Context) (dispatch.Run, error) { return dispatch.Run{}, gone }
			for range 3 {
				b.want(t, dispatch.Result{}, dispatch.Ambiguous)
				time.Sleep(time.Hour)
			}
			b.asked(t, 1, 0)
		},
		"a look that fails says nothing": func(t *testing.T, b *bench) {
			b.start = func(context.Context) (dispatch.Run, error) { return dispatch.Run{}, gone }
			b.find = func() (dispatch.Run, bool, error) {
				return dispatch.Run{}, false, provision.Errorf(provision.Busy, "502")
			}
			b.want(t, dispatch.Result{}, dispatch.Ambiguous)
			b.find = func() (dispatch.Run, bool, error) {
				return dispatch.Run{}, false, provision.Errorf(provision.Denied, "401")
			}
			if err := b.want(t, dispatch.Result{}, dispatch.Ambiguous); !provision.Retryable(err) {
				t.Errorf("%v of class %s is not to be delivered again", err, provision.ClassOf(err))
			}
			if b.starts != 1 {
				t.Errorf("sent %d times", b.starts)
			}
		},
		"a run without a name that is in no list": func(t *testing.T, b *bench) {
			b.start = func(context.Context) (dispatch.Run, error) { return dispatch.Run{}, nil }
			b.want(t, dispatch.Result{}, dispatch.AcceptedWithoutID)
			finds := b.finds
			time.Sleep(time.Hour)
			b.want(t, dispatch.Result{Recorded: true}, dispatch.AcceptedWithoutID)
			b.asked(t, 1, finds)
		},
		"cancelled on the way": func(t *testing.T, b *bench) {
			ctx, cancel := context.WithCancel(t.Context())
			b.start = func(context.Context) (dispatch.Run, error) {
				cancel()
				return dispatch.Run{}, lost{context.Canceled}
			}
			_, err := b.Once(ctx, job)
			if _, ok := later(err); !ok || provision.ClassOf(err) != provision.Cancelled || dispatch.OutcomeOf(dispatch.Run{}, err) != dispatch.Ambiguous {
				t.Errorf("err = %v", err)
			}
			if r := b.record(t); r.State != dispatch.Lost {
				t.Errorf("record: %+v", r)
			}
			b.asked(t, 1, 0)
		},
		"its dispatcher died": func(t *testing.T, b *bench) {
			now := time.Now()
			if ok, err := b.ledger.Save(t.Context(), dispatch.Record{JobID: job.ID, Hash: dispatch.Fingerprint(job), State: dispatch.Sending,
				Until: now.Add(time.Minute), Sends: 1, FirstAt: now, SentAt: now}); !ok || err != nil {
				t.Fatal(ok, err)
			}
			b.find = func() (dispatch.Run, bool, error) {
				if time.Since(now) < time.Minute {
					t.Error("looked before the lease had ended")
				}
				return run7, true, nil
			}
			b.want(t, fresh, dispatch.Accepted)
			b.asked(t, 0, 1)
		},
		"an answer after the lease": func(t *testing.T, b *bench) {
			// Whoever took over finds nothing yet; that there is a run must not be forgotten.
			b.start = func(context.Context) (dispatch.Run, error) {
				r := b.record(t)
				r.State, r.Until = dispatch.Lost, time.Now().Add(time.Hour)
				if ok, err := b.ledger.Save(t.Context(), r); !ok || err != nil {
					t.Error(ok, err)
				}
				return run7, nil
			}
			b.want(t, fresh, dispatch.Accepted)
			if r := b.record(t); r.State != dispatch.Done || r.Run != run7 || r.Version != 3 {
				t.Errorf("record: %+v", r)
			}
		},
		"the request ends before the lease": func(t *testing.T, b *bench) {
			b.start = func(ctx context.Context) (dispatch.Run, error) {
				if end, ok := ctx.Deadline(); !ok || end.After(b.record(t).Until) {
					t.Errorf("the request may take until %s, the lease ends at %s", end, b.record(t).Until)
				}
				return run7, nil
			}
			b.want(t, fresh, dispatch.Accepted)
		},
		"deliveries at once": func(t *testing.T, b *bench) {
			b.start = func(context.Context) (dispatch.Run, error) {
				time.Sleep(10 * time.Second)
				return run7, nil
			}
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					if result, err := b.Once(t.Context(), job); err != nil || result.Run != run7 {
						t.Errorf("Once = %+v, %v", result, err)
					}
				})
			}
			wg.Wait()
			b.asked(t, 1, 0)
		},
		"a refusal that is tried again meets a limit": func(t *testing.T, b *bench) {
			b.start = func(context.Context) (dispatch.Run, error) {
				return dispatch.Run{}, provision.Errorf(provision.Denied, "no")
			}
			b.want(t, dispatch.Result{}, dispatch.Rejected)
			// Another dispatcher hears of a limit between the intent and the request.
			slots := &meddling{Slots: &b.ledger}
			b.Pace, b.RetryRejected, b.Patience = &dispatch.Pace{Slots: slots}, true, time.Minute
			slots.before = func(loads int) {
				if tally, err := b.ledger.LoadTally(t.Context()); loads == 3 && err == nil {
					tally.Quiet = time.Now().Add(time.Hour)
					if ok, err := b.ledger.SaveTally(t.Context(), tally); !ok || err != nil {
						t.Error(ok, err)
					}
				}
			}
			b.want(t, dispatch.Result{}, dispatch.Limited)
			if r := b.record(t); r.State != dispatch.Waiting || time.Until(r.Until) != time.Hour {
				t.Errorf("record: %+v", r)
			}
			b.asked(t, 1, 0)
			if tally, err := b.ledger.LoadTally(t.Context()); err != nil || len(tally.Writes) != 0 {
				t.Errorf("the slot is not given back: %+v, %v", tally, err)
			}
			time.Sleep(time.Hour)
			b.start, b.RetryRejected = nil, false
			b.want(t, fresh, dispatch.Accepted)
		},
		"cancelled before the request": func(t *testing.T, b *bench) {
			ctx, cancel := context.WithCancel(t.Context())
			slots := &meddling{Slots: &b.ledger, before: func(loads int) {
				if loads == 3 {
					cancel()
				}
			}}
			b.Pace = &dispatch.Pace{Slots: slots}
			if _, err := b.Once(ctx, job); provision.ClassOf(err) != provision.Cancelled || dispatch.OutcomeOf(dispatch.Run{}, err) != dispatch.Limited {
				t.Errorf("err = %v", err)
			}
			if r := b.record(t); r.State != dispatch.Waiting || r.Sends != 0 {
				t.Errorf("record: %+v", r)
			}
			b.asked(t, 0, 0)
			b.want(t, fresh, dispatch.Accepted)
		},
		"asked differently": func(t *testing.T, b *bench) {
			b.Pace = &dispatch.Pace{}
			began := time.Now()
			b.start = func(context.Context) (dispatch.Run, error) {
				if b.starts == 1 {
					return dispatch.Run{}, differently{provision.Errorf(provision.Busy, "400")}
				}
				return run7, nil
			}
			b.want(t, fresh, dispatch.Accepted)
			b.asked(t, 2, 0)
			if time.Since(began) < time.Second {
				t.Errorf("sent again after %s", time.Since(began))
			}
		},
		"asked differently in vain": func(t *testing.T, b *bench) {
			b.start = func(context.Context) (dispatch.Run, error) {
				return dispatch.Run{}, differently{provision.Errorf(provision.Invalid, "400")}
			}
			b.want(t, dispatch.Result{}, dispatch.Rejected)
			b.asked(t, 2, 0)
		},
		"no ledger, no request": func(t *testing.T, b *bench) {
			b.Ledger = broken{}
			if err := b.want(t, dispatch.Result{}, dispatch.Limited); !errors.Is(err, errLedger) {
				t.Errorf("err = %v", err)
			}
			b.asked(t, 0, 0)
		},
		"inputs that are refused leave no trace": func(t *testing.T, b *bench) {
			b.Inputs = func(context.Context, provision.Job) (map[string]any, error) {
				return nil, provision.Errorf(provision.Invalid, "wrong")
			}
			b.want(t, dispatch.Result{}, dispatch.Rejected)
			if r := b.record(t); r.Version != 0 {
				t.Errorf("record: %+v", r)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, newBench()) })
		})
	}
}

// differently is an error after which the same is to be asked differently.
type differently struct{ error }

func (differently) Repeat() bool    { return true }
func (d differently) Unwrap() error { return d.error }

// meddling calls before ahead of each load, with how many there were.
type meddling struct {
	dispatch.Slots
	loads  int
	before func(loads int)
}

func (m *meddling) LoadTally(ctx context.Context) (dispatch.Tally, error) {
	m.loads++
	m.before(m.loads)
	return m.Slots.LoadTally(ctx)
}

// broken is a ledger that can be read and not written.
type broken struct{}

func (broken) Load(context.Context, string) (dispatch.Record, error) { return dispatch.Record{}, nil }
func (broken) Save(context.Context, dispatch.Record) (bool, error)   { return false, errLedger }

// Every field of the message counts, and nothing else.
func TestFingerprint(t *testing.T) {
	seen := map[string]bool{}
	for _, j := range []provision.Job{{}, {ID: "a"}, {TenantID: "a"}, {Region: "sg"}, {CreateNewServer: true}, {TargetServerID: "a"},
		{SubdomainSlug: "a"}, {CanonicalHostname: "a"}, {Dedicated: true}, {TraceID: "a"}} {
		h := dispatch.Fingerprint(j)
		if seen[h] || h != dispatch.Fingerprint(j) || len(h) != 64 {
			t.Errorf("%+v: %s", j, h)
		}
		seen[h] = true
	}
}

package server_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/server"
	"github.com/pregoi/provision-tenant/internal/store"
	"github.com/pregoi/provision-tenant/internal/store/sqlite"
)

// worker runs a server's worker in a bubble where time passes at once, over a store with
// the job job_acme, which is Pending. trigger is called with the number of the try.
func worker(t *testing.T, trigger func(ctx context.Context, try int, m provision.Message) (string, string, error), then func(t *testing.T, s store.Store, stop func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "test.db"))
		must(t, err)
		defer db.Close()
		_, err = db.Enqueue(t.Context(), store.Order{JobID: "job_acme", TenantID: "acme", TraceID: "trace_1", Slug: "acme", Domain: "example.com",
			Decide: func(store.World) placement.Decision {
				return placement.Decide(placement.Request{}, placement.Snapshot{})
			},
			Answer: func(store.Job) ([]byte, error) { return nil, nil }, Now: time.Now()})
		must(t, err)
		tries := 0
		s := newServer(t, server.Config{Store: db, Key: key, Domain: "example.com",
			Trigger: func(ctx context.Context, m provision.Message) (string, string, error) {
				tries++
				return trigger(ctx, tries, m)
			}})
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			s.Work(ctx)
		}()
		stop := func() {
			cancel()
			<-stopped
		}
		defer stop()
		then(t, db, stop)
	})
}

func job(t *testing.T, s store.Store) store.Job {
	t.Helper()
	j, err := s.Job(t.Context(), "job_acme")
	must(t, err)
	return j
}

func TestTriggerOnce(t *testing.T) {
	var got []provision.Message
	worker(t, func(_ context.Context, _ int, m provision.Message) (string, string, error) {
		got = append(got, m)
		return "42", "https://example.com/42", nil
	}, func(t *testing.T, s store.Store, stop func()) {
		time.Sleep(10 * time.Minute) // of the bubble
		j := job(t, s)
		if j.Status != provision.JobDispatched || j.RunID != "42" || j.RunURL != "https://example.com/42" || j.Tries != 1 {
			t.Errorf("job %+v, want it dispatched once", j)
		}
	})
	want := []provision.Message{{JobID: "job_acme", TenantID: "acme", Region: "sg", CreateNewServer: "true", SubdomainSlug: "acme",
		CanonicalHostname: "acme.example.com", Dedicated: "false", TraceID: "trace_1"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("triggered (-want +got):\n%s", diff)
	}
}

func TestTriggerAgain(t *testing.T) {
	start := time.Time{}
	var at []time.Duration
	worker(t, func(_ context.Context, try int, _ provision.Message) (string, string, error) {
		if try == 1 {
			start = time.Now()
		}
		at = append(at, time.Since(start))
		if try < 4 {
			return "", "", provision.Errorf(provision.Busy, "github: limited")
		}
		return "1", "", nil
	}, func(t *testing.T, s store.Store, stop func()) {
		time.Sleep(2 * time.Second)
		if j := job(t, s); j.Status != provision.JobPending || j.Error != "github: limited" {
			t.Errorf("between tries the job is %s and says %q", j.Status, j.Error)
		}
		time.Sleep(time.Minute)
		if j := job(t, s); j.Status != provision.JobDispatched || j.Tries != 4 || j.Error != "" {
			t.Errorf("job %+v, want it dispatched at the fourth try", j)
		}
	})
	if len(at) != 4 || at[1] < time.Second || at[2]-at[1] < 2*time.Second || at[3]-at[2] < 4*time.Second || at[3] > 15*time.Second {
		t.Errorf("tries at %v, want each pause twice the last", at)
	}
}

func TestTriggerGivesUp(t *testing.T) {
	for _, test := range []struct {
		err   error
		tries int
	}{
		{provision.Errorf(provision.Denied, "github: the token may not start workflows"), 1},
		{provision.Errorf(provision.Busy, "github: away"), 20},
	} {
		worker(t, func(context.Context, int, provision.Message) (string, string, error) { return "", "", test.err },
			func(t *testing.T, s store.Store, stop func()) {
				time.Sleep(90 * time.Minute)
				j := job(t, s)
				if want := "its run could not be triggered: " + test.err.Error(); j.Status != provision.JobFailed || j.Tries != test.tries ||
					j.Error != want || j.ErrorClass != provision.ClassOf(test.err) {
					t.Errorf("%v: job %+v, want it Failed after %d tries", test.err, j, test.tries)
				}
			})
	}
}

// A try that does not end is ended; a run that started all the same is not failed.
func TestTriggerHangs(t *testing.T) {
	worker(t, func(ctx context.Context, try int, _ provision.Message) (string, string, error) {
		if try == 1 {
			<-ctx.Done()
			return "", "", ctx.Err()
		}
		return "", "", provision.Errorf(provision.Invalid, "no")
	}, func(t *testing.T, s store.Store, stop func()) {
		time.Sleep(30 * time.Second)
		_, err := s.AddEvents(t.Context(), []provision.Event{{ID: "1", JobID: "job_acme", TenantID: "acme", Stage: "s",
			Status: provision.Started, Attempt: 1, At: time.Now()}}, time.Now())
		must(t, err)
		time.Sleep(5 * time.Minute)
		if j := job(t, s); j.Status != provision.JobRunning || j.Tries != 1 {
			t.Errorf("job %+v, want it running after one try", j)
		}
	})
}

// An answer that was lost is not asked for again: there may be a run.
func TestTriggerAmbiguous(t *testing.T) {
	worker(t, func(context.Context, int, provision.Message) (string, string, error) {
		return "", "", ambiguous{provision.Errorf(provision.Busy, "github: connection reset")}
	}, func(t *testing.T, s store.Store, stop func()) {
		time.Sleep(10 * time.Minute)
		if j := job(t, s); j.Status != provision.JobDispatched || j.Tries != 1 || j.Error != "its run may have started: github: connection reset" {
			t.Errorf("job %+v, want it dispatched, with the doubt", j)
		}
	})
}

type ambiguous struct{ error }

func (ambiguous) Ambiguous() bool { return true }

// A server that is stopped during a try leaves the job for the next one at once.
func TestTriggerStopped(t *testing.T) {
	worker(t, func(ctx context.Context, _ int, _ provision.Message) (string, string, error) {
		<-ctx.Done()
		return "", "", ctx.Err()
	}, func(t *testing.T, s store.Store, stop func()) {
		synctest.Wait()
		if _, ok, err := s.Claim(t.Context(), time.Now(), time.Now()); ok || err != nil {
			t.Errorf("Claim of a job that is being triggered: %t, %v", ok, err)
		}
		stop()
		j, ok, err := s.Claim(t.Context(), time.Now(), time.Now().Add(time.Minute))
		if !ok || err != nil || j.ID != "job_acme" || j.Error != "" {
			t.Errorf("Claim after the stop: %+v, %t, %v, want the job", j, ok, err)
		}
	})
}

// An order over HTTP ends in a trigger, through a server as it runs.
func TestOrdersAreTriggered(t *testing.T) {
	t.Parallel()
	c := config(t)
	triggered := make(chan string, 1)
	c.Trigger = func(_ context.Context, m provision.Message) (string, string, error) {
		triggered <- m.JobID
		return "", "", nil
	}
	s := newServer(t, c)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- s.Serve(ctx, ln) }()
	cp := &controlplane.Client{URL: "http://" + ln.Addr().String(), Key: key}
	a, err := cp.Enqueue(t.Context(), controlplane.Order{TenantID: "acme"})
	must(t, err)
	if id := <-triggered; id != a.JobID {
		t.Errorf("triggered %q, want %s", id, a.JobID)
	}
	cancel()
	must(t, <-stopped)
	if j, err := c.Store.Job(t.Context(), a.JobID); err != nil || j.Status != provision.JobDispatched {
		t.Errorf("job %+v, %v, want it dispatched", j, err)
	}
}

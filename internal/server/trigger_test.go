package server_test

import (
	"context"
	"errors"
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

// handed is a store that hands out one job, as every store does but in the time of a bubble,
// and notes why it is handed out again.
type handed struct {
	store.Store
	id  string
	why []string
}

func (h *handed) Work(ctx context.Context, handle func(ctx context.Context, j store.Job, try int) error) error {
	for try := 1; ctx.Err() == nil; try++ {
		j, err := h.Job(context.WithoutCancel(ctx), h.id)
		if err != nil || j.Status != provision.JobPending {
			return err
		}
		err = handle(ctx, j, try)
		if err == nil {
			return nil
		}
		h.why = append(h.why, err.Error())
		again := &store.RetryError{}
		errors.As(err, &again)
		select {
		case <-time.After(again.After):
		case <-ctx.Done():
		}
	}
	return nil
}

// worker runs a server's work in a bubble where time passes at once, over a store with the
// job job_acme, which is Pending.
func worker(t *testing.T, c server.Config, then func(t *testing.T, s *handed, stop func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "test.db"), store.Options{Thresholds: placement.DefaultThresholds()})
		must(t, err)
		defer db.Close()
		_, err = db.Enqueue(t.Context(), store.Order{JobID: "job_acme", TenantID: "acme", TraceID: "trace_1", Slug: "acme", Domain: "example.com",
			Decide: func(store.World) placement.Decision {
				return placement.Decide(placement.Request{}, placement.Snapshot{})
			},
			Answer: func(store.Job) ([]byte, error) { return nil, nil }, Now: time.Now()})
		must(t, err)
		h := &handed{Store: db, id: "job_acme"}
		c.Store, c.Key, c.Domain = h, key, "example.com"
		s := newServer(t, c)
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
		then(t, h, stop)
	})
}

// triggered is a server whose Trigger is called with the number of the try.
func triggered(trigger func(ctx context.Context, try int, j provision.Job) (string, string, error)) server.Config {
	tries := 0
	return server.Config{Trigger: func(ctx context.Context, j provision.Job, attempt int) (string, string, error) {
		tries++
		return trigger(ctx, tries, j)
	}}
}

func job(t *testing.T, s store.Store) store.Job {
	t.Helper()
	j, err := s.Job(t.Context(), "job_acme")
	must(t, err)
	return j
}

func TestTriggerOnce(t *testing.T) {
	var got []provision.Message
	worker(t, triggered(func(_ context.Context, _ int, j provision.Job) (string, string, error) {
		got = append(got, j.Message())
		return "42", "https://example.com/42", nil
	}), func(t *testing.T, s *handed, stop func()) {
		time.Sleep(10 * time.Minute) // of the bubble
		j := job(t, s)
		if j.Status != provision.JobDispatched || j.RunID != "42" || j.RunURL != "https://example.com/42" {
			t.Errorf("job %+v, want it dispatched", j)
		}
	})
	want := []provision.Message{{JobID: "job_acme", TenantID: "acme", Region: "sg", CreateNewServer: "true", SubdomainSlug: "acme",
		CanonicalHostname: "acme.example.com", Dedicated: "false", TraceID: "trace_1"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("triggered (-want +got):\n%s", diff)
	}
}

// notBefore is an error that knows when trying again has a chance.
type notBefore struct {
	error
	at time.Time
}

func (e notBefore) NotBefore() time.Time { return e.at }
func (e notBefore) Unwrap() error        { return e.error }

func TestTriggerAgain(t *testing.T) {
	start := time.Time{}
	var at []time.Duration
	worker(t, triggered(func(_ context.Context, try int, _ provision.Job) (string, string, error) {
		if try == 1 {
			start = time.Now()
		}
		at = append(at, time.Since(start))
		limited := provision.Errorf(provision.Busy, "github: limited")
		switch {
		case try < 4:
			return "", "", limited
		case try == 4:
			return "", "", notBefore{limited, start.Add(time.Hour)}
		}
		return "1", "", nil
	}), func(t *testing.T, s *handed, stop func()) {
		time.Sleep(2 * time.Hour)
		if j := job(t, s); j.Status != provision.JobDispatched || j.Error != "" {
			t.Errorf("job %+v, want it dispatched at the fifth try", j)
		}
		if diff := cmp.Diff([]string{"github: limited", "github: limited", "github: limited", "github: limited"}, s.why); diff != "" {
			t.Errorf("why it was handed out again (-want +got):\n%s", diff)
		}
	})
	if diff := cmp.Diff([]time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second, time.Hour}, at); diff != "" {
		t.Errorf("tries at (-want +got):\n%s", diff)
	}
}

type ambiguous struct{ error }

func (ambiguous) Ambiguous() bool { return true }

func TestTriggerGivesUp(t *testing.T) {
	lost := ambiguous{provision.Errorf(provision.Busy, "github: connection reset")}
	for _, test := range []struct {
		err    error
		tries  int
		status provision.JobStatus
		want   string
	}{
		{provision.Errorf(provision.Denied, "github: the token may not start workflows"), 1, provision.JobFailed, "its run could not be triggered: github: the token may not start workflows"},
		{provision.Errorf(provision.Busy, "github: away"), 300, provision.JobFailed, "its run could not be triggered: github: away"},
		// There may be a run: the sweeper has to find out.
		{lost, 300, provision.JobDispatched, "its run may have started: github: connection reset"},
	} {
		tries := 0
		worker(t, triggered(func(_ context.Context, try int, _ provision.Job) (string, string, error) {
			tries = try
			return "", "", test.err
		}), func(t *testing.T, s *handed, stop func()) {
			time.Sleep(30 * time.Hour)
			if j := job(t, s); j.Status != test.status || j.Error != test.want || tries != test.tries {
				t.Errorf("%v: job %s %q after %d tries, want %s %q after %d", test.err, j.Status, j.Error, tries, test.status, test.want, test.tries)
			}
		})
	}
}

// A try that does not end is ended; a run that started all the same is not failed.
func TestTriggerHangs(t *testing.T) {
	worker(t, triggered(func(ctx context.Context, try int, _ provision.Job) (string, string, error) {
		if try == 1 {
			<-ctx.Done()
			return "", "", ctx.Err()
		}
		return "", "", provision.Errorf(provision.Invalid, "no")
	}), func(t *testing.T, s *handed, stop func()) {
		time.Sleep(30 * time.Second)
		_, err := s.AddEvents(t.Context(), []provision.Event{{ID: "1", JobID: "job_acme", TenantID: "acme", Stage: "s",
			Status: provision.Started, Attempt: 1, At: time.Now()}}, time.Now())
		must(t, err)
		time.Sleep(5 * time.Minute)
		if j := job(t, s); j.Status != provision.JobRunning {
			t.Errorf("job %+v, want it running after one try", j)
		}
	})
}

// A server that is stopped during a try leaves the job as it is for the next one; one that
// has started the run by then still says so.
func TestTriggerStopped(t *testing.T) {
	for _, test := range []struct {
		err  error
		want provision.JobStatus
	}{
		{context.Canceled, provision.JobPending},
		{nil, provision.JobDispatched},
	} {
		worker(t, triggered(func(ctx context.Context, _ int, _ provision.Job) (string, string, error) {
			<-ctx.Done()
			return "42", "", test.err
		}), func(t *testing.T, s *handed, stop func()) {
			synctest.Wait()
			stop()
			if j := job(t, s); j.Status != test.want || j.Error != "" {
				t.Errorf("stopped in a try that ended in %v: job %+v, want it %s", test.err, j, test.want)
			}
		})
	}
}

// An order over HTTP ends in a trigger, through a server and a store as they run; and so does
// its retry, as another attempt.
func TestOrdersAreTriggered(t *testing.T) {
	t.Parallel()
	c := config(t)
	type try struct {
		id      string
		attempt int
	}
	tries := make(chan try, 1)
	c.Trigger = func(_ context.Context, j provision.Job, attempt int) (string, string, error) {
		tries <- try{j.ID, attempt}
		return "", "", nil
	}
	s := newServer(t, c)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- s.Serve(ctx, ln) }()
	base := "http://" + ln.Addr().String()
	cp := &controlplane.Client{URL: base, Key: key}
	a, err := cp.Enqueue(t.Context(), controlplane.Order{TenantID: "acme"})
	must(t, err)
	if got, want := <-tries, (try{a.JobID, 1}); got != want {
		t.Errorf("triggered %+v, want %+v", got, want)
	}
	retry := base + "/internal/provision-jobs/" + a.JobID + "/retry"
	if resp, got := do(t, "POST", retry, ""); resp.StatusCode != 409 {
		t.Errorf("a retry of a job on its way: %d %s, want 409", resp.StatusCode, got)
	}
	must(t, cp.Complete(t.Context(), provision.Completion{JobID: a.JobID, TenantID: "acme", Status: provision.JobFailed, Error: "no server"}))
	resp, got := do(t, "POST", retry, "")
	if row := decode[struct {
		Status  string
		Attempt int
		Error   string
	}](t, got); resp.StatusCode != 202 || row.Status != "Pending" || row.Attempt != 2 || row.Error != "" {
		t.Errorf("a retry: %d %s, want it Pending", resp.StatusCode, got)
	}
	if got, want := <-tries, (try{a.JobID, 2}); got != want {
		t.Errorf("triggered %+v, want %+v", got, want)
	}
	if resp, got := do(t, "POST", base+"/internal/provision-jobs/nobody/retry", ""); resp.StatusCode != 404 {
		t.Errorf("a retry of a job that is not there: %d %s", resp.StatusCode, got)
	}
	cancel()
	must(t, <-stopped)
	if j, err := c.Store.Job(t.Context(), a.JobID); err != nil || j.Status != provision.JobDispatched {
		t.Errorf("job %+v, %v, want it dispatched", j, err)
	}
}

package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// patience is how long anything that works may take.
const patience = 30 * time.Second

// A handed is one call of a handle.
type handed struct {
	job store.Job
	try int
	at  time.Time
}

// work lets s hand out jobs until stop is called, which tells how long that took.
func work(t *testing.T, s store.Store, handle func(ctx context.Context, h handed) error) (stop func() time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- s.Work(ctx, func(ctx context.Context, j store.Job, try int) error {
			return handle(ctx, handed{j, try, time.Now()})
		})
	}()
	var once sync.Once
	stop = func() (took time.Duration) {
		once.Do(func() {
			start := time.Now()
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Work = %v", err)
			}
			took = time.Since(start)
		})
		return took
	}
	t.Cleanup(func() { stop() })
	return stop
}

// await returns what comes next.
func await[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("nothing is handed out")
	}
	return v
}

func workAll(t *testing.T, s store.Store) {
	const n = 25
	seen := make(chan handed, 2*n)
	mustEnqueue(t, s, order("before"))
	stop := work(t, s, func(ctx context.Context, h handed) error {
		seen <- h
		return s.Dispatched(ctx, h.job.ID, store.Run{ID: "1"}, now)
	})
	atOnce(n-1, func(i int) { mustEnqueue(t, s, order(fmt.Sprint("tenant", i))) })
	got := map[string]int{}
	for range n {
		h := await(t, seen)
		got[h.job.ID]++
		if h.try != 1 || h.job.Status != provision.JobPending || h.job.CanonicalHostname == "" {
			t.Errorf("handed out: %+v", h)
		}
	}
	if took := stop(); took > 4*time.Second {
		t.Errorf("Work took %s to stop", took)
	}
	if len(got) != n || len(seen) > 0 {
		t.Errorf("%d jobs were handed out, and %d twice, want %d", len(got), len(seen), n)
	}
	for id := range got {
		if j := mustJob(t, s, id); j.Status != provision.JobDispatched || j.Tries != 1 {
			t.Errorf("job after work: %+v", j)
		}
	}
}

func workRetries(t *testing.T, s store.Store) {
	seen := make(chan handed, 10)
	pause := 400 * time.Millisecond
	work(t, s, func(ctx context.Context, h handed) error {
		seen <- h
		switch h.try {
		case 1:
			return &store.RetryError{After: pause, Err: provision.Errorf(provision.Busy, "limited")}
		case 2:
			return errors.New("broken") // the pause of old
		case 3:
			return s.Abandon(ctx, h.job.ID, provision.Errorf(provision.Denied, "no token"), now)
		}
		return s.Dispatched(ctx, h.job.ID, store.Run{}, now)
	})
	mustEnqueue(t, s, order("acme"))
	first := await(t, seen)
	second := await(t, seen)
	if d := second.at.Sub(first.at); first.try != 1 || second.try != 2 || d < pause {
		t.Errorf("tries %d and %d with a pause of %s, want %s", first.try, second.try, d, pause)
	}
	if second.job.Error != "limited" || second.job.Tries != 1 || second.job.ErrorClass != provision.Busy {
		t.Errorf("the job at its second try: %+v", second.job)
	}
	if third := await(t, seen); third.try != 3 || third.job.Error != "broken" || third.at.Sub(second.at) < time.Second {
		t.Errorf("the third try: %+v, %s after the second", third, third.at.Sub(second.at))
	}
	for mustJob(t, s, "job_acme").Status != provision.JobFailed {
		<-time.After(time.Millisecond)
	}
	if _, err := s.Retry(t.Context(), "job_acme", "op", now); err != nil {
		t.Fatal(err)
	}
	if again := await(t, seen); again.try != 1 || again.job.Attempt != 2 || again.job.Error != "" {
		t.Errorf("the next attempt: %+v", again)
	}
}

func workSettled(t *testing.T, s store.Store) {
	mustEnqueue(t, s, order("done"))
	report(t, s, "done", 0, 0, provision.JobCompleted)
	mustEnqueue(t, s, order("failed"))
	report(t, s, "failed", 0, 0, provision.JobFailed)
	if _, err := s.Retry(t.Context(), "job_failed", "op", now); err != nil {
		t.Fatal(err)
	}
	mustEnqueue(t, s, order("acme"))
	seen := make(chan handed, 10)
	stop := work(t, s, func(ctx context.Context, h handed) error {
		seen <- h
		return s.Dispatched(ctx, h.job.ID, store.Run{}, now)
	})
	got := map[string]bool{await(t, seen).job.ID: true, await(t, seen).job.ID: true}
	stop()
	if !got["job_acme"] || !got["job_failed"] || len(seen) > 0 {
		t.Errorf("%v were handed out, and %d more, want job_acme and job_failed", got, len(seen))
	}
}

// workStops stops while a job is under way that does not end by itself, and goes on.
func workStops(t *testing.T, s store.Store) {
	mustEnqueue(t, s, order("acme"))
	seen := make(chan handed, 10)
	stop := work(t, s, func(ctx context.Context, h handed) error {
		seen <- h
		<-ctx.Done()
		return ctx.Err()
	})
	await(t, seen)
	if took := stop(); took > 5*time.Second {
		t.Errorf("Work took %s to stop", took)
	}
	if j := mustJob(t, s, "job_acme"); j.Status != provision.JobPending || j.Error != "" {
		t.Errorf("the job that was under way: %+v", j)
	}
	work(t, s, func(ctx context.Context, h handed) error {
		seen <- h
		return s.Dispatched(ctx, h.job.ID, store.Run{}, now)
	})
	if h := await(t, seen); h.job.ID != "job_acme" {
		t.Errorf("handed out again: %+v", h)
	}
}

// workTwice lets two processes work on the same jobs, one of which a process has begun
// before the other comes.
func workTwice(t *testing.T, open Database) {
	const n = 30
	seen := make(chan handed, 2*n)
	begun, release := make(chan struct{}), make(chan struct{})
	handle := func(s store.Store) func(ctx context.Context, h handed) error {
		return func(ctx context.Context, h handed) error {
			seen <- h
			if h.job.ID == "job_slow" {
				close(begun)
				<-release
			}
			return s.Dispatched(ctx, h.job.ID, store.Run{}, now)
		}
	}
	both := []store.Store{open(t), open(t)}
	mustEnqueue(t, both[0], order("slow"))
	work(t, both[0], handle(both[0]))
	<-begun
	work(t, both[1], handle(both[1]))
	atOnce(n-1, func(i int) { mustEnqueue(t, both[i%2], order(fmt.Sprint("tenant", i))) })
	got := map[string]bool{}
	for range n {
		got[await(t, seen).job.ID] = true
	}
	select {
	case h := <-seen:
		t.Errorf("%s was handed out twice", h.job.ID)
	case <-time.After(500 * time.Millisecond):
	}
	close(release)
	if len(got) != n {
		t.Errorf("%d jobs were handed out, want %d", len(got), n)
	}
}

package server_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/server"
	"github.com/pregoi/provision-tenant/internal/store"
)

// A job is settled by what GitHub says of its run, and by nothing else.
func TestSweep(t *testing.T) {
	running := func(status string) server.RunState { return server.RunState{ID: "7", Status: status} }
	ended := func(conclusion string) server.RunState {
		return server.RunState{ID: "7", URL: "https://github.com/o/r/actions/runs/7", Status: "completed", Conclusion: conclusion}
	}
	unclear := provision.Errorf(provision.Denied, "github: the token may not read runs")
	for _, test := range []struct {
		name    string
		runID   string // that the trigger was told
		reports bool   // the run has sent an event
		attempt int    // 0 for the first
		state   server.RunState
		err     error
		want    provision.JobStatus // after two hours
		why     string
	}{
		{"queued", "7", false, 0, running("queued"), nil, provision.JobDispatched, ""},
		{"waiting for an approval", "7", false, 0, running("waiting"), nil, provision.JobDispatched, ""},
		{"in progress and silent", "7", true, 0, running("in_progress"), nil, provision.JobRunning, ""},
		{"failed before it could report", "7", false, 0, ended("failure"), nil, provision.JobFailed, "ended at GitHub as failure"},
		{"failed without its last report", "7", true, 0, ended("failure"), nil, provision.JobFailed, "ended at GitHub as failure"},
		{"out of time", "7", true, 0, ended("timed_out"), nil, provision.JobFailed, "timed_out"},
		{"never begun by GitHub", "7", false, 0, ended("startup_failure"), nil, provision.JobFailed, "startup_failure"},
		{"cancelled in the queue", "7", false, 0, ended("cancelled"), nil, provision.JobCancelled, "cancelled at GitHub"},
		{"cancelled", "7", true, 0, ended("cancelled"), nil, provision.JobCancelled, "cancelled at GitHub"},
		{"succeeded, it says", "7", true, 0, ended("success"), nil, provision.JobRunning, "run it again there"},
		{"neutral, whatever that is", "7", false, 0, ended("neutral"), nil, provision.JobDispatched, "run it again there"},
		{"wants an action", "7", false, 0, ended("action_required"), nil, provision.JobDispatched, "run it again there"},
		{"deleted", "7", false, 0, server.RunState{}, nil, provision.JobFailed, "gone from GitHub"},
		{"never queued", "", false, 0, server.RunState{}, nil, provision.JobFailed, "no run of it has started"},
		{"found by its name", "", false, 0, ended("failure"), nil, provision.JobFailed, "ended at GitHub as failure"},
		{"found by its name, perhaps of an earlier attempt", "", false, 2, ended("failure"), nil, provision.JobDispatched, "runs/7, may be of an earlier attempt: look for this one's at GitHub; when it has ended, say how with POST /internal/provision-complete"},
		{"reported, and nowhere to be found", "", true, 0, server.RunState{}, nil, provision.JobRunning, "no run that carries its name is found"},
		{"nobody can say", "7", false, 0, server.RunState{}, unclear, provision.JobDispatched, "the token may not read runs"},
		{"nobody can say of a silent one", "7", true, 0, server.RunState{}, unclear, provision.JobRunning, "the token may not read runs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := server.Config{
				Trigger: func(context.Context, provision.Job, int) (string, string, error) { return test.runID, "", nil },
				Sweep: server.Sweep{Every: 5 * time.Minute, Look: func(_ context.Context, j store.Job) (server.RunState, error) {
					if j.ID != "job_acme" || j.RunID != test.runID {
						t.Errorf("asked about %+v", j)
					}
					return test.state, test.err
				}},
			}
			worker(t, c, func(t *testing.T, s *handed, stop func()) {
				time.Sleep(time.Second)
				if test.attempt > 1 {
					fail(t, s)
					_, err := s.Retry(t.Context(), "job_acme", "test", time.Now())
					must(t, err)
					must(t, s.Dispatched(t.Context(), "job_acme", store.Run{}, time.Now()))
				}
				if test.reports {
					report(t, s)
				}
				time.Sleep(10 * time.Minute)
				if j := job(t, s); j.Status.Terminal() {
					t.Fatalf("it is %s before its time", j.Status)
				}
				time.Sleep(2 * time.Hour)
				j := job(t, s)
				if j.Status != test.want || !strings.Contains(j.Error, test.why) {
					t.Errorf("it is %s %q, want %s because %q", j.Status, j.Error, test.want, test.why)
				}
				if j.Status.Terminal() && !strings.Contains(j.Error, "/retry") {
					t.Errorf("%q says nothing of a retry", j.Error)
				}
				if test.why == "" && j.Error != "" {
					t.Errorf("it says %q of a run that goes on", j.Error)
				}
			})
		})
	}
}

func fail(t *testing.T, s store.Store) {
	t.Helper()
	_, refused, err := s.Complete(t.Context(), provision.Completion{JobID: "job_acme", TenantID: "acme", Status: provision.JobFailed}, time.Now())
	if err != nil || refused != "" {
		t.Fatalf("Complete: %q, %v", refused, err)
	}
}

func report(t *testing.T, s store.Store) {
	t.Helper()
	_, err := s.AddEvents(t.Context(), []provision.Event{{ID: time.Now().String(), JobID: "job_acme", TenantID: "acme", Stage: "s",
		Status: provision.Started, Attempt: 1, At: time.Now()}}, time.Now())
	must(t, err)
}

// A message may wait in a queue: a run that is not there yet may still come.
func TestSweepOfAQueue(t *testing.T) {
	c := server.Config{
		Trigger: func(context.Context, provision.Job, int) (string, string, error) { return "", "", nil },
		Sweep: server.Sweep{LostAfter: 97 * time.Hour, Every: time.Hour,
			Look: func(context.Context, store.Job) (server.RunState, error) { return server.RunState{}, nil }},
	}
	worker(t, c, func(t *testing.T, s *handed, stop func()) {
		time.Sleep(96 * time.Hour)
		if j := job(t, s); j.Status != provision.JobDispatched {
			t.Errorf("while its message may wait it is %s: %s", j.Status, j.Error)
		}
		time.Sleep(3 * time.Hour)
		if j := job(t, s); j.Status != provision.JobFailed {
			t.Errorf("when its message cannot wait any more it is %s", j.Status)
		}
	})
}

// A job that reports is not asked about; one that nobody can say anything of is asked about
// less and less often.
func TestSweepAsksSeldom(t *testing.T) {
	var asked atomic.Int64
	c := server.Config{
		Trigger: func(context.Context, provision.Job, int) (string, string, error) { return "7", "", nil },
		Sweep: server.Sweep{NotStartedAfter: 5 * time.Minute, SilentAfter: 20 * time.Minute,
			Look: func(context.Context, store.Job) (server.RunState, error) {
				asked.Add(1)
				return server.RunState{ID: "7", Status: "in_progress"}, nil
			}},
	}
	worker(t, c, func(t *testing.T, s *handed, stop func()) {
		time.Sleep(4 * time.Minute)
		for range 6 {
			report(t, s)
			time.Sleep(10 * time.Minute)
		}
		if n := asked.Load(); n > 0 {
			t.Errorf("a job that reports was asked about %d times", n)
		}
		time.Sleep(24 * time.Hour)
		if n := asked.Load(); n < 20 || n > 40 {
			t.Errorf("a job that is silent was asked about %d times in a day", n)
		}
	})
}

// A sweep that is under way when the server stops ends with it.
func TestSweepStops(t *testing.T) {
	asked := false
	c := server.Config{
		Trigger: func(context.Context, provision.Job, int) (string, string, error) { return "7", "", nil },
		Sweep: server.Sweep{Look: func(ctx context.Context, _ store.Job) (server.RunState, error) {
			asked = true
			<-ctx.Done()
			return server.RunState{}, ctx.Err()
		}},
	}
	worker(t, c, func(t *testing.T, s *handed, stop func()) {
		time.Sleep(16*time.Minute + 10*time.Second)
		begun := time.Now()
		stop()
		if !asked {
			t.Fatal("nobody was asked")
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("it took %s to stop", took)
		}
		if j := job(t, s); j.Status != provision.JobDispatched {
			t.Errorf("it is %s", j.Status)
		}
	})
}

// Nobody but an operator can say how a job ended whose run cannot be told from one before:
// the job says so, and what to do about it works.
func TestSweepLeavesAWayOn(t *testing.T) {
	c := server.Config{
		Trigger: func(context.Context, provision.Job, int) (string, string, error) { return "", "", nil },
		Sweep: server.Sweep{Look: func(context.Context, store.Job) (server.RunState, error) {
			return server.RunState{ID: "7", URL: "https://github.com/o/r/actions/runs/7", Status: "completed", Conclusion: "failure"}, nil
		}},
	}
	worker(t, c, func(t *testing.T, s *handed, stop func()) {
		time.Sleep(time.Second)
		fail(t, s)
		_, err := s.Retry(t.Context(), "job_acme", "test", time.Now())
		must(t, err)
		must(t, s.Dispatched(t.Context(), "job_acme", store.Run{}, time.Now()))
		time.Sleep(time.Hour)
		if j := job(t, s); !strings.Contains(j.Error, "POST /internal/provision-complete") {
			t.Fatalf("it says %q", j.Error)
		}
		fail(t, s)
		if j, err := s.Retry(t.Context(), "job_acme", "test", time.Now()); err != nil || j.Attempt != 3 || j.Error != "" {
			t.Errorf("another attempt: %+v, %v", j, err)
		}
	})
}

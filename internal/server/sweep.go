package server

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// A RunState is what GitHub says of a job's run. The zero RunState says that there is none,
// which whoever fills it in must be sure of: an answer that may have another reason, such as
// a token that may not look, is an error.
type RunState struct {
	ID, URL    string
	Status     string // "completed", or any other of GitHub's while it has not ended
	Conclusion string // GitHub's, when it has
}

// A Sweep finds jobs whose run never started or never reported, asks GitHub about them, and
// ends those whose run has ended. What is not clear stays as it is.
type Sweep struct {
	// Look asks about the run of a job: by j.RunID, and where that is empty by the job's id
	// in its name, among those after j.PastRunID. nil for no sweep.
	Look func(ctx context.Context, j store.Job) (RunState, error)
	// NotStartedAfter is how long after its dispatch a job without a report is looked at; 0
	// for 15 minutes.
	NotStartedAfter time.Duration
	// SilentAfter is how long after its last report a running job is looked at; 0 for 30
	// minutes.
	SilentAfter time.Duration
	// LostAfter is how long after its dispatch a job has no run any more that has none: longer
	// than its message can be on its way. 0 for NotStartedAfter.
	LostAfter time.Duration
	// Every is the time between two sweeps; 0 for a minute, or NotStartedAfter where that is less.
	Every time.Duration
}

const (
	maxStuck = 1000             // jobs that one sweep reads
	maxLooks = 50               // and those it asks GitHub about
	lookTime = 30 * time.Second // for one of them
	maxWait  = time.Hour        // until a job that could not be settled is looked at again
)

// A sweeper remembers which jobs it has looked at in vain.
type sweeper struct {
	*Server
	Sweep
	later map[string]wait // by job id
}

// A wait is how long a job is left alone.
type wait struct {
	until time.Time
	next  time.Duration // after that
}

// sweep settles jobs until ctx is done. What it has begun to record ends by then or with last.
func (s *Server) sweep(ctx, last context.Context) {
	if s.Sweep.Look == nil {
		return
	}
	w := &sweeper{Server: s, Sweep: s.Sweep.withDefaults(), later: map[string]wait{}}
	tick := time.NewTicker(w.Every)
	defer tick.Stop()
	for {
		w.once(ctx, last)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (w Sweep) withDefaults() Sweep {
	or(&w.NotStartedAfter, 15*time.Minute)
	or(&w.SilentAfter, 30*time.Minute)
	or(&w.LostAfter, w.NotStartedAfter)
	or(&w.Every, min(time.Minute, w.NotStartedAfter))
	return w
}

// once looks at the jobs that are overdue, the oldest first, and at none of them too often.
func (w *sweeper) once(ctx, last context.Context) {
	now := w.now()
	stuck, err := w.Store.Stuck(ctx, now.Add(-w.NotStartedAfter), now.Add(-w.SilentAfter), maxStuck)
	if err != nil {
		if ctx.Err() == nil {
			w.Log.ErrorContext(ctx, "sweep: read jobs", slog.Any("error", err))
		}
		return
	}
	waits, looks := map[string]wait{}, 0
	for _, j := range stuck {
		before, known := w.later[j.ID]
		if known && now.Before(before.until) || looks >= maxLooks || ctx.Err() != nil {
			if known {
				waits[j.ID] = before
			}
			continue
		}
		looks++
		if !w.look(ctx, last, j) {
			next := max(before.next, w.Every)
			waits[j.ID] = wait{now.Add(next), min(2*next, maxWait)}
		}
	}
	w.later = waits
}

// look asks about the run of j, and reports whether that has settled it.
func (w *sweeper) look(ctx, last context.Context, j store.Job) bool {
	log := w.Log.With(slog.String("job_id", j.ID), slog.String("status", string(j.Status)), slog.String("run_id", j.RunID))
	limited, cancel := context.WithTimeout(ctx, lookTime)
	run, err := w.Look(limited, j)
	cancel()
	if err != nil {
		if ctx.Err() == nil {
			w.metrics.sweeps.WithLabelValues("unclear").Inc()
			log.WarnContext(ctx, "sweep: nobody can say how the run stands", slog.Any("error", err))
			w.note(last, log, j, fmt.Errorf("nobody can say how its run stands: %w", err))
		}
		return false
	}
	why, settled := w.judge(j, run)
	if settled == "" {
		w.metrics.sweeps.WithLabelValues(why.outcome).Inc()
		log.InfoContext(ctx, "sweep: left alone", slog.String("why", why.text), slog.String("run_url", run.URL))
		switch why.outcome {
		case "running":
			w.note(last, log, j, nil)
		case "unclear", "unreported":
			w.note(last, log, j, provision.Errorf(why.class, "%s", why.text))
		}
		return false
	}
	// What is known of the run is stored also when ctx was cancelled meanwhile.
	record, cancel := context.WithTimeout(last, recordTime)
	defer cancel()
	changed, err := w.Store.Settle(record, j, provision.Completion{JobID: j.ID, TenantID: j.TenantID, Status: settled,
		Error: why.text, ErrorClass: why.class, RunURL: run.URL}, w.now())
	if err != nil {
		log.ErrorContext(ctx, "sweep: settle", slog.Any("error", err))
		return false
	}
	if changed {
		w.metrics.sweeps.WithLabelValues(why.outcome).Inc()
		log.WarnContext(ctx, "sweep: settled", slog.String("as", string(settled)), slog.String("why", why.text))
	}
	return true
}

// note tells operators in the job why it cannot be settled; nil for nothing.
func (w *sweeper) note(last context.Context, log *slog.Logger, j store.Job, why error) {
	record, cancel := context.WithTimeout(last, recordTime)
	defer cancel()
	if err := w.Store.Note(record, j, why); err != nil {
		log.Error("sweep: note", slog.Any("error", err))
	}
}

// A verdict is why a job is settled or left alone.
type verdict struct {
	outcome string // for metrics
	text    string
	class   provision.Class
}

// retryAdvice ends every sentence about a job that was settled.
const retryAdvice = "; try it again with POST /internal/provision-jobs/{job_id}/retry: what exists is kept"

// endAdvice ends every sentence about a job of which somebody has to find out.
const endAdvice = "; when it has ended, say how with POST /internal/provision-complete: what is Failed can be tried again"

// judge says how a job ends whose run stands so; an empty status leaves it alone.
func (w *sweeper) judge(j store.Job, run RunState) (verdict, provision.JobStatus) {
	switch {
	case run == RunState{}:
		return w.absent(j)
	case run.Status != "completed":
		return verdict{outcome: "running", text: "its run is " + run.Status}, ""
	case j.Attempt > 1 && j.RunID == "" && j.PastRunID == "":
		// It was found by its name, which an earlier attempt's run has too.
		return verdict{"unclear", fmt.Sprintf("the run that was found, %s, may be of an earlier attempt: look for this one's at GitHub", cmp.Or(run.URL, run.ID)) + endAdvice,
			provision.Busy}, ""
	}
	switch run.Conclusion {
	case "cancelled":
		return verdict{"cancelled", "its run was cancelled at GitHub before it could report" + retryAdvice, provision.Cancelled}, provision.JobCancelled
	case "failure", "timed_out", "startup_failure", "stale", "skipped":
		return verdict{"failed", fmt.Sprintf("its run ended at GitHub as %s, without a report", run.Conclusion) + retryAdvice, provision.Internal}, provision.JobFailed
	}
	// A run that says it has succeeded has provisioned the tenant, perhaps; only its report
	// says on which node. Nobody may call that failed, and nobody completed.
	return verdict{"unreported", fmt.Sprintf(
		"its run ended at GitHub as %q, without a report: run it again there, which changes nothing and reports", run.Conclusion), provision.Busy}, ""
}

// absent judges a job without a run.
func (w *sweeper) absent(j store.Job) (verdict, provision.JobStatus) {
	age := w.now().Sub(j.DispatchedAt)
	switch {
	case j.Status == provision.JobRunning && j.RunID == "":
		// Its run was started by somebody else, perhaps, or has a name of its own.
		return verdict{"unclear", "it has reported, and no run that carries its name is found: look for it at GitHub" + endAdvice, provision.Busy}, ""
	case j.RunID != "":
		return verdict{"gone", "its run is gone from GitHub, and has not reported" + retryAdvice, provision.Internal}, provision.JobFailed
	case age < w.LostAfter:
		return verdict{outcome: "on_its_way", text: "there is no run yet"}, ""
	}
	return verdict{"never_started", fmt.Sprintf("no run of it has started in %s", age.Round(time.Second)) + retryAdvice, provision.Internal}, provision.JobFailed
}

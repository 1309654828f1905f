package github

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	gh "github.com/google/go-github/v60/github"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Progress is how a run stands.
type Progress struct {
	Run
	Name    string // its run-name
	Attempt int    // from 1; more when it was run again
	// Status is requested, queued, pending (its concurrency group is busy), waiting (for an
	// approval), in_progress or completed.
	Status string
	// Conclusion is success, failure, cancelled, skipped, timed_out, startup_failure,
	// action_required, neutral or stale; empty before the run is completed.
	Conclusion string
	// Superseded says that the run was cancelled before any job of it began: a newer run of
	// its concurrency group has taken its place, or somebody did not let it begin.
	Superseded bool
}

// Completed reports whether the run has ended.
func (p Progress) Completed() bool { return p.Status == "completed" }

// Progress returns how the run with that id stands. A run that GitHub has just named may
// be NotFound for a moment.
// https://docs.github.com/en/rest/actions/workflow-runs#get-a-workflow-run
func (w Workflow) Progress(ctx context.Context, id int64) (Progress, error) {
	p, _, err := w.look(ctx, id, "")
	return p, err
}

// How a run is followed.
const (
	soonest  = 2 * time.Second  // between two looks, at first and after each change
	latest   = 15 * time.Second // at most
	settling = time.Minute      // in which a new run may be unknown
	enough   = 10 * time.Minute // without an answer
)

// Follow looks at the run with that id until it is completed, and calls changed with every
// change of its status, first with how it stands; nil for nobody. Looks at a run that has
// not changed cost nothing of the primary limit. A limit is waited out, and an
// unavailable GitHub for ten minutes; any other error is the end, and so is that of ctx.
func (w Workflow) Follow(ctx context.Context, id int64, changed func(Progress)) (Progress, error) {
	var last Progress
	var etag string
	began := time.Now()
	heard, wait, strikes := began, soonest, 0
	for {
		p, tag, err := w.look(ctx, id, etag)
		now := time.Now()
		var l *LimitError
		switch {
		case ctx.Err() != nil:
			return last, fmt.Errorf("%s: %w", w.opRun("follow", id), ctx.Err())
		case errors.As(err, &l):
			heard = now
			wait = time.Minute << min(strikes, 5)
			strikes++
			if !l.At.IsZero() {
				wait = l.At.Sub(now)
			}
		case provision.ClassOf(err) == provision.NotFound && last.ID == 0 && now.Sub(began) < settling,
			provision.Retryable(err) && now.Sub(heard) < enough:
			wait = min(wait*2, latest)
		case err != nil:
			return last, err
		case tag == etag && tag != "":
			heard, strikes, wait = now, 0, min(wait*3/2, latest)
		default:
			heard, strikes, etag = now, 0, tag
			wait = min(wait*3/2, latest)
			if p != last {
				last, wait = p, soonest
				if changed != nil {
					changed(p)
				}
			}
			if p.Completed() {
				return p, nil
			}
		}
		if err := sleep(ctx, wait+rand.N(wait/4+1)); err != nil {
			return last, fmt.Errorf("%s: %w", w.opRun("follow", id), err)
		}
	}
}

func (w Workflow) opRun(verb string, id int64) string {
	return fmt.Sprintf("%s run %d of %s", verb, id, w.Repo)
}

// look reads the run unless it is still as the ETag says. It returns the ETag of what it
// has read, and the same one when nothing has changed.
func (w Workflow) look(ctx context.Context, id int64, etag string) (Progress, string, error) {
	req, err := w.request(ctx, http.MethodGet, fmt.Sprintf("actions/runs/%d", id), nil)
	if err != nil {
		return Progress{}, "", err
	}
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	var r gh.WorkflowRun
	a := w.do(ctx, req, &r)
	if etag != "" && a.status() == http.StatusNotModified {
		return Progress{}, etag, nil
	}
	if a.err == nil && (r.GetID() != id || r.GetStatus() == "") {
		a.garbled = true
	}
	if a.err != nil || a.garbled {
		return Progress{}, "", w.missing(w.classify(w.opRun("read", id), a, false))
	}
	p := Progress{
		Run:  Run{ID: id, URL: r.GetURL(), HTMLURL: r.GetHTMLURL()},
		Name: r.GetDisplayTitle(), Attempt: r.GetRunAttempt(), Status: r.GetStatus(), Conclusion: r.GetConclusion(),
	}
	if p.Completed() && p.Conclusion == "cancelled" {
		begun, err := w.begun(ctx, id)
		if err != nil {
			return Progress{}, "", err
		}
		p.Superseded = !begun
	}
	return p, a.resp.Header.Get("ETag"), nil
}

// begun reports whether a runner has taken any job of the run's last attempt.
func (w Workflow) begun(ctx context.Context, id int64) (bool, error) {
	req, err := w.request(ctx, http.MethodGet, fmt.Sprintf("actions/runs/%d/jobs?filter=latest&per_page=100", id), nil)
	if err != nil {
		return false, err
	}
	var list gh.Jobs
	a := w.do(ctx, req, &list)
	if a.err == nil && list.TotalCount == nil {
		a.garbled = true
	}
	if a.err != nil || a.garbled {
		return false, w.missing(w.classify(w.opRun("list the jobs of", id), a, false))
	}
	for _, j := range list.Jobs {
		if j.GetRunnerID() > 0 || len(j.Steps) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// missing gives advice about a run that is not there, which has nothing to do with its
// workflow's file.
func (w Workflow) missing(err error) error {
	if e := (*provision.Error)(nil); errors.As(err, &e) && e.Class == provision.NotFound {
		e.Next = "check that the run is one of " + w.Repo + ", and that the token may read actions there"
	}
	return err
}

// sleep waits for d.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

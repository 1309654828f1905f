package main

import (
	"context"
	"errors"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// graceTime is how long a request for a run that is under way may take when we are told to
// end: an answer that is not waited for costs minutes of looking for the run.
const graceTime = 3 * time.Second

// A sender starts runs of one workflow, once for each job.
type sender struct {
	*dispatch.Dispatcher
	source *source
	// requests is told of each request to GitHub; nil for nobody.
	requests func(request string, err error)
}

// newSender wires GitHub's edge to the middle. What is asked of w is kept apart from what
// the ledger says: Ledger and Pace are the caller's to set.
func newSender(w github.Workflow) *sender {
	s := &sender{source: newSource(w)}
	s.source.requests = s.told
	finder := github.NewFinder(w)
	finder.Page = func(ctx context.Context, send func(context.Context) error) error {
		return s.Pace.Read(ctx, func(ctx context.Context) error {
			err := send(ctx)
			s.told("find", err)
			return err
		})
	}
	s.Dispatcher = &dispatch.Dispatcher{
		Inputs: func(ctx context.Context, job provision.Job) (map[string]any, error) {
			d, err := s.source.declared(ctx)
			if err != nil {
				return nil, err
			}
			return d.Inputs(job)
		},
		Start: func(ctx context.Context, inputs map[string]any) (dispatch.Run, error) {
			ctx, cancel := withGrace(ctx, graceTime)
			defer cancel()
			run, err := w.Start(ctx, inputs)
			s.told("start", err)
			return dispatch.Run{ID: run.ID, URL: run.URL, HTMLURL: run.HTMLURL}, err
		},
		Find: func(ctx context.Context, jobID string, after int64, since time.Time) (dispatch.Run, bool, error) {
			// Without the job_id in its name a run could not be found, and would be started twice.
			if d, err := s.source.declared(ctx); err != nil {
				return dispatch.Run{}, false, err
			} else if !d.Names("job_id") {
				return dispatch.Run{}, false, &provision.Error{Class: provision.Invalid,
					Text: "the run-name of " + w.String() + " does not carry the job_id, so that its run cannot be found",
					Next: "look for the run by hand, and add ${{ inputs.job_id }} to run-name, with spaces around it"}
			}
			run, ok, err := finder.Find(ctx, jobID, after, since)
			return dispatch.Run{ID: run.ID, URL: run.URL, HTMLURL: run.HTMLURL}, ok, err
		},
	}
	return s
}

func (s *sender) told(request string, err error) {
	if s.requests != nil {
		s.requests(request, err)
	}
}

// deliver is Once for messages that are delivered again until they are done: where GitHub
// refuses what the file has declared a minute ago, the file is read again.
func (s *sender) deliver(ctx context.Context, job provision.Job) (dispatch.Result, error) {
	result, err := s.Once(ctx, job)
	if result.Recorded || provision.ClassOf(err) != provision.Invalid || len(provision.FieldErrors(err)) > 0 {
		return result, err // nobody, or not GitHub, has refused it now
	}
	changed := false
	e := s.Pace.Read(ctx, func(ctx context.Context) (err error) {
		changed, err = s.source.reread(ctx)
		return err
	})
	if e != nil || !changed {
		return result, err
	}
	again := *s.Dispatcher
	again.RetryRejected = true
	return again.Once(ctx, job)
}

// withGrace returns a context that ends as ctx does, but so much later when ctx is cancelled.
func withGrace(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			t := time.NewTimer(grace)
			defer t.Stop()
			select {
			case <-t.C:
			case <-later.Done():
			}
		}
		cancel()
	})
	return later, func() { stop(); cancel() }
}

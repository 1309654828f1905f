package main

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/workflow"
)

// A target is the workflow that flags name.
type target struct {
	repo, workflow, ref string
	given               bool // the workflow, by a flag
	pace                paceFlags
}

// A trigger starts the run of an attempt of a job; see server.Config.
type trigger = func(ctx context.Context, j provision.Job, attempt int) (runID, runURL string, err error)

// remote returns the workflow at GitHub that the flags or the environment name; ok is false
// where they name none.
func (c triggerConfig) remote(t target) (w github.Workflow, ok bool, err error) {
	switch {
	case c.dispatchURL != "" && (t.repo != "" || t.given):
		return w, false, usage("GITHUB_WORKFLOW_DISPATCH_URL names a workflow already: leave --repo and --workflow out")
	case c.dispatchURL != "":
		if w, err = github.ParseURL(c.dispatchURL); err != nil {
			return w, false, err
		}
	case t.repo != "":
		w = github.Workflow{BaseURL: c.githubAPI, Repo: t.repo, File: t.workflow}
	default:
		return w, false, nil
	}
	if c.githubToken == "" {
		return w, false, usage("GITHUB_TOKEN is not set: the workflow's runs can neither be started nor looked at without it")
	}
	w.Ref, w.Token = t.ref, c.githubToken
	return w, true, nil
}

// inProcessTrigger starts runs from here. Where it was told so is kept in the ledger: a crash
// in the middle, and a job that is handed out twice, start one run all the same.
func inProcessTrigger(w github.Workflow, ledger dispatch.Ledger, pace paceFlags) (trigger, error) {
	var d *dispatch.Dispatcher
	find := findOf(w, func(ctx context.Context, send func(context.Context) error) error { return d.Pace.Read(ctx, send) })
	d = &dispatch.Dispatcher{
		Inputs: func(ctx context.Context, j provision.Job) (map[string]any, error) {
			declared, err := declared(ctx, w)
			if err != nil {
				return nil, err
			}
			return declared.Inputs(j)
		},
		Start: func(ctx context.Context, inputs map[string]any) (dispatch.Run, error) {
			run, err := w.Start(ctx, inputs)
			return dispatch.Run(run), err
		},
		Find: func(ctx context.Context, jobID string, after int64, since time.Time) (dispatch.Run, bool, error) {
			run, ok, err := find(ctx, jobID, after, since)
			return dispatch.Run(run), ok, err
		},
		// One try of the server's takes a minute; what it leaves is gone on with by the next.
		Patience: 45 * time.Second,
		Ledger:   ledger,
	}
	if err := pace.set(d); err != nil {
		return nil, err
	}
	return func(ctx context.Context, j provision.Job, attempt int) (string, string, error) {
		j.Attempt = attempt
		run, err := d.Dispatch(ctx, j)
		if later := (*dispatch.LaterError)(nil); errors.As(err, &later) {
			return "", "", &laterError{later}
		}
		if err != nil || run.ID == 0 {
			return "", "", err
		}
		return strconv.FormatInt(run.ID, 10), cmp.Or(run.HTMLURL, run.URL), nil
	}, nil
}

// declared reads the workflow file from GitHub and says what it declares.
func declared(ctx context.Context, w github.Workflow) (workflow.Workflow, error) {
	file, err := w.Read(ctx)
	if err != nil {
		return workflow.Workflow{}, err
	}
	return workflow.Parse(file)
}

// findOf returns what looks for the run of a job by its id, among those after another. page is
// [github.Finder]'s.
func findOf(w github.Workflow, page func(context.Context, func(context.Context) error) error) func(ctx context.Context, jobID string, after int64, since time.Time) (github.Run, bool, error) {
	finder := github.NewFinder(w)
	finder.Page = page
	return func(ctx context.Context, jobID string, after int64, since time.Time) (github.Run, bool, error) {
		// Without the job_id in its name a run could not be found, and would be started twice.
		if d, err := declared(ctx, w); err != nil {
			return github.Run{}, false, err
		} else if !d.Names("job_id") {
			return github.Run{}, false, &provision.Error{Class: provision.Invalid,
				Text: "the run-name of " + w.String() + " does not carry the job_id, so that its run cannot be found",
				Next: "look for the run by hand, and add ${{ inputs.job_id }} to run-name, with spaces around it"}
		}
		return finder.Find(ctx, jobID, after, since)
	}
}

// A laterError is a [dispatch.LaterError] as the server understands it.
type laterError struct{ *dispatch.LaterError }

// NotBefore is when trying again has a chance.
func (e *laterError) NotBefore() time.Time { return e.At }

// Unwrap leads past what it says of the time.
func (e *laterError) Unwrap() error {
	return &provision.Error{Class: provision.Busy, Text: e.Error(), Err: e.LaterError}
}

func usage(text string) error {
	return &provision.Error{Class: provision.Invalid, Text: text, Next: "see controlplane serve --help"}
}

package main

import (
	"cmp"
	"context"
	"strconv"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/workflow"
)

// A target is the workflow that flags name.
type target struct{ repo, workflow, ref string }

// A trigger starts the run of a job.
type trigger = func(ctx context.Context, m provision.Message) (runID, runURL string, err error)

// newTrigger returns what starts runs, nil where nothing is set, and says what it is.
func newTrigger(cfg config, t target, workflowGiven bool) (trigger, string, error) {
	var w github.Workflow
	switch {
	case cfg.dispatchURL != "" && (t.repo != "" || workflowGiven):
		return nil, "", usage("GITHUB_WORKFLOW_DISPATCH_URL names a workflow already: leave --repo and --workflow out")
	case cfg.dispatchURL != "":
		var err error
		if w, err = github.ParseURL(cfg.dispatchURL); err != nil {
			return nil, "", err
		}
	case t.repo != "":
		w = github.Workflow{BaseURL: cfg.githubAPI, Repo: t.repo, File: t.workflow}
	default:
		return nil, "not started from here", nil
	}
	if cfg.githubToken == "" {
		return nil, "", usage("GITHUB_TOKEN is not set: the workflow cannot be started without it")
	}
	w.Ref, w.Token = t.ref, cfg.githubToken
	d := &dispatch.Dispatcher{
		Inputs: func(ctx context.Context, j provision.Job) (map[string]any, error) {
			file, err := w.Read(ctx)
			if err != nil {
				return nil, err
			}
			declared, err := workflow.Parse(file)
			if err != nil {
				return nil, err
			}
			return declared.Inputs(j)
		},
		Start: func(ctx context.Context, inputs map[string]any) (dispatch.Run, error) {
			run, err := w.Start(ctx, inputs)
			return dispatch.Run(run), err
		},
	}
	return func(ctx context.Context, m provision.Message) (string, string, error) {
		j, err := m.Job()
		if err != nil {
			return "", "", err
		}
		run, err := d.Dispatch(ctx, j)
		if err != nil || run.ID == 0 {
			return "", "", err
		}
		return strconv.FormatInt(run.ID, 10), cmp.Or(run.HTMLURL, run.URL), nil
	}, w.String(), nil
}

func usage(text string) error {
	return &provision.Error{Class: provision.Invalid, Text: text, Next: "see controlplane serve --help"}
}

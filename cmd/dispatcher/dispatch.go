package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httputil"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/spf13/cobra"
)

// dispatch sends one message and prints the run.
func (p *program) dispatch() *cobra.Command {
	var repo, file, ref string
	var allowUnknown, machine, dry bool
	cmd := &cobra.Command{
		Use:   "dispatch [FILE]",
		Short: "Start a run with a message",
		Long: `Dispatch reads one ProvisionQueueMessage from FILE, or from standard input, types it by
what the workflow file at --ref declares, starts one run, and prints it.

The workflow is --repo and --workflow, or what GITHUB_WORKFLOW_DISPATCH_URL names.
GITHUB_TOKEN may write actions and read contents there. GITHUB_API_URL is for GitHub
Enterprise.

Where GitHub's answer was lost, a run may have been started: the outcome is ambiguous, the
exit status 5, and nothing is sent again. Look for the job_id among the workflow's runs first.`,
		Example: `  dispatcher dispatch --repo pregoi/prego message.json
  dispatcher dispatch --repo pregoi/prego --ref v1.2.0 --json < message.json
  dispatcher dispatch --repo pregoi/prego --dry-run message.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			job, err := p.message(args, allowUnknown)
			if err != nil {
				return err
			}
			w, err := p.remote(repo, file, ref)
			if err != nil {
				return err
			}
			if dry {
				return p.dryRun(cmd.Context(), w, job)
			}
			if w.Token == "" {
				return &provision.Error{Class: provision.Denied, Text: "GITHUB_TOKEN is not set",
					Next: "set it to a token that may write actions and read contents of " + w.Repo}
			}
			run, err := dispatcher(w).Dispatch(cmd.Context(), job)
			return p.report(w, job, run, err, machine)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&repo, "repo", "", "the workflow's repository, `OWNER/NAME`")
	flags.StringVar(&file, "workflow", "", "the workflow's `file` name (default "+defaultFile+")")
	flags.StringVar(&ref, "ref", "", "branch or tag whose version runs (default main)")
	flags.BoolVar(&allowUnknown, "allow-unknown", false, "ignore fields that a message does not have")
	flags.BoolVar(&machine, "json", false, "print the outcome as JSON")
	flags.BoolVar(&dry, "dry-run", false, "print the request, without the token, and send nothing")
	return cmd
}

// dispatcher wires GitHub's edge to the middle.
func dispatcher(w github.Workflow) *dispatch.Dispatcher {
	return &dispatch.Dispatcher{
		Inputs: func(ctx context.Context, job provision.Job) (map[string]any, error) {
			d, err := declared(ctx, w)
			if err != nil {
				return nil, err
			}
			return d.Inputs(job)
		},
		Start: func(ctx context.Context, inputs map[string]any) (dispatch.Run, error) {
			run, err := w.Start(ctx, inputs)
			return dispatch.Run{ID: run.ID, URL: run.URL, HTMLURL: run.HTMLURL}, err
		},
	}
}

// dryRun prints the request that would start the run.
func (p *program) dryRun(ctx context.Context, w github.Workflow, job provision.Job) error {
	inputs, err := dispatcher(w).Inputs(ctx, job)
	if err != nil {
		return err
	}
	req, err := w.Request(ctx, inputs)
	if err != nil {
		return err
	}
	if req.Header.Get("Authorization") != "" {
		req.Header.Set("Authorization", "Bearer [redacted]")
	}
	dump, err := httputil.DumpRequestOut(req, true)
	if err != nil {
		return err
	}
	_, err = p.out.Write(bytes.ReplaceAll(dump, []byte("\r\n"), []byte("\n")))
	return err
}

// A report is what became of a dispatch, for machines.
type report struct {
	Outcome dispatch.Outcome `json:"outcome"`
	JobID   string           `json:"job_id"`
	*dispatch.Run
	Error      string          `json:"error,omitempty"`
	ErrorClass provision.Class `json:"error_class,omitempty"`
	Retryable  *bool           `json:"retryable,omitempty"` // whether the same may be sent again as it is
	NextAction string          `json:"next_action,omitempty"`
}

// report prints what became of the dispatch, and returns err.
func (p *program) report(w github.Workflow, job provision.Job, run dispatch.Run, err error, machine bool) error {
	outcome := dispatch.OutcomeOf(run, err)
	if machine {
		r := report{Outcome: outcome, JobID: job.ID}
		if err == nil {
			r.Run = &run
		} else {
			again := provision.Retryable(err) && outcome != dispatch.Ambiguous
			r.Error, r.ErrorClass, r.NextAction, r.Retryable = err.Error(), provision.ClassOf(err), provision.NextAction(err), &again
		}
		if e := p.print(r, true); e != nil && err == nil {
			return e
		}
		return err
	}
	switch outcome {
	case dispatch.Accepted:
		fmt.Fprintf(p.out, "job %s: run %d is started\n%s\n", job.ID, run.ID, run.HTMLURL)
	case dispatch.AcceptedWithoutID:
		fmt.Fprintf(p.out, "job %s: a run of %s is started; GitHub has not said which: look for the job_id in the runs' names\n", job.ID, w)
	}
	return err
}

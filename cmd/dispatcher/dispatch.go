package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httputil"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/spf13/cobra"
)

// dispatch sends one message and prints the run.
func (p *program) dispatch() *cobra.Command {
	var repo, file, ref string
	var allowUnknown, machine, dry, retry bool
	cmd := &cobra.Command{
		Use:   "dispatch [FILE]",
		Short: "Start a run with a message",
		Long: `Dispatch reads one ProvisionQueueMessage from FILE, or from standard input, types it by
what the workflow file at --ref declares, starts one run, and prints it.

The workflow is --repo and --workflow, or what GITHUB_WORKFLOW_DISPATCH_URL names.
GITHUB_TOKEN may write actions and read contents there. GITHUB_API_URL is for GitHub
Enterprise.

One message starts one run, however often it is dispatched: what has become of it is kept
in a ledger, by its job_id. A message that is in there already starts nothing, and what
is recorded is printed; one with the same job_id and other content is refused. What GitHub
has refused stays refused until --retry.

The ledger is the file or the Postgres server that DATABASE_URL names, as sqlite://PATH or
postgres://...; a file in the user's state directory when it is not set.

Where GitHub's answer was lost, the run is looked for by the job_id in its name, for some
minutes; only when there is none is the request sent again. Where that is cut short, the
outcome is ambiguous and the exit status 5: dispatch the same message again.`,
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
			ledger, err := p.ledger(cmd.Context())
			if err != nil {
				return err
			}
			defer ledger.Close()
			d := dispatcher(w)
			d.Ledger, d.Pace, d.RetryRejected = ledger, &dispatch.Pace{}, retry
			result, err := d.Once(cmd.Context(), job)
			return p.report(w, job, result, err, machine)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&repo, "repo", "", "the workflow's repository, `OWNER/NAME`")
	flags.StringVar(&file, "workflow", "", "the workflow's `file` name (default "+defaultFile+")")
	flags.StringVar(&ref, "ref", "", "branch or tag whose version runs (default main)")
	flags.BoolVar(&allowUnknown, "allow-unknown", false, "ignore fields that a message does not have")
	flags.BoolVar(&machine, "json", false, "print the outcome as JSON")
	flags.BoolVar(&retry, "retry", false, "send again what GitHub has refused before")
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
		Find: func(ctx context.Context, jobID string, since time.Time) (dispatch.Run, bool, error) {
			// Without the job_id in its name a run could not be found, and would be started twice.
			if d, err := declared(ctx, w); err != nil {
				return dispatch.Run{}, false, err
			} else if !d.Names("job_id") {
				return dispatch.Run{}, false, &provision.Error{Class: provision.Invalid,
					Text: "the run-name of " + w.String() + " does not carry the job_id, so that its run cannot be found",
					Next: "look for the run by hand, and add ${{ inputs.job_id }} to run-name, with spaces around it"}
			}
			run, ok, err := w.Find(ctx, jobID, since)
			return dispatch.Run{ID: run.ID, URL: run.URL, HTMLURL: run.HTMLURL}, ok, err
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
	Recorded   bool            `json:"recorded,omitempty"` // nothing was sent: this is from the ledger
	Error      string          `json:"error,omitempty"`
	ErrorClass provision.Class `json:"error_class,omitempty"`
	Retryable  *bool           `json:"retryable,omitempty"` // whether to dispatch the same again
	RetryAt    *time.Time      `json:"retry_at,omitempty"`  // not before that; absent for any time
	NextAction string          `json:"next_action,omitempty"`
}

// report prints what became of the dispatch, and returns err.
func (p *program) report(w github.Workflow, job provision.Job, result dispatch.Result, err error, machine bool) error {
	run, outcome := result.Run, dispatch.OutcomeOf(result.Run, err)
	if machine {
		r := report{Outcome: outcome, JobID: job.ID, Recorded: result.Recorded}
		if err == nil {
			r.Run = &run
		} else {
			again := provision.Retryable(err)
			if l := (*dispatch.LaterError)(nil); errors.As(err, &l) {
				if again = true; !l.At.IsZero() {
					at := l.At.UTC()
					r.RetryAt = &at
				}
			}
			r.Error, r.ErrorClass, r.NextAction, r.Retryable = err.Error(), provision.ClassOf(err), provision.NextAction(err), &again
		}
		if e := p.print(r, true); e != nil && err == nil {
			return e
		}
		return err
	}
	when := "is started"
	if result.Recorded {
		when = "is recorded already; nothing was sent"
	}
	switch {
	case outcome == dispatch.Accepted:
		fmt.Fprintf(p.out, "job %s: run %d %s\n%s\n", job.ID, run.ID, when, run.HTMLURL)
	case outcome == dispatch.AcceptedWithoutID:
		fmt.Fprintf(p.out, "job %s: a run of %s %s; GitHub has not said which, and it was in no list\n", job.ID, w, when)
	case outcome == dispatch.Rejected && result.Recorded:
		fmt.Fprintf(p.errs, "dispatcher: this refusal is recorded already; nothing was sent: --retry sends it again\n")
	}
	return err
}

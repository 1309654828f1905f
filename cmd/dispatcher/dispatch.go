package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httputil"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/dispatch/sqliteledger"
	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/spf13/cobra"
)

// dispatchFlags are what the command line says to dispatch.
type dispatchFlags struct {
	target
	pace                                    paceFlags
	allowUnknown, machine, dry, retry, wait bool
	timeout                                 time.Duration
}

// dispatch sends one message and prints the run.
func (p *program) dispatch() *cobra.Command {
	var f dispatchFlags
	cmd := &cobra.Command{
		Use:   "dispatch [FILE]",
		Short: "Start a run with a message",
		Long: `Dispatch reads one ProvisionQueueMessage from FILE, or from standard input, types it by
what the workflow file at --ref declares, starts one run, and prints it.

` + targetHelp + `

One message starts one run, however often it is dispatched: what has become of it is kept
in a ledger, by its job_id. A message that is in there already starts nothing, and what
is recorded is printed; one with the same job_id and other content is refused. What GitHub
has refused because of what a message says stays refused until --retry.

` + ledgerHelp + `

Where GitHub's answer was lost, the run is looked for by the job_id in its name, for some
minutes; only when there is none is the request sent again. Where that is cut short, the
outcome is ambiguous and the exit status 5: dispatch the same message again.

` + paceHelp + `

With --wait the run is followed to its end, with its progress on standard error. The exit
status is then the run's: 0 for success; 1 failure; 2 for one that could not begin
(startup_failure) or had nothing to do (skipped); 3 for one that wants an approval
(action_required); 5 for one that was out of time (timed_out, stale), or was cancelled
before it began because another of its concurrency group took its place; 130 for one that
was cancelled. It is 5 too when --timeout is over, and the run goes on.`,
		Example: `  dispatcher dispatch --repo pregoi/prego message.json
  dispatcher dispatch --repo pregoi/prego --ref v1.2.0 --json < message.json
  dispatcher dispatch --repo pregoi/prego --wait --timeout 30m message.json
  dispatcher dispatch --repo pregoi/prego --dry-run message.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return p.dispatchMessage(cmd.Context(), f, args) },
	}
	flags := cmd.Flags()
	f.target.flags(cmd)
	f.pace.flags(cmd)
	flags.BoolVar(&f.allowUnknown, "allow-unknown", false, "ignore fields that a message does not have")
	flags.BoolVar(&f.machine, "json", false, "print the outcome as JSON")
	flags.BoolVar(&f.retry, "retry", false, "send again what GitHub has refused before")
	flags.BoolVar(&f.dry, "dry-run", false, "print the request, without the token, and send nothing")
	flags.BoolVar(&f.wait, "wait", false, "follow the run to its end, and exit by its conclusion")
	flags.DurationVar(&f.timeout, "timeout", time.Hour, "how long --wait waits; 0 for ever")
	return cmd
}

func (p *program) dispatchMessage(ctx context.Context, f dispatchFlags, args []string) error {
	if f.timeout < 0 {
		return provision.Errorf(provision.Invalid, "--timeout %s is less than 0", f.timeout)
	}
	job, err := p.message(args, f.allowUnknown)
	if err != nil {
		return err
	}
	w, err := p.remote(f.target)
	if err != nil {
		return err
	}
	s := newSender(w)
	if f.dry {
		return p.dryRun(ctx, s, job)
	}
	if err := authorised(w); err != nil {
		return err
	}
	ledger, err := p.ledger(ctx)
	if err != nil {
		return err
	}
	if _, file := ledger.(*sqliteledger.Ledger); !file {
		defer ledger.Close()
	} // Closing a file tidies it up, which takes as long as a dispatch. What is saved is saved.
	s.Ledger, s.RetryRejected = ledger, f.retry
	if err := f.pace.set(s.Dispatcher, ledger); err != nil {
		return err
	}
	result, err := s.Once(ctx, job)
	if !f.wait || err != nil {
		return p.report(w, job, result, nil, err, f.machine)
	}
	if !f.machine {
		if err := p.report(w, job, result, nil, nil, false); err != nil {
			return err
		}
	}
	run, err := p.follow(ctx, w, result.Run.ID, f.timeout)
	if f.machine {
		return p.report(w, job, result, &run, err, true)
	}
	if run.Completed() {
		fmt.Fprintf(p.out, "job %s: run %d is completed: %s\n", job.ID, run.ID, run.Conclusion)
	}
	return err
}

// dryRun prints the request that would start the run.
func (p *program) dryRun(ctx context.Context, s *sender, job provision.Job) error {
	inputs, err := s.Inputs(ctx, job)
	if err != nil {
		return err
	}
	req, err := s.source.workflow.Request(ctx, inputs)
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
	Recorded   bool            `json:"recorded,omitempty"`   // nothing was sent: this is from the ledger
	Status     string          `json:"status,omitempty"`     // of the run, with --wait
	Conclusion string          `json:"conclusion,omitempty"` // of the run, with --wait
	Superseded bool            `json:"superseded,omitempty"` // it was cancelled before it began
	Error      string          `json:"error,omitempty"`
	ErrorClass provision.Class `json:"error_class,omitempty"`
	Retryable  *bool           `json:"retryable,omitempty"` // whether to dispatch the same again
	RetryAt    *time.Time      `json:"retry_at,omitempty"`  // not before that; absent for any time
	NextAction string          `json:"next_action,omitempty"`
}

// report prints what became of the dispatch, and of the run where that was followed, and
// returns err.
func (p *program) report(w github.Workflow, job provision.Job, result dispatch.Result, end *github.Progress, err error, machine bool) error {
	if machine {
		if e := p.print(reportOf(job, result, end, err), true); e != nil && err == nil {
			return e
		}
		return err
	}
	when := "is started"
	if result.Recorded {
		when = "is recorded already; nothing was sent"
	}
	switch run := result.Run; dispatch.OutcomeOf(run, err) {
	case dispatch.Accepted:
		fmt.Fprintf(p.out, "job %s: run %d %s\n%s\n", job.ID, run.ID, when, run.HTMLURL)
	case dispatch.AcceptedWithoutID:
		fmt.Fprintf(p.out, "job %s: a run of %s %s; GitHub has not said which, and it was in no list\n", job.ID, w, when)
	case dispatch.Rejected:
		if result.Recorded && len(provision.FieldErrors(err)) == 0 {
			fmt.Fprintf(p.errs, "dispatcher: this refusal is recorded already; nothing was sent: --retry sends it again\n")
		}
	}
	return err
}

func reportOf(job provision.Job, result dispatch.Result, end *github.Progress, err error) report {
	run := result.Run
	r := report{Outcome: dispatch.OutcomeOf(run, err), JobID: job.ID, Recorded: result.Recorded}
	switch {
	case end != nil: // the dispatch went well
		r.Outcome, r.Run = dispatch.OutcomeOf(run, nil), &run
		r.Status, r.Conclusion, r.Superseded = end.Status, end.Conclusion, end.Superseded
	case err == nil:
		r.Run = &run
	}
	if err == nil {
		return r
	}
	again := provision.Retryable(err) && end == nil
	if l := (*dispatch.LaterError)(nil); errors.As(err, &l) {
		if again = true; !l.At.IsZero() {
			at := l.At.UTC()
			r.RetryAt = &at
		}
	}
	r.Error, r.ErrorClass, r.NextAction, r.Retryable = err.Error(), provision.ClassOf(err), provision.NextAction(err), &again
	return r
}

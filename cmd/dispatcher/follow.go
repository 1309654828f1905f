package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// conclusions say what a run's end means for whoever waited for it.
// https://docs.github.com/en/rest/actions/workflow-runs#get-a-workflow-run
var conclusions = map[string]struct {
	class provision.Class
	next  string
}{
	"failure":         {provision.Internal, "look at the log of the run, and run it again there"},
	"cancelled":       {provision.Cancelled, "run it again at GitHub, if it was not cancelled for good"},
	"timed_out":       {provision.Busy, "look at the log of the run, and run it again there"},
	"stale":           {provision.Busy, "GitHub has given the run up: run it again there"},
	"startup_failure": {provision.Invalid, "correct the workflow file: GitHub could not begin the run"},
	"skipped":         {provision.Invalid, "look at the conditions in the workflow file: no job of it was run"},
	"action_required": {provision.Denied, "approve the run at GitHub"},
}

// follow waits for the end of a run, says how it goes on, and returns an error unless it
// was a success.
func (p *program) follow(ctx context.Context, w github.Workflow, id int64, timeout time.Duration) (github.Progress, error) {
	if id == 0 {
		return github.Progress{}, &provision.Error{Class: provision.Busy, Text: "the run is started, and which one it is is not known",
			Next: "look for it in the Actions of " + w.Repo}
	}
	limited, cancel := ctx, context.CancelFunc(func() {})
	if timeout > 0 {
		limited, cancel = context.WithTimeout(ctx, timeout)
	}
	defer cancel()
	began := time.Now()
	run, err := w.Follow(limited, id, func(r github.Progress) {
		again := ""
		if r.Attempt > 1 {
			again = fmt.Sprintf(" (attempt %d)", r.Attempt)
		}
		fmt.Fprintf(p.errs, "%6s  %s%s\n", time.Since(began).Round(time.Second), r.Status, again)
	})
	switch {
	case err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return run, &provision.Error{Class: provision.Busy, Text: fmt.Sprintf("run %d has not ended after %s", id, timeout),
			Next: "wait for it with the same command: nothing is sent again", Err: err}
	case err != nil:
		return run, err
	case run.Conclusion == "success":
		return run, nil
	case run.Superseded:
		return run, &provision.Error{Class: provision.Busy, Text: fmt.Sprintf("run %d was cancelled before it began: it waited for its concurrency group, and another run took its place", id),
			Next: "run it again at GitHub, and give the workflow's concurrency queue: max, so that it keeps those that wait"}
	}
	c, ok := conclusions[run.Conclusion]
	if !ok {
		c.class = provision.Internal
	}
	return run, &provision.Error{Class: c.class, Text: fmt.Sprintf("run %d ended with %.40q", id, run.Conclusion), Next: c.next}
}

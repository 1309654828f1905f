// Package dispatch starts one run per job.
//
// A job comes in, its inputs are typed by what the workflow declares, and one request
// asks GitHub for a run. What became of that request is an [Outcome]. A [Ledger] makes it
// one run however often and wherever the job is delivered: the intent is recorded before
// the request and the outcome after, and a request whose answer was lost is looked for
// by the job's id before another is sent. A [Pace] keeps the requests within GitHub's limits.
//
// The package knows no edge: what it needs of the workflow file and of GitHub are the
// functions of a [Dispatcher].
//
// To add what a dispatch may end in, add an Outcome and its line in [OutcomeOf]. To add a
// state that a job may rest in, add a [State] and its case in delivery.step.
package dispatch

import (
	"context"
	"fmt"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Run is one GitHub Actions workflow run.
type Run struct {
	ID      int64  `json:"run_id"`            // positive; 0 when GitHub accepted without saying which run it is
	URL     string `json:"run_url,omitempty"` // of the API; empty when ID is 0
	HTMLURL string `json:"html_url,omitempty"`
}

// A Dispatcher starts runs. Inputs and Start are required. It is safe for concurrent use.
type Dispatcher struct {
	// Inputs returns the job as inputs of the workflow: true and false for booleans,
	// numbers for numbers, and strings. Whatever it refuses is not sent.
	Inputs func(ctx context.Context, job provision.Job) (map[string]any, error)
	// Start asks for one run, once, and not after ctx has ended. The Run it returns has
	// ID 0 when GitHub accepted without naming it. Its error has a class, a method
	// Ambiguous() bool that answers true when a run may exist all the same, and a method
	// NotBefore() time.Time when it is a limit: when that ends, zero if it was not told.
	// It sends one request: where GitHub refuses how it was asked, and the next call will ask
	// differently, the error has a method Repeat() bool that answers true, and Start is
	// called once more, at its next turn.
	Start func(ctx context.Context, inputs map[string]any) (Run, error)

	// Ledger remembers jobs; nil for none.
	Ledger Ledger
	// Find looks for the run of a job among those created since then, with an id greater than
	// after, by the job's id in their names. It answers false only if it has seen all of them.
	// Its errors are like Start's, or those of [Pace.Read], by which it may ask for more than
	// one page. With nil nobody can look: a job whose answer was lost is not sent again.
	Find func(ctx context.Context, jobID string, after int64, since time.Time) (Run, bool, error)
	// Pace is asked before every request; nil for no pace. Dispatchers of one token
	// in one process share it, and those of several share its Slots.
	Pace *Pace

	// Lease is how long one request may take, from the recorded intent on. After that
	// another dispatcher looks for its run. 0 for a minute.
	Lease time.Duration
	// Window is how long after a request a run of it may still appear. 0 for 2 minutes. What
	// the clocks of machines that share a ledger differ by is missing from it, and must be less.
	Window time.Duration
	// Patience is how long one delivery waits: for its turn, for another dispatcher, for a
	// run to appear. What is left then is a [LaterError]. 0 for 4 minutes, which is enough
	// for a lease and a window.
	Patience time.Duration
	// RetryRejected sends a job again that GitHub has refused before, for somebody who
	// has removed the reason.
	RetryRejected bool
}

// Dispatch starts a run for job. Without a Ledger it sends at most one request that may
// start a run: an ambiguous error, by [OutcomeOf], must not be answered by another call
// before somebody has looked. With one it is [Dispatcher.Once].
func (d *Dispatcher) Dispatch(ctx context.Context, job provision.Job) (Run, error) {
	if d.Ledger != nil {
		result, err := d.Once(ctx, job)
		return result.Run, err
	}
	v := d.delivery(job)
	run, err := v.blind(ctx)
	if repeat(err) && OutcomeOf(run, err) != Ambiguous {
		run, err = v.blind(ctx)
	}
	if err != nil {
		return Run{}, fmt.Errorf("job %s: %w", job.ID, err)
	}
	return run, nil
}

// blind sends one request that nobody remembers.
func (v *delivery) blind(ctx context.Context) (Run, error) {
	if err := v.prepare(ctx); err != nil {
		return Run{}, err
	}
	t, err := v.Pace.line(ctx, v.until)
	if err != nil {
		return Run{}, err
	}
	defer t.leave(ctx)
	if err := t.reserve(ctx, 0, v.until); err != nil {
		return Run{}, err
	}
	if err := t.ready(ctx, v.until); err != nil {
		return Run{}, err
	}
	run, err := v.Start(ctx, v.inputs)
	if at := t.sent(ctx, err); !at.IsZero() {
		return Run{}, &LaterError{At: at, Err: err}
	}
	return run, err
}

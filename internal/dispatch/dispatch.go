// Package dispatch starts one run per job.
//
// A job comes in, its inputs are typed by what the workflow declares, and one request
// asks GitHub for a run. What became of that request is an [Outcome]. The package knows
// no edge: what it needs of the workflow file and of GitHub are the functions of a
// [Dispatcher].
//
// To add what a dispatch may end in, add an Outcome and its line in [OutcomeOf].
package dispatch

import (
	"context"
	"fmt"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Run is one GitHub Actions workflow run.
type Run struct {
	ID      int64  `json:"run_id"`            // positive; 0 when GitHub accepted without saying which run it is
	URL     string `json:"run_url,omitempty"` // of the API; empty when ID is 0
	HTMLURL string `json:"html_url,omitempty"`
}

// A Dispatcher starts runs. Both functions are required.
type Dispatcher struct {
	// Inputs returns the job as inputs of the workflow: true and false for booleans,
	// numbers for numbers, and strings. Whatever it refuses is not sent.
	Inputs func(ctx context.Context, job provision.Job) (map[string]any, error)
	// Start asks for one run, once. The Run it returns has ID 0 when GitHub accepted
	// without naming it. Its error has a class, and a method Ambiguous() bool that
	// answers true when a run may exist all the same.
	Start func(ctx context.Context, inputs map[string]any) (Run, error)
}

// Dispatch starts a run for job. It sends at most one request: an ambiguous error, by
// [OutcomeOf], must not be answered by another call before somebody has looked.
func (d *Dispatcher) Dispatch(ctx context.Context, job provision.Job) (Run, error) {
	inputs, err := d.Inputs(ctx, job)
	if err != nil {
		return Run{}, fmt.Errorf("job %s: %w", job.ID, err)
	}
	run, err := d.Start(ctx, inputs)
	if err != nil {
		return Run{}, fmt.Errorf("job %s: %w", job.ID, err)
	}
	return run, nil
}

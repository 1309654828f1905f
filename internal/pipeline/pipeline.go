// Package pipeline turns a job into a tenant, step by step.
//
// A step is a value: see [Step]. Each has a file of its own, which says what it needs
// from outside in its constructor's parameters, as functions or as an interface declared
// there; the package knows no edge. To add a step, write its file, and name it in the
// one list in cmd/provision-tenant.
//
// Nothing is rolled back. A step makes things so, whatever an earlier run has left, so a
// run that failed is repaired by the same job run again.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Step is one stage of a run.
type Step struct {
	Name string
	// Skip says why there is nothing to do; nil or "" to go ahead.
	Skip func(*Run) string
	// Check refuses what cannot come to a good end, before any step has changed anything, and
	// names all that it finds wrong (see [provision.Join]). It only reads, at the same time as
	// the checks of the other steps, and again while it answers [provision.Busy]. Nil for a
	// step that has nothing to check.
	Check func(context.Context, *Run) error
	// Plan says what Do would change, in one sentence, and changes nothing; "" if all is
	// as it should be. It records in the Run what is known already. It is nil for a step
	// that only looks: then Do is called in its place.
	Plan func(context.Context, *Run) (string, error)
	// Do makes it so, records what it learned in the Run, and says what it did in one sentence.
	Do func(context.Context, *Run) (string, error)
	// Alone is for a step that needs nothing from the steps before it.
	Alone bool
	// Always is for a step that has to run even after another has failed or the run was
	// cancelled; it finds the failure in the Run.
	Always bool
}

// A Run is one execution of the pipeline: the job, and what the steps have learned so far.
type Run struct {
	Job     provision.Job
	Attempt Attempt
	Plan    bool // nothing is to be changed; set by Execute

	offer   *provision.Offer // set by PulumiUp's check; nil if nobody has asked
	another bool             // set by ProvisionComplete's check: the control plane knows the job as another

	Stack         string             // set by SelectStack; empty when a node is used
	Servers       []provision.Server // set by PulumiUp; empty when a node is used
	Changes       []provision.Change // set by PulumiUp: what the update did, also when it failed
	CreatedServer bool               // set by PulumiUp: the servers are this job's own
	Node          provision.Node     // set by ResolveNode or RegisterNode
	Records       []provision.Record // set by TenantDNS, the A record first
	// Owed is set by ProvisionComplete: what the control plane was to be told and was not, as
	// far as that is known; nil when there is nothing to tell.
	Owed *provision.Completion

	Results  []Result // what became of each step so far
	Warnings []string // what a person should know, though nothing failed
	Err      error    // why the run failed; set by Execute, or before it by whoever could not even begin
}

// An Attempt names one execution of a job.
type Attempt struct {
	Run    string // GitHub's id of the run; "local" on a laptop
	Number int    // from 1; GitHub counts a re-run up
	URL    string // where people see it; empty on a laptop
}

// A Result is what became of one step.
type Result struct {
	Step     string           `json:"step"`
	Status   provision.Status `json:"status"`
	Detail   string           `json:"detail,omitempty"`
	Duration time.Duration    `json:"-"`
	Seconds  float64          `json:"seconds"`
}

// A Tracer is told what happens to a job. A trace that cannot be written is not a reason
// to fail the job, so Emit returns nothing; nor may it block.
type Tracer interface {
	Emit(provision.Event)
}

// Options choose how much of the pipeline is done.
type Options struct {
	// Plan changes nothing, and says what would be done.
	Plan bool
	// Only names the one step to do; the ones before it must have been done already, and
	// are only looked at. Empty for all.
	Only string
}

// Execute checks all the steps, runs them in order, up to the first that fails, and then
// those that always run. It returns what stopped it, with the step's name. A Run that has
// failed before it comes here is only reported, by the steps that always run.
func Execute(ctx context.Context, r *Run, o Options, t Tracer, steps ...Step) error {
	if o.Only != "" && !slices.ContainsFunc(steps, func(s Step) bool { return s.Name == o.Only }) {
		r.Err = provision.Errorf(provision.Invalid, "there is no step %.80q", o.Only)
		return r.Err
	}
	r.Plan = o.Plan
	reached := false // the step named by Only
	if i := slices.IndexFunc(steps, func(s Step) bool { return s.Name == o.Only && s.Alone }); i >= 0 {
		steps = steps[i:]
	}
	if r.Err == nil {
		r.Err = r.check(ctx, o, t, steps)
	}
	for _, s := range steps {
		planned := o.Plan || o.Only != "" && o.Only != s.Name
		switch {
		case o.Only != "" && reached:
			return r.Err
		case r.Err != nil && !s.Always:
			continue
		case s.Always && o.Only != "" && o.Only != s.Name:
			continue
		}
		reached = reached || o.Only == s.Name
		change, err := r.step(ctx, s, planned, t)
		if err == nil && planned && !o.Plan && change != "" {
			err = provision.Errorf(provision.Invalid, "step %s alone cannot be done yet: %s is missing (%s)", o.Only, s.Name, change)
		} else if err != nil {
			err = fmt.Errorf("%s: %w", s.Name, because(ctx, err))
		}
		if r.Err == nil {
			r.Err = err
		}
		if err != nil && planned && !o.Plan {
			return r.Err // a look has failed and not the job, so not even a step that always runs may say so
		}
	}
	return r.Err
}

// because returns err, and in front of it why ctx was ended, where whoever ended it has
// said so by a classified cause. Where somebody just stopped us, an err that says no more than
// that a remote did not answer is what came of it.
func because(ctx context.Context, err error) error {
	var why *provision.Error
	switch class := provision.ClassOf(err); {
	case ctx.Err() == nil:
		return err
	case errors.As(context.Cause(ctx), &why):
	case class == provision.Busy || class == provision.Internal:
		return &provision.Error{Class: provision.Cancelled, Text: err.Error(), Err: err}
	default:
		return err
	}
	with := *why
	with.Text, with.Err = why.Text+": "+err.Error(), err
	return &with
}

// alwaysTime is how long a step that always runs may take after a cancellation:
// all has to be over 7 s after it, and pulumi needs most of them.
const alwaysTime = 2 * time.Second

// outlive returns a context that ends d after ctx does, also when ctx has ended already.
func outlive(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	forget := context.AfterFunc(ctx, func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			cancel()
		case <-longer.Done():
		}
	})
	return longer, func() { forget(); cancel() }
}

// emit tells t what has become of a step that began at start, and remembers its end.
func (r *Run) emit(t Tracer, step string, status provision.Status, text string, start time.Time) {
	took := time.Since(start)
	e := provision.Event{
		ID:       provision.EventID(r.Job.ID, r.Attempt.Run, r.Attempt.Number, step, status),
		TraceID:  r.Job.TraceID,
		JobID:    r.Job.ID,
		TenantID: r.Job.TenantID,
		Stage:    step,
		Status:   status,
		Message:  text,
		Attempt:  r.Attempt.Number,
		At:       time.Now().UTC(),
		RunURL:   r.Attempt.URL,
	}
	if status != provision.Started {
		e.DurationMS = took.Milliseconds()
		r.Results = append(r.Results, Result{step, status, text, took, took.Seconds()})
	}
	t.Emit(e)
}

// step does or plans s, and tells t. change is what a plan found to be done.
func (r *Run) step(ctx context.Context, s Step, planned bool, t Tracer) (change string, err error) {
	start := time.Now()
	emit := func(status provision.Status, text string) { r.emit(t, s.Name, status, text, start) }
	if s.Skip != nil {
		if reason := s.Skip(r); reason != "" {
			emit(provision.Skipped, reason)
			return "", nil
		}
	}
	emit(provision.Started, "")
	if s.Always {
		var stop context.CancelFunc
		ctx, stop = outlive(ctx, alwaysTime)
		defer stop()
	}
	did := ""
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case planned && s.Plan != nil:
		change, err = s.Plan(ctx, r)
		if did = change; did == "" {
			did = "nothing to change"
		}
	default:
		did, err = s.Do(ctx, r)
	}
	if err != nil {
		emit(provision.Failed, err.Error())
		return "", err
	}
	emit(provision.Succeeded, did)
	return change, nil
}

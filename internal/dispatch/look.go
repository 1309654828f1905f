package dispatch

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// look looks for the run of a job once. However many deliveries wait for it, one at a time
// looks, later and later. A run that is not there when its window has ended does not
// exist: only a look that began after that may say so.
func (v *delivery) look(ctx context.Context, r Record) (Run, error) {
	if v.Find == nil {
		if r.State == Unnamed {
			return v.found(ctx, r, Run{})
		}
		return Run{}, &LaterError{Maybe: true, Err: r.reason()}
	}
	if time.Now().Before(r.LookAt) {
		return Run{}, v.pause(ctx, r, r.LookAt, r.reason())
	}
	if err := v.Pace.read(ctx, v.until); err != nil {
		return Run{}, unseen(err)
	}
	began := time.Now()
	over := !began.Before(r.Until)
	r.LookAt = began.Add(min(30*time.Second, time.Second<<min(r.Looks, 5)))
	if r.Looks++; !over {
		r.LookAt = earliest(r.LookAt, r.Until)
	}
	if mine, err := v.save(ctx, r); err != nil || !mine {
		return Run{}, cmp.Or(err, errAgain)
	}
	r.Version++
	if quiet, err := v.Pace.quiet(ctx); err != nil || quiet.After(time.Now()) {
		return Run{}, cmp.Or(err, errAgain)
	}
	run, ok, err := v.Find(ctx, v.job.ID, r.After, r.FirstAt)
	v.active = true
	if later := (*LaterError)(nil); !errors.As(err, &later) { // which comes of a Read, and is told already
		v.Pace.told(ctx, err)
	}
	switch {
	case err != nil && (ctx.Err() != nil || !provision.Retryable(err)):
		return Run{}, unseen(err)
	case err == nil && ok:
		return v.found(ctx, r, run)
	case err == nil && over && r.State == Unnamed:
		return v.found(ctx, r, Run{})
	case err == nil && over:
		// There is none. The next request follows at once, those after it later and later.
		r.State, r.Until = Waiting, time.Time{}
		if r.Sends > 1 {
			r.Until = began.Add(min(time.Hour, cmp.Or(v.Window, 2*time.Minute)/2<<min(r.Sends-2, 6)))
		}
		if _, err := v.save(ctx, r); err != nil {
			return Run{}, err
		}
	}
	return Run{}, errAgain
}

// found records the run of a job.
func (v *delivery) found(ctx context.Context, r Record, run Run) (Run, error) {
	r.State, r.Until, r.Run = Done, time.Time{}, run
	r.explain(nil)
	if _, err := v.record(ctx, r); err != nil {
		return Run{}, &LaterError{Maybe: true, Err: err}
	}
	return Run{}, errAgain
}

// unseen is the answer when nobody could look. Even a refusal to let us look settles
// nothing: the job is to be delivered again.
func unseen(err error) error {
	later := &LaterError{Maybe: true, Err: err}
	if l, ok := err.(*LaterError); ok {
		later.At = l.At
	}
	if !provision.Retryable(err) {
		later.Err = &provision.Error{Class: provision.Busy, Text: err.Error(), Next: provision.NextAction(err), Err: err}
	}
	return later
}

// reason is why the run of a job is not known.
func (r Record) reason() error {
	e := &provision.Error{Class: provision.Busy, Text: r.Reason, Next: "deliver the same message again: its run is looked for before another is started"}
	if r.State == Unnamed {
		e.Text = "a run is started, and is not in the list of runs yet"
	}
	return e
}

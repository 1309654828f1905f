package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// send asks for a run: a turn, the intent, the request, the outcome, in this order.
func (v *delivery) send(ctx context.Context, r Record) (Run, error) {
	if err := v.prepare(ctx); err != nil {
		return Run{}, err
	}
	t, err := v.Pace.line(ctx, v.until)
	if err != nil {
		return Run{}, err
	}
	defer t.leave(ctx)
	if t != nil && t.waited { // a slot is not taken for what has been done meanwhile
		if now, err := v.Ledger.Load(ctx, r.JobID); err != nil || now.Version != r.Version {
			return Run{}, cmp.Or(err, errAgain)
		}
	}
	if err := t.reserve(ctx, 0, v.until); err != nil {
		return Run{}, err
	}
	before, lease := r, cmp.Or(v.Lease, time.Minute)
	before.State = Waiting // whoever wants a refused job sent again wants it still
	r.intend(time.Now(), lease)
	if mine, err := v.save(ctx, r); err != nil || !mine {
		return Run{}, cmp.Or(err, errAgain)
	}
	r.Version++
	if err := t.ready(ctx, r.Until.Add(-lease/2)); err != nil {
		before.Version = r.Version
		return Run{}, v.back(ctx, before, err)
	}
	// The lease began before the intent was written, and the request ends before the lease,
	// as others see it: by the clock on the wall, which goes on while a machine sleeps.
	end := r.Until.Round(0)
	if !time.Now().Round(0).Before(end) {
		return Run{}, errAgain
	}
	limited, cancel := context.WithDeadline(ctx, end)
	run, err := v.Start(limited, v.inputs)
	cancel()
	v.active = true
	return v.conclude(ctx, r, run, err, t.sent(ctx, err))
}

// intend makes r the record of a request that is about to be sent.
func (r *Record) intend(now time.Time, lease time.Duration) {
	r.State, r.SentAt, r.Until, r.Sends = Sending, now, now.Add(lease), r.Sends+1
	r.Reason, r.Class, r.Next = "", "", ""
	if r.FirstAt.IsZero() {
		r.FirstAt = now
	}
}

// back withdraws an intent: nothing was sent, because of why.
func (v *delivery) back(ctx context.Context, before Record, why error) error {
	var l *LaterError
	if errors.As(why, &l) {
		before.Until, before.Reason, before.Class = l.At, storable(why.Error()), provision.Busy
	}
	ctx, cancel := parting(ctx, 10*time.Second)
	defer cancel()
	_, err := v.save(ctx, before)
	if l != nil {
		return cmp.Or(err, errAgain)
	}
	return why
}

// prepare types the inputs, once in a delivery.
func (v *delivery) prepare(ctx context.Context) error {
	if v.inputs != nil {
		return nil
	}
	if err := v.Pace.read(ctx, v.until); err != nil {
		return err
	}
	var err error
	v.inputs, err = v.Inputs(ctx, v.job)
	if at := v.Pace.told(ctx, err); !at.IsZero() {
		return &LaterError{At: at, Err: err}
	}
	return err
}

// conclude records what became of a request. at is the end of the limit that it met.
func (v *delivery) conclude(ctx context.Context, r Record, run Run, err error, at time.Time) (Run, error) {
	now := time.Now()
	outcome := OutcomeOf(run, err)
	differently := outcome != Ambiguous && !v.again && repeat(err)
	if differently {
		outcome, v.again = Limited, true
	}
	r.Looks, r.LookAt = 0, time.Time{}
	switch outcome {
	case Accepted:
		r.State, r.Until, r.Run = Done, time.Time{}, run
	case AcceptedWithoutID:
		r.State, r.Until = Unnamed, now.Add(cmp.Or(v.Window, 2*time.Minute))
	case Rejected:
		r.State, r.Until = Declined, time.Time{}
		if c := provision.ClassOf(err); c == provision.Denied || c == provision.NotFound {
			r.State = Waiting // it is not the job that is refused: a token is renewed, a workflow put back
		}
	case Limited:
		r.State, r.Until = Waiting, at
	case Ambiguous:
		r.State, r.Until = Lost, now.Add(cmp.Or(v.Window, 2*time.Minute))
	}
	r.explain(err)
	// Whoever wanted the run may have gone; what became of it is still written down.
	last, cancel := parting(ctx, 10*time.Second)
	defer cancel()
	mine, e := v.record(last, r)
	switch {
	case e != nil: // whatever it was, the next delivery has to find it out again
		what := fmt.Sprintf("run %d is started", run.ID)
		if err != nil {
			what = err.Error()
		}
		return run, &LaterError{At: at, Maybe: true, Err: provision.Errorf(provision.Busy, "%s; and it was not recorded: %w", what, e)}
	case mine && outcome == Accepted:
		return run, nil
	case mine && outcome == Limited && !differently:
		return Run{}, &LaterError{At: at, Err: err}
	case mine && outcome == Rejected:
		return Run{}, err
	case ctx.Err() != nil && outcome == Ambiguous:
		return Run{}, &LaterError{Maybe: true, Err: err}
	}
	return Run{}, errAgain
}

// record saves what became of a request, more than once if it must. When our lease was
// lost and others have written since, only this is still of use: that there is a run.
func (v *delivery) record(ctx context.Context, r Record) (mine bool, err error) {
	for try := range 4 {
		if try > 0 && err != nil {
			if e := sleep(ctx, time.Now().Add(time.Second)); e != nil {
				return false, err
			}
		}
		if mine, err = v.save(ctx, r); mine {
			return true, nil
		} else if err != nil {
			continue
		}
		var now Record
		if now, err = v.Ledger.Load(ctx, r.JobID); err != nil {
			continue
		}
		if now.State == Done || now.Attempt != r.Attempt || r.State != Done && r.State != Unnamed {
			return false, nil
		}
		r.Version, r.Sends, r.SentAt, r.Looks = now.Version, now.Sends, now.SentAt, now.Looks
	}
	return false, err
}

func (v *delivery) save(ctx context.Context, r Record) (bool, error) { return v.Ledger.Save(ctx, r) }

// explain notes why the job has no run yet.
func (r *Record) explain(err error) {
	if err == nil {
		r.Reason, r.Class, r.Next = "", "", ""
		return
	}
	r.Reason, r.Class, r.Next = storable(err.Error()), provision.ClassOf(err), storable(provision.NextAction(err))
}

// storable returns text as every database takes it.
func storable(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\x00", "?")
}

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

// A Result is the run of a job.
type Result struct {
	Run      Run
	Recorded bool // the ledger knew how it ended: this call sent nothing and looked for nothing
}

// Once starts a run for job unless there is one. It may be called any number of times, at
// once, and by dispatchers in several processes that share a ledger: whatever happens to
// them, one run comes of it.
//
// A job that the ledger has with another content is a Conflict. An error that is a
// [LaterError] leaves the rest to the next call. An error of the ledger does so too, and
// of Inputs, after which nothing was sent. Any other is a refusal, which is recorded.
func (d *Dispatcher) Once(ctx context.Context, job provision.Job) (Result, error) {
	if d.Ledger == nil {
		run, err := d.Dispatch(ctx, job)
		return Result{Run: run}, err
	}
	v := &delivery{Dispatcher: d, job: job, hash: Fingerprint(job), until: time.Now().Add(cmp.Or(d.Patience, 4*time.Minute))}
	run, err := v.settle(ctx)
	if err != nil {
		err = fmt.Errorf("job %s: %w", job.ID, err)
	}
	return Result{Run: run, Recorded: !v.active}, err
}

// A delivery is one call of Once.
type delivery struct {
	*Dispatcher
	job    provision.Job
	hash   string
	until  time.Time // the end of its patience
	inputs map[string]any
	active bool // it has sent or found something
	polls  int
}

// errAgain is a step's word for: read the record and go on from there.
var errAgain = errors.New("again")

// settle goes from step to step until there is an answer.
func (v *delivery) settle(ctx context.Context) (Run, error) {
	for {
		r, err := v.Ledger.Load(ctx, v.job.ID)
		if err != nil {
			return Run{}, err
		}
		if r.Version == 0 {
			r = Record{JobID: v.job.ID, Hash: v.hash, State: Waiting}
		}
		if r.Hash != v.hash {
			return Run{}, &provision.Error{Class: provision.Conflict, Text: "another message had the same job_id and other content",
				Next: "give each order a job_id of its own; nothing was sent for this message"}
		}
		run, err := v.step(ctx, r)
		if !errors.Is(err, errAgain) {
			return run, err
		}
	}
}

// step does the one thing that is to be done for a job in r's state.
func (v *delivery) step(ctx context.Context, r Record) (Run, error) {
	now := time.Now()
	switch {
	case r.State == Done:
		return r.Run, nil
	case r.State == Declined && (v.active || !v.RetryRejected):
		return Run{}, &provision.Error{Class: r.Class, Text: r.Reason, Next: r.Next}
	case r.State == Sending && now.Before(r.Until):
		return Run{}, v.pause(ctx, r, earliest(r.Until, now.Add(v.backoff())),
			provision.Errorf(provision.Busy, "another dispatcher is sending it"))
	case r.State == Sending: // it has died, or is too late to say more
		r.State, r.Until = Lost, r.Until.Add(cmp.Or(v.Window, 2*time.Minute))
		r.Looks, r.LookAt = 0, time.Time{}
		r.Reason, r.Class = "its dispatcher ended before the answer came", provision.Busy
		_, err := v.save(ctx, r)
		return Run{}, cmp.Or(err, errAgain)
	case r.State == Lost, r.State == Unnamed:
		return v.look(ctx, r)
	case now.Before(r.Until):
		return Run{}, v.pause(ctx, r, r.Until, &provision.Error{Class: provision.Busy, Text: r.Reason,
			Next: "send the same again at " + r.Until.UTC().Format(time.RFC3339) + " at the earliest"})
	}
	return v.send(ctx, r)
}

// send asks for a run: a turn, the intent, the request, the outcome, in this order.
func (v *delivery) send(ctx context.Context, r Record) (Run, error) {
	if err := v.prepare(ctx); err != nil {
		return Run{}, err
	}
	done, err := v.Pace.write(ctx, v.until)
	if err != nil {
		return Run{}, err
	}
	before, now := r, time.Now()
	r.State, r.SentAt, r.Until, r.Sends = Sending, now, now.Add(cmp.Or(v.Lease, time.Minute)), r.Sends+1
	r.Reason, r.Class, r.Next = "", "", ""
	if r.FirstAt.IsZero() {
		r.FirstAt = now
	}
	if mine, err := v.save(ctx, r); err != nil || !mine {
		done(time.Time{}, nil)
		return Run{}, cmp.Or(err, errAgain)
	}
	r.Version++
	if quiet := v.Pace.quiet(); quiet.After(time.Now()) { // since our turn came
		done(time.Time{}, nil)
		before.Version, before.Until = r.Version, quiet
		before.Reason, before.Class = "GitHub's limits are reached", provision.Busy
		_, err := v.save(ctx, before)
		return Run{}, cmp.Or(err, errAgain)
	}
	// The lease began before the intent was written, and the request ends before the lease.
	limited, cancel := context.WithDeadline(ctx, r.Until)
	sent := time.Now()
	run, err := v.Start(limited, v.inputs)
	cancel()
	v.active = true
	return v.conclude(ctx, r, run, err, done(sent, err))
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
	if at := v.Pace.told(err); !at.IsZero() {
		return &LaterError{At: at, Err: err}
	}
	return err
}

// conclude records what became of a request. at is the end of the limit that it met.
func (v *delivery) conclude(ctx context.Context, r Record, run Run, err error, at time.Time) (Run, error) {
	now := time.Now()
	outcome := OutcomeOf(run, err)
	r.Looks, r.LookAt = 0, time.Time{}
	switch outcome {
	case Accepted:
		r.State, r.Until, r.Run = Done, time.Time{}, run
	case AcceptedWithoutID:
		r.State, r.Until = Unnamed, now.Add(cmp.Or(v.Window, 2*time.Minute))
	case Rejected:
		r.State, r.Until = Declined, time.Time{}
	case Limited:
		r.State, r.Until = Waiting, at
	case Ambiguous:
		r.State, r.Until = Lost, now.Add(cmp.Or(v.Window, 2*time.Minute))
	}
	r.explain(err)
	// Whoever wanted the run may have gone; what became of it is still written down.
	ctx2, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	mine, e := v.record(ctx2, r)
	switch {
	case e != nil: // whatever it was, the next delivery has to find it out again
		what := fmt.Sprintf("run %d is started", run.ID)
		if err != nil {
			what = err.Error()
		}
		return run, &LaterError{At: at, Maybe: true, Err: provision.Errorf(provision.Busy, "%s; and it was not recorded: %w", what, e)}
	case mine && outcome == Accepted:
		return run, nil
	case mine && outcome == Limited:
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
		if now.State == Done || r.State != Done && r.State != Unnamed {
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

// pause waits until at; when that is beyond our patience, it answers with why.
func (v *delivery) pause(ctx context.Context, r Record, at time.Time, why error) error {
	if at.After(v.until) {
		return &LaterError{At: at, Maybe: r.State != Waiting, Err: why}
	}
	if err := sleep(ctx, at); err != nil {
		return &LaterError{Maybe: r.State != Waiting, Err: err}
	}
	return errAgain
}

// backoff is how long to wait for another dispatcher: longer each time.
func (v *delivery) backoff() time.Duration {
	v.polls++
	return min(5*time.Second, 125*time.Millisecond<<min(v.polls, 6))
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

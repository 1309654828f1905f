package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	v := d.delivery(job)
	run, err := v.settle(ctx)
	if err != nil {
		err = fmt.Errorf("job %s: %w", job.ID, err)
	}
	return Result{Run: run, Recorded: v.known}, err
}

// A delivery is one call of Once.
type delivery struct {
	*Dispatcher
	job    provision.Job
	hash   string
	until  time.Time // the end of its patience
	inputs map[string]any
	active bool // it has sent or found something
	known  bool // the record said how it ended, before it was active
	again  bool // the request is being sent differently
	polls  int
}

func (d *Dispatcher) delivery(job provision.Job) *delivery {
	return &delivery{Dispatcher: d, job: job, hash: Fingerprint(job), until: time.Now().Add(cmp.Or(d.Patience, 4*time.Minute))}
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
			r = Record{JobID: v.job.ID, Hash: v.hash, State: Waiting, Attempt: v.job.Attempt}
		}
		if r.Hash != v.hash {
			return Run{}, &provision.Error{Class: provision.Conflict, Text: "another message had the same job_id and other content",
				Next: "give each order a job_id of its own; nothing was sent for this message"}
		}
		run, err := v.next(ctx, r)
		if !errors.Is(err, errAgain) {
			return run, err
		}
	}
}

// next begins another attempt of the job, if that is asked for and the one before it is
// over, and else goes on with the one there is. Whatever became of a request of the one
// before is settled first. A delivery of an older attempt is one of that which has followed.
func (v *delivery) next(ctx context.Context, r Record) (Run, error) {
	over := r.State == Done || r.State == Declined || r.State == Waiting
	if max(1, v.job.Attempt) <= max(1, r.Attempt) || !over {
		return v.step(ctx, r)
	}
	_, err := v.save(ctx, Record{JobID: r.JobID, Hash: r.Hash, Version: r.Version, State: Waiting,
		Attempt: v.job.Attempt, After: max(r.After, r.Run.ID)})
	return Run{}, cmp.Or(err, errAgain)
}

// step does the one thing that is to be done for a job in r's state.
func (v *delivery) step(ctx context.Context, r Record) (Run, error) {
	now := time.Now()
	switch {
	case r.State == Done:
		v.known = !v.active
		return r.Run, nil
	case r.State == Declined && (v.active || !v.RetryRejected):
		v.known = !v.active
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

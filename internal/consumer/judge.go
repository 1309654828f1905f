package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A verdict is what a message's lease is ended with.
type verdict struct {
	lease string
	ack   bool
	delay time.Duration // until the next delivery, when it is not acknowledged
	why   error         // what keeps the message from becoming a run; nil for one that is done with
	fault error         // one of all messages
	began bool          // a run was started, so that there is no such fault
	count func(*Stats)
	told  chan struct{} // closed when the queue knows, or will not
}

// judge dispatches one message and says what becomes of it.
func (c *Consumer) judge(ctx, stopping context.Context, m Message) verdict {
	log := c.log().With(slog.String("message_id", m.ID), slog.Int("attempt", m.Attempts))
	if stopping.Err() != nil {
		return c.released(log, m, 0)
	}
	job, err := c.parse(m)
	if err != nil {
		return c.poisoned(ctx, log, m, err)
	}
	log = log.With(slog.String("job_id", job.ID))
	result, err := c.Dispatch(ctx, job)
	var later *dispatch.LaterError
	switch class := provision.ClassOf(err); {
	case err == nil:
		log.Info("run", slog.Int64("run_id", result.Run.ID), slog.Bool("recorded", result.Recorded), slog.String("url", result.Run.HTMLURL))
		return verdict{lease: m.Lease, ack: true, began: !result.Recorded, count: func(s *Stats) {
			s.Acked++
			if result.Recorded {
				s.Known++
			}
		}}
	case errors.As(err, &later) && !later.At.IsZero():
		return c.back(log, m, max(0, time.Until(later.At))+soon(), err, func(s *Stats) { s.Later++ })
	case final(class) && later == nil:
		return c.refused(ctx, log, m, err)
	case stopping.Err() != nil:
		return c.released(log, m, 0)
	case ctx.Err() != nil: // the end of its lease is near
		return c.released(log, m, soon())
	case later != nil:
		return c.back(log, m, c.growing(m, 10*time.Second, 10*time.Minute), err, func(s *Stats) { s.Later++ })
	}
	return c.back(log, m, c.growing(m, 10*time.Second, 10*time.Minute), err, func(s *Stats) { s.Failed++ })
}

// final reports whether the same would be answered to the same message at once.
func final(c provision.Class) bool {
	return c == provision.Denied || c == provision.NotFound || c == provision.Invalid || c == provision.Conflict
}

// refused says what becomes of a message that was refused: it is poison, unless what is
// refused is something that a message cannot help.
func (c *Consumer) refused(ctx context.Context, log *slog.Logger, m Message, err error) verdict {
	class := provision.ClassOf(err)
	fault := class == provision.Denied || class == provision.NotFound // a token, a permission or the workflow
	// The message is right, and the workflow has not declared what it says: that can be mended.
	undeclared := len(provision.FieldErrors(err)) > 0
	if !fault && !undeclared {
		return c.poisoned(ctx, log, m, err)
	}
	v := c.back(log, m, c.growing(m, time.Hour, maxDelay), err, func(s *Stats) { s.Faulted++ })
	if fault {
		v.fault = err
	}
	return v
}

// parse reads the job of a message.
func (c *Consumer) parse(m Message) (provision.Job, error) {
	if m.Unreadable != nil {
		return provision.Job{}, m.Unreadable
	}
	return provision.ParseMessage(m.Body, c.AllowUnknown)
}

// poisoned records why a message can never become a run.
func (c *Consumer) poisoned(ctx context.Context, log *slog.Logger, m Message, why error) verdict {
	if c.Refuse != nil {
		if err := c.Refuse(ctx, refusal(m, why)); err != nil {
			return c.back(log, m, c.growing(m, time.Second, 10*time.Minute), err, func(s *Stats) { s.Failed++ })
		}
	}
	log.Error("poison", slog.String("done", string(c.poison())), slog.String("error", why.Error()), slog.String("next", provision.NextAction(why)))
	return verdict{lease: m.Lease, ack: c.poison() == Ack, delay: soon(), count: func(s *Stats) { s.Poisoned++ }}
}

func (c *Consumer) poison() Poison {
	if c.Poison == "" {
		return Ack
	}
	return c.Poison
}

// jobID reads the job_id of a message that may be no message.
func jobID(body []byte) string {
	var m struct {
		JobID string `json:"job_id"`
	}
	if json.Unmarshal(body, &m) != nil || len(m.JobID) > 128 {
		return ""
	}
	return m.JobID
}

// back gives a message back because of err.
func (c *Consumer) back(log *slog.Logger, m Message, delay time.Duration, err error, count func(*Stats)) verdict {
	delay = min(delay, maxDelay)
	// What would outlast the queue's own patience is tried once more within it.
	if left := time.Until(m.At.Add(retention)) - retentionTime; !m.At.IsZero() && left > 0 {
		delay = min(delay, left)
	}
	say := log.Warn
	if !provision.Retryable(err) {
		say = log.Error
	}
	say("given back", slog.Duration("delay", delay.Round(time.Second)), slog.String("class", string(provision.ClassOf(err))),
		slog.String("error", err.Error()), slog.String("next", provision.NextAction(err)))
	return verdict{lease: m.Lease, delay: delay, why: err, count: count}
}

// released gives a message back of which nothing is known that speaks against it.
func (c *Consumer) released(log *slog.Logger, m Message, delay time.Duration) verdict {
	log.Info("released")
	return verdict{lease: m.Lease, delay: delay, count: func(s *Stats) { s.Released++ },
		why: provision.Errorf(provision.Busy, "the dispatcher ended, or the message's lease, before it had its run")}
}

// retentionTime is how long before a queue forgets a message its last delivery is.
const retentionTime = 30 * time.Minute

// last reports whether a message that is given back so may not be delivered again.
func (c *Consumer) last(m Message, v verdict) bool {
	return v.why != nil && (c.MaxRetries > 0 && m.Attempts >= c.MaxRetries ||
		!m.At.IsZero() && time.Until(m.At.Add(retention)) <= v.delay)
}

// lastTime is how long it may take to record that a message is not delivered again; it is
// less than a quarter of the least Drain.
const lastTime = time.Second

// spent records what has kept a message from becoming a run that may not be delivered again.
func (c *Consumer) spent(ctx context.Context, m Message, v verdict) {
	why := provision.Errorf(provision.ClassOf(v.why), "given back at attempt %d, perhaps the last that its queue allows: %w", m.Attempts, v.why)
	c.count(func(s *Stats) { s.Spent++ })
	c.log().Error("perhaps not delivered again", slog.String("message_id", m.ID), slog.String("job_id", jobID(m.Body)), slog.Int("attempt", m.Attempts),
		slog.String("error", v.why.Error()), slog.String("next", "send it again from the queue's dead-letter queue"))
	if c.Refuse == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTime)
	defer cancel()
	if err := c.Refuse(ctx, refusal(m, why)); err != nil {
		c.log().Error("the reason is not recorded", slog.String("message_id", m.ID), slog.String("error", err.Error()))
	}
}

// refusal is what is recorded of a message.
func refusal(m Message, why error) dispatch.Refusal {
	return dispatch.Refusal{MessageID: m.ID, JobID: jobID(m.Body), At: time.Now().UTC(), Class: provision.ClassOf(why), Reason: why.Error(), Body: m.Body}
}

// soon is some seconds, so that those who were stopped by the same thing do not come back at once.
func soon() time.Duration { return time.Second + rand.N(4*time.Second) }

// growing is the pause before the next delivery of m. The last one that the queue allows is
// as late as can be: what keeps the message from its run has been mended by then, perhaps.
func (c *Consumer) growing(m Message, first, longest time.Duration) time.Duration {
	if c.MaxRetries > 0 && m.Attempts >= c.MaxRetries-1 {
		first = longest
	}
	return growing(first, longest, m.Attempts)
}

// growing is a pause before the next attempt: first, doubled with each attempt until it is
// the longest, and of that somewhere between the half and the whole. Attempts that were
// cut short by a crash count too, so that the longest is what somebody may have to wait.
func growing(first, longest time.Duration, attempts int) time.Duration {
	d := min(longest, first<<min(max(attempts-1, 0), 14))
	return d/2 + rand.N(d/2+1)
}

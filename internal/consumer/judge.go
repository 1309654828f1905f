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
	fault error         // one of all messages
	count func(*Stats)
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
		return verdict{lease: m.Lease, ack: true, count: func(s *Stats) {
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
		return c.back(log, m, growing(10*time.Second, 10*time.Minute, m.Attempts), err, func(s *Stats) { s.Later++ })
	}
	return c.back(log, m, growing(10*time.Second, 10*time.Minute, m.Attempts), err, func(s *Stats) { s.Failed++ })
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
	v := c.back(log, m, growing(time.Hour, maxDelay, m.Attempts), err, func(s *Stats) { s.Faulted++ })
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
		err := c.Refuse(ctx, dispatch.Refusal{MessageID: m.ID, JobID: jobID(m.Body), At: time.Now().UTC(),
			Class: provision.ClassOf(why), Reason: why.Error(), Body: m.Body})
		if err != nil {
			return c.back(log, m, growing(time.Second, 10*time.Minute, m.Attempts), err, func(s *Stats) { s.Failed++ })
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
	say := log.Warn
	if !provision.Retryable(err) {
		say = log.Error
	}
	say("given back", slog.Duration("delay", delay.Round(time.Second)), slog.String("class", string(provision.ClassOf(err))),
		slog.String("error", err.Error()), slog.String("next", provision.NextAction(err)))
	return verdict{lease: m.Lease, delay: delay, count: count}
}

// released gives a message back of which nothing is known that speaks against it.
func (c *Consumer) released(log *slog.Logger, m Message, delay time.Duration) verdict {
	log.Info("released")
	return verdict{lease: m.Lease, delay: delay, count: func(s *Stats) { s.Released++ }}
}

// soon is some seconds, so that those who were stopped by the same thing do not come back at once.
func soon() time.Duration { return time.Second + rand.N(4*time.Second) }

// growing is a pause before the next attempt: first, doubled with each attempt until it is
// the longest, and of that somewhere between the half and the whole. Attempts that were
// cut short by a crash count too, so that the longest is what somebody may have to wait.
func growing(first, longest time.Duration, attempts int) time.Duration {
	d := min(longest, first<<min(max(attempts-1, 0), 14))
	return d/2 + rand.N(d/2+1)
}

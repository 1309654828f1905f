package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/pregoi/provision-tenant/internal/cloudflare"
	"github.com/pregoi/provision-tenant/internal/consumer"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// queue is the queue that the environment names.
func (p *program) queue(f consumeFlags) (*cloudflare.Queue, error) {
	switch {
	case f.poison != string(consumer.Ack) && f.poison != string(consumer.Leave):
		return nil, provision.Errorf(provision.Invalid, "--poison %q is neither ack nor leave", f.poison)
	case f.batch < 1 || f.batch > 100:
		return nil, provision.Errorf(provision.Invalid, "--batch %d is not from 1 to 100", f.batch)
	case f.visibility < time.Second || f.visibility > 12*time.Hour:
		return nil, provision.Errorf(provision.Invalid, "--visibility %s is not from 1s to 12h", f.visibility)
	case f.queueGap < 0 || f.queueGap > 10*time.Second:
		return nil, provision.Errorf(provision.Invalid, "--queue-gap %s is not from 0 to 10s", f.queueGap)
	case f.idle < time.Second:
		return nil, provision.Errorf(provision.Invalid, "--idle %s is less than a second: each look is billed", f.idle)
	}
	values := make([]string, 3)
	for i, name := range []string{"CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_QUEUE_ID", "CLOUDFLARE_API_TOKEN"} {
		if values[i] = p.getenv(name); values[i] == "" {
			class := provision.Invalid
			if i == 2 {
				class = provision.Denied
			}
			return nil, &provision.Error{Class: class, Text: name + " is not set", Next: "see dispatcher consume --help"}
		}
	}
	if err := sendable("CLOUDFLARE_API_TOKEN", values[2]); err != nil {
		return nil, err
	}
	return &cloudflare.Queue{BaseURL: p.getenv("CLOUDFLARE_API_BASE_URL"), AccountID: values[0], ID: values[1], Token: values[2]}, nil
}

// manyAttempts is the most that a queue can allow, and what ours should.
const manyAttempts = 100

// deadLetters returns how the queue is set up. It refuses one that loses messages, unless
// that is allowed.
func deadLetters(ctx context.Context, q *cloudflare.Queue, allowed bool, log *slog.Logger) (cloudflare.ConsumerSettings, error) {
	settings, err := q.Consumer(ctx)
	if err != nil {
		return settings, err
	}
	attempts := slog.Int("attempts", settings.MaxRetries)
	if settings.DeadLetterQueue == "" {
		if !allowed {
			return settings, &provision.Error{Class: provision.Invalid,
				Text: fmt.Sprintf("Cloudflare queue %s has no dead-letter queue: it deletes a message after %d attempts", q.ID, settings.MaxRetries),
				Next: "give its consumer one: wrangler queues consumer http add QUEUE --dead-letter-queue NAME --message-retries 100; or allow it with --allow-no-dead-letter-queue"}
		}
		log.Error("the queue has no dead-letter queue: it deletes what has used up its attempts", attempts)
	}
	if settings.MaxRetries < manyAttempts {
		log.Warn("the queue allows few attempts: an outage uses them up, and each crash one", attempts,
			slog.String("next", fmt.Sprintf("set the message retries of its consumer to %d", manyAttempts)))
	}
	return settings, nil
}

// pulled is a queue at Cloudflare as a consumer knows it.
type pulled struct{ *cloudflare.Queue }

// Pull implements [consumer.Queue].
func (q pulled) Pull(ctx context.Context, n int, visibility time.Duration) (consumer.Batch, error) {
	b, err := q.Queue.Pull(ctx, n, visibility)
	out := consumer.Batch{Backlog: b.Backlog, Messages: make([]consumer.Message, len(b.Messages))}
	for i, m := range b.Messages {
		out.Messages[i] = consumer.Message(m)
	}
	return out, err
}

// Settle implements [consumer.Queue].
func (q pulled) Settle(ctx context.Context, acks []string, retries []consumer.Retry) error {
	list := make([]cloudflare.Retry, len(retries))
	for i, r := range retries {
		list[i] = cloudflare.Retry(r)
	}
	return q.Queue.Settle(ctx, acks, list)
}

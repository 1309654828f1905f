package cloudflare

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// ConsumerSettings are how a queue's pull consumer is set up.
type ConsumerSettings struct {
	// DeadLetterQueue is the name of the queue that takes a message that has used up its
	// attempts; empty if there is none, so that the message is deleted for good.
	DeadLetterQueue string
	MaxRetries      int           // a message goes when its attempts reach it
	BatchSize       int           // messages, of a pull that does not say
	Visibility      time.Duration // of a lease, where a pull does not say
}

// pullAdvice is what to do for a queue that cannot be pulled.
const pullAdvice = "give the queue a pull consumer with a dead-letter queue: wrangler queues consumer http add QUEUE --dead-letter-queue NAME --message-retries 100"

// Consumer returns the settings of the queue's pull consumer. It answers
// [provision.NotFound] if the queue has none. What Cloudflare leaves out has its defaults.
func (q *Queue) Consumer(ctx context.Context) (ConsumerSettings, error) {
	var list []struct {
		Type     string `json:"type"`
		Dead     string `json:"dead_letter_queue"`
		Settings struct {
			BatchSize  *float64 `json:"batch_size"`
			MaxRetries *float64 `json:"max_retries"`
			Visibility *float64 `json:"visibility_timeout_ms"`
		} `json:"settings"`
	}
	if err := q.do(ctx, "read the consumers of", http.MethodGet, "/consumers", nil, &list); err != nil {
		return ConsumerSettings{}, err
	}
	for _, c := range list {
		if c.Type != "http_pull" {
			continue
		}
		// https://developers.cloudflare.com/queues/configuration/pull-consumers/
		or := func(n *float64, standard int) int {
			if n == nil {
				return standard
			}
			return int(*n)
		}
		return ConsumerSettings{
			DeadLetterQueue: c.Dead,
			MaxRetries:      or(c.Settings.MaxRetries, 3),
			BatchSize:       or(c.Settings.BatchSize, 5),
			Visibility:      time.Duration(or(c.Settings.Visibility, 30_000)) * time.Millisecond,
		}, nil
	}
	return ConsumerSettings{}, &provision.Error{
		Class: provision.NotFound,
		Text:  "Cloudflare queue " + q.ID + " has no pull consumer",
		Next:  pullAdvice,
	}
}

// withoutPull gives err, if it is the 405 that Cloudflare answers to a pull from a queue
// without a pull consumer, its class and advice. A consumer that has just been added is
// answered so for some seconds too.
func withoutPull(err error) error {
	var r refusal
	var e *provision.Error
	if errors.As(err, &r) && r.status == http.StatusMethodNotAllowed && errors.As(err, &e) {
		e.Class, e.Next = provision.NotFound, pullAdvice
	}
	return err
}

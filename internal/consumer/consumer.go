// Package consumer is the dispatcher's end of a queue: it pulls messages, dispatches each,
// and settles each by what became of it.
//
// A message is acknowledged only when its run is on record, or when it can never become
// one: that is poison, and its reason is recorded first. Whatever else keeps a message
// from becoming a run, an expired token among it, leaves it in the queue. A message is
// never worked on after its lease; what is not done by then is given back. As each
// delivery counts against the queue's own limit, nothing is pulled that could not be
// sent: see [Consumer.Room].
//
// The package knows neither the queue's vendor nor GitHub: they come in as [Queue] and as
// functions. To treat another kind of failure in its own way, add its case in judge and,
// where it is to be counted, its number in [Stats].
package consumer

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Queue delivers messages at least once. Its errors may have a method NotBefore()
// time.Time, which tells until when it wants to be left alone.
type Queue interface {
	// Pull leases up to n messages, which nobody else gets until visibility has passed.
	// An empty batch says that there is none at the moment.
	Pull(ctx context.Context, n int, visibility time.Duration) (Batch, error)
	// Settle ends leases: those of acks with their messages, those of retries so that the
	// messages are delivered again. It takes up to 100 of both together.
	Settle(ctx context.Context, acks []string, retries []Retry) error
}

// A Batch is what one pull brings.
type Batch struct {
	Messages []Message
	Backlog  int // messages in the queue, as it says
}

// A Message is one delivery of a message.
type Message struct {
	ID       string
	Lease    string
	Attempts int       // deliveries so far, from 1
	At       time.Time // when it was put into the queue
	Body     []byte    // the JSON of a ProvisionQueueMessage; what came when Unreadable is set
	// Unreadable says why Body could not be decoded; nil if it could.
	Unreadable error
}

// A Retry gives a message back, to be delivered again after Delay, which is up to 12 hours.
type Retry struct {
	Lease string
	Delay time.Duration
}

// A Poison is what is done with a message that can never become a run.
type Poison string

// What can be done with it, once its reason is recorded.
const (
	Ack   Poison = "ack"   // end it
	Leave Poison = "leave" // give it back until the queue moves it to its dead-letter queue
)

// A Consumer is one process's end of a queue. Queue and Dispatch are required.
type Consumer struct {
	Queue Queue
	// Dispatch starts the run of a job, once however often it is called, as
	// [dispatch.Dispatcher.Once] does. When ctx ends it begins nothing more.
	Dispatch func(ctx context.Context, job provision.Job) (dispatch.Result, error)
	// Refuse records why a message was poison, or what has kept one from becoming a run that
	// the queue does not deliver again; nil for nobody. Poison whose reason was not recorded
	// stays in the queue.
	Refuse func(context.Context, dispatch.Refusal) error
	// Room says how many requests may be sent in the time that lies ahead, those of the
	// messages held included, and, when that is none, from when on. An error, such as
	// that of an expired token, is one of all messages. Nothing is pulled without room
	// or after an error. nil for no bound.
	Room func(ctx context.Context, ahead time.Duration) (n int, from time.Time, err error)

	Poison       Poison // empty for Ack
	AllowUnknown bool   // ignore fields that a message does not have

	// MaxRetries is the attempt of a message after which the queue does not deliver it again;
	// 0 for none.
	MaxRetries int
	// Gap is the time from one request to the queue to the next; 0 for none.
	Gap time.Duration

	// Batch is how many messages are pulled at once, 100 at most. 0 for 10.
	Batch int
	// Held is how many are held at once; 0 for twice a batch.
	Held int
	// Visibility is how long a message is leased. A tenth of it, 30 seconds at most, is
	// kept for giving back what is not done. 0 for 5 minutes; 12 hours at most.
	Visibility time.Duration
	// Idle is the longest pause between two looks into an empty queue, each of which is
	// billed. 0 for 10 seconds.
	Idle time.Duration
	// Drain is how long Run may take to settle what it holds when its context has ended.
	// 0 for 5 seconds.
	Drain time.Duration
	Log   *slog.Logger // nil for none

	counts counts
}

// Run pulls and dispatches until ctx ends, and settles what it holds then: what was under
// way to its end, the rest given back for others. It returns nil unless it could not settle all.
func (c *Consumer) Run(ctx context.Context) error { return c.start(ctx, false) }

// Empty is Run until the queue gives no more. What was given back with a delay is left to
// the next time. An error of all messages, such as an expired token, ends it; the end of ctx
// is Cancelled.
func (c *Consumer) Empty(ctx context.Context) error { return c.start(ctx, true) }

// limits of a queue.
const (
	maxBatch      = 100
	maxDelay      = 12 * time.Hour
	maxVisibility = 12 * time.Hour
	// retention is how long a queue keeps a message, however often it is delivered, unless it
	// is set to keep it longer.
	// https://developers.cloudflare.com/queues/platform/limits/
	retention = 4 * 24 * time.Hour
)

func (c *Consumer) batch() int { return min(cmp.Or(c.Batch, 10), maxBatch) }

func (c *Consumer) holds() int { return max(cmp.Or(c.Held, 2*c.batch()), c.batch()) }

func (c *Consumer) visibility() time.Duration {
	return min(cmp.Or(c.Visibility, 5*time.Minute), maxVisibility)
}

// workTime is how much of a lease is for work.
func (c *Consumer) workTime() time.Duration {
	return c.visibility() - min(30*time.Second, c.visibility()/10)
}

func (c *Consumer) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

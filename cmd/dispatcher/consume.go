package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/pregoi/provision-tenant/internal/consumer"
	"github.com/pregoi/provision-tenant/internal/dispatchserver"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// consumeFlags are what the command line says to consume.
type consumeFlags struct {
	target
	pace                                     paceFlags
	poison, addr                             string
	once, allowUnknown, machine, allowNoDead bool
	batch                                    int
	visibility, idle, queueGap               time.Duration
}

// consume dispatches the messages of a queue.
func (p *program) consume() *cobra.Command {
	var f consumeFlags
	cmd := &cobra.Command{
		Use:   "consume",
		Short: "Dispatch the messages of a Cloudflare queue",
		Long: `Consume pulls ProvisionQueueMessages from a Cloudflare queue, starts one run with each, as
dispatch does, and settles each by what became of it.

The queue is CLOUDFLARE_QUEUE_ID of CLOUDFLARE_ACCOUNT_ID, with a pull consumer;
CLOUDFLARE_API_TOKEN may edit queues. CLOUDFLARE_API_BASE_URL is for another address of
the API.

` + targetHelp + `

A message is acknowledged when its run is on record. One that can never become a run is
poison: it cannot be read (v8 among it), is no message, contradicts another with its
job_id, or has inputs that GitHub refuses. Its reason is recorded in the ledger, and with
--poison ack it is acknowledged; with --poison leave it stays until the queue's own limit
moves it to the dead-letter queue. All others are given back with a delay: until GitHub's
limits end, longer with each attempt, and long when the token or the workflow is at fault,
which is said loudly and loses no message. A queue without a dead-letter queue deletes what
has used up its attempts, and is refused.

What has used up its attempts is recorded too, with what has kept it from its run; the
last attempt is as late as can be. Let the queue allow 100.

What could not be sent for now is not pulled. Cloudflare is asked something every
--queue-gap at most: its 1,200 requests in 5 minutes are those of everything that the
token's owner does. A message is leased for --visibility, and
what is not done by then is given back. SIGTERM ends it within 7 seconds: what is under
way is finished, the rest given back at once. With --once it ends when the queue gives no
more, with a line of figures.

` + ledgerHelp + `

` + paceHelp + `

With --addr it answers /healthz, /readyz, /metrics, and with INTERNAL_API_KEY as bearer
/jobs/{job_id} and /refusals, as serve does.`,
		Example: `  dispatcher consume --repo pregoi/prego
  dispatcher consume --repo pregoi/prego --addr 127.0.0.1:9090 --json
  dispatcher consume --repo pregoi/prego --once`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.consumeQueue(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	f.target.flags(cmd)
	f.pace.flags(cmd)
	flags.StringVar(&f.poison, "poison", string(consumer.Ack), "what is done with a message that can never become a run, `ack|leave`")
	flags.BoolVar(&f.once, "once", false, "end when the queue gives no more")
	flags.BoolVar(&f.allowUnknown, "allow-unknown", false, "ignore fields that a message does not have")
	flags.BoolVar(&f.machine, "json", false, "log JSON")
	flags.BoolVar(&f.allowNoDead, "allow-no-dead-letter-queue", false, "take a queue that deletes what has used up its attempts")
	flags.StringVar(&f.addr, "addr", "", "`host:port` to answer on (default none)")
	flags.IntVar(&f.batch, "batch", 10, "messages in one pull, at most 100")
	flags.DurationVar(&f.visibility, "visibility", 5*time.Minute, "how long a message is leased, 1s to 12h")
	flags.DurationVar(&f.queueGap, "queue-gap", 300*time.Millisecond, "time from one request to Cloudflare to the next; 0 for none")
	flags.DurationVar(&f.idle, "idle", 10*time.Second, "longest time between two looks into an empty queue")
	return cmd
}

func (p *program) consumeQueue(ctx context.Context, f consumeFlags) error {
	queue, err := p.queue(f)
	if err != nil {
		return err
	}
	w, err := p.remote(f.target)
	if err != nil {
		return err
	}
	if err := authorised(w); err != nil {
		return err
	}
	log := p.log(f.machine)
	queue.Ignored = func(lease, why string) { log.Warn("the queue did not take a settlement", slog.String("why", why)) }
	settings, err := deadLetters(ctx, queue, f.allowNoDead, log)
	if err != nil {
		return err
	}
	d, err := p.open(ctx, newSender(w), f.pace)
	if err != nil {
		return err
	}
	defer d.close()
	// A delivery has to end in its lease, and with what it waits for, if it can.
	d.Patience = min(d.Patience, f.visibility*2/3)
	c := &consumer.Consumer{
		Queue: pulled{queue}, Dispatch: d.deliver, Refuse: d.ledger.Refuse, Room: d.room(f.pace),
		Poison: consumer.Poison(f.poison), AllowUnknown: f.allowUnknown,
		MaxRetries: settings.MaxRetries, Gap: f.queueGap, Batch: f.batch, Visibility: f.visibility, Idle: f.idle, Log: log,
	}
	d.watch(c.Stats)
	return p.consuming(ctx, f, c, d, log)
}

// consuming runs c, and what answers about it, until it ends.
func (p *program) consuming(ctx context.Context, f consumeFlags, c *consumer.Consumer, d *daemon, log *slog.Logger) error {
	run := c.Run
	if f.once {
		run = c.Empty
	}
	began := time.Now()
	if f.addr == "" {
		log.Info("consuming", slog.String("workflow", d.source.workflow.String()))
		err := run(ctx)
		p.summary(c.Stats(), began, f, log)
		return err
	}
	s, err := dispatchserver.New(d.config(p.getenv("INTERNAL_API_KEY"), log))
	if err != nil {
		return err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", f.addr)
	if err != nil {
		return provision.Errorf(provision.Invalid, "%w", err)
	}
	log.Info("consuming", slog.String("workflow", d.source.workflow.String()), slog.String("addr", ln.Addr().String()))
	// Whoever ends first ends the other; what answers lasts until the messages are settled.
	consuming, stop := context.WithCancel(ctx)
	defer stop()
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	served := make(chan error, 1)
	go func() {
		defer stop()
		served <- s.Serve(serving, ln)
	}()
	err = run(consuming)
	end()
	err = errors.Join(err, <-served)
	p.summary(c.Stats(), began, f, log)
	return err
}

// summary says what was done.
func (p *program) summary(s consumer.Stats, began time.Time, f consumeFlags, log *slog.Logger) {
	log.Info("stopped", slog.Int("pulled", s.Pulled), slog.Int("acked", s.Acked), slog.Int("recorded_already", s.Known), slog.Int("retried", s.Retried()),
		slog.Int("poisoned", s.Poisoned), slog.Int("left_in_queue", s.Backlog), slog.Duration("took", time.Since(began).Round(time.Millisecond)))
	if f.once && !f.machine {
		fmt.Fprintf(p.out, "%d messages: %d have their run (%d had it already), %d given back, %d poison; %d left in the queue; %s\n",
			s.Pulled, s.Acked, s.Known, s.Retried(), s.Poisoned, s.Backlog, time.Since(began).Round(time.Millisecond))
	}
}

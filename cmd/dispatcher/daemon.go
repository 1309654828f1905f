package main

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/pregoi/provision-tenant/internal/consumer"
	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/dispatchserver"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A daemon is a sender with its ledger, and with numbers: what consume and serve share.
type daemon struct {
	*sender
	ledger  openLedger
	metrics *dispatchserver.Metrics
	wrote   atomic.Pointer[time.Time] // when the ledger was last known to take what is written
}

// open opens the ledger for s.
func (p *program) open(ctx context.Context, s *sender, f paceFlags) (*daemon, error) {
	ledger, err := p.ledger(ctx)
	if err != nil {
		return nil, err
	}
	d := &daemon{sender: s, ledger: ledger}
	s.Ledger = counted{ledger, d}
	if err := f.set(s.Dispatcher, ledger); err != nil {
		return nil, errors.Join(err, ledger.Close())
	}
	return d, nil
}

// closeTime is how long it may take to close a ledger. Who still uses it then hangs.
const closeTime = 500 * time.Millisecond

// close closes the ledger.
func (d *daemon) close() {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = d.ledger.Close() // what was saved is saved
	}()
	t := time.NewTimer(closeTime)
	defer t.Stop()
	select {
	case <-closed:
	case <-t.C:
	}
}

// watch makes the numbers; queue says how the queue does, nil where there is none.
func (d *daemon) watch(queue func() consumer.Stats) {
	d.metrics = dispatchserver.NewMetrics(version(), d.Pace.State, queue)
	d.requests = func(request string, err error) {
		result := string(provision.ClassOf(err))
		if err == nil {
			result = "ok"
		}
		d.metrics.Requested(request, result)
	}
}

// deliver is the sender's, counted.
func (d *daemon) deliver(ctx context.Context, job provision.Job) (dispatch.Result, error) {
	result, err := d.sender.deliver(ctx, job)
	outcome := string(dispatch.OutcomeOf(result.Run, err))
	if result.Recorded && err == nil {
		outcome = "recorded"
	}
	d.metrics.Dispatched(outcome)
	return result, err
}

// config is what the routes need that consume and serve have in common.
func (d *daemon) config(key string, log *slog.Logger) dispatchserver.Config {
	return dispatchserver.Config{
		Key: key, Ledger: d.Ledger, Refusals: d.ledger, Limits: d.limits, Metrics: d.metrics, Log: log,
		Ready: func(ctx context.Context) error {
			if err := d.Pace.Refresh(ctx); err != nil { // the ledger has to answer
				return err
			}
			if err := d.write(ctx); err != nil {
				return err
			}
			return d.source.probe(ctx, d.Pace)
		},
	}
}

// wroteTime is how long a ledger that has taken what was written is believed to: who asks
// whether we are ready bears no key, and each time costs the disk something.
const wroteTime = 10 * time.Second

// write is an error while nothing can be written to the ledger: its disk is full, or its
// server has become one that is only read from.
func (d *daemon) write(ctx context.Context) error {
	if at := d.wrote.Load(); at != nil && time.Since(*at) < wroteTime {
		return nil
	}
	t, err := d.ledger.LoadTally(ctx)
	if err == nil {
		_, err = d.ledger.SaveTally(ctx, t) // as it was; if another has come first, that could be written
	}
	if err == nil {
		now := time.Now()
		d.wrote.Store(&now)
	}
	return err
}

// limitsTime is how long it may take to hear what others have sent.
const limitsTime = time.Second

// limits says how the limits stand, as far as the ledger tells.
func (d *daemon) limits(ctx context.Context) dispatch.PaceState {
	ctx, cancel := context.WithTimeout(ctx, limitsTime)
	defer cancel()
	if err := d.Pace.Refresh(ctx); err != nil {
		d.metrics.LedgerFailed()
	}
	return d.Pace.State()
}

// counted is a ledger whose failures are counted.
type counted struct {
	dispatch.Ledger
	d *daemon
}

func (c counted) Load(ctx context.Context, jobID string) (dispatch.Record, error) {
	r, err := c.Ledger.Load(ctx, jobID)
	return r, c.count(ctx, err)
}

func (c counted) Save(ctx context.Context, r dispatch.Record) (bool, error) {
	ok, err := c.Ledger.Save(ctx, r)
	return ok, c.count(ctx, err)
}

func (c counted) count(ctx context.Context, err error) error {
	if err != nil && ctx.Err() == nil {
		c.d.metrics.LedgerFailed()
	}
	return err
}

// version is that of the module, and of the commit where it was built from one.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && v == "(devel)" {
			v = s.Value
		}
	}
	return v
}

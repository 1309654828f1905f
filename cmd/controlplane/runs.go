package main

import (
	"context"
	"errors"

	"github.com/pregoi/provision-tenant/internal/server"
	"github.com/pregoi/provision-tenant/internal/store"
)

// runs is who starts runs, and who knows how they stand.
type runs struct {
	about  string                                                          // for the log
	start  trigger                                                         // nil where nobody does from here
	look   func(ctx context.Context, j store.Job) (server.RunState, error) // nil where nobody can
	ledger openLedger                                                      // nil for none
}

// newRuns opens what cfg says. Its owner closes it.
func newRuns(ctx context.Context, cfg config, t target) (*runs, error) {
	w, known, err := cfg.trigger.remote(t)
	if err != nil {
		return nil, err
	}
	r := &runs{about: "not started from here"}
	if known {
		r.look = look(w)
	}
	switch cfg.trigger.kind {
	case dispatcher:
		d, err := newDispatcher(cfg.trigger.dispatcherURL, cfg.trigger.dispatcherKey)
		if err != nil {
			return nil, err
		}
		r.about, r.start = "the dispatcher at "+d.url, d.trigger
	case queue:
		r.about, r.start = "the Cloudflare queue "+cfg.trigger.queueID, queueTrigger(cfg.trigger)
	default:
		if known {
			if r.ledger, err = cfg.database.ledger(ctx); err != nil {
				return nil, err
			}
			r.about = w.String()
			if r.start, err = inProcessTrigger(w, r.ledger, t.pace); err != nil {
				return nil, errors.Join(err, r.Close())
			}
		}
	}
	return r, nil
}

// Close closes the ledger.
func (r *runs) Close() error {
	if r.ledger == nil {
		return nil
	}
	return r.ledger.Close()
}

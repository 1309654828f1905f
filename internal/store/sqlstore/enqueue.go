package sqlstore

import (
	"context"
	"strconv"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// A flight is an idempotency key that is being decided on.
type flight struct{ scope, value string }

// Enqueue implements [store.Store].
func (db *DB) Enqueue(ctx context.Context, o store.Order) (store.Receipt, error) {
	if key := (flight{o.Key.Scope, o.Key.Value}); key.value != "" {
		if !db.depart(key) {
			return store.Receipt{}, &store.InFlightError{}
		}
		defer db.land(key)
	}
	w := &write{ctx: ctx, order: &o, done: make(chan struct{})}
	if err := db.submit(w); err != nil {
		return store.Receipt{}, db.classify("enqueue", err)
	}
	return w.receipt, nil
}

// depart reports whether nobody else in this process has the key.
func (db *DB) depart(key flight) bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.inFlight[key] {
		return false
	}
	db.inFlight[key] = true
	return true
}

func (db *DB) land(key flight) {
	db.mu.Lock()
	defer db.mu.Unlock()
	delete(db.inFlight, key)
}

// claim refuses the orders whose keys another process is deciding on, and returns the others.
func (db *DB) claim(ctx context.Context, t *turn, orders []*write) (free []*write, err error) {
	var keyed []*write
	var keys []string
	for _, w := range orders {
		w.err, w.receipt = nil, store.Receipt{}
		if k := w.order.Key; k.Value != "" && db.backend.Shared() {
			keyed = append(keyed, w)
			keys = append(keys, strconv.Quote(k.Scope)+k.Value)
		}
	}
	if len(keys) == 0 {
		return orders, nil
	}
	taken, err := db.backend.Claim(ctx, t.Tx, keys)
	if err != nil {
		return nil, err
	}
	for i, w := range keyed {
		if taken[i] {
			w.err = &store.InFlightError{}
		}
	}
	for _, w := range orders {
		if w.err == nil {
			free = append(free, w)
		}
	}
	return free, nil
}

// An answered is what was answered under a key.
type answered struct {
	key    flight
	hash   string
	jobID  string
	answer []byte
}

// replay answers the orders whose keys have been seen, and returns the others.
func (t *turn) replay(ctx context.Context, orders []*write) (fresh []*write, err error) {
	var keys List
	for _, w := range orders {
		if k := w.order.Key; k.Value != "" {
			keys = append(keys, k.Value)
		}
	}
	if len(keys) == 0 {
		return orders, nil
	}
	// Those of other scopes are few: a key is made so that nobody else has it.
	list, err := all(ctx, t, `SELECT k.scope, k.key, k.hash, k.job_id, k.answer FROM {$1} names CROSS JOIN idempotency_keys k
		WHERE k.key = names.value`, []any{keys},
		func(r Rows) (a answered, err error) {
			err = r.Scan(&a.key.scope, &a.key.value, &a.hash, &a.jobID, &a.answer)
			return a, err
		})
	seen := map[flight]answered{}
	for _, a := range list {
		seen[a.key] = a
	}
	for _, w := range orders {
		a, ok := seen[flight{w.order.Key.Scope, w.order.Key.Value}]
		switch {
		case err != nil:
		case !ok:
			fresh = append(fresh, w)
		case a.hash != w.order.Key.Hash:
			w.err = &provision.Error{Class: provision.Invalid,
				Text: "this Idempotency-Key was used for another request",
				Next: "send the request of then again, or use a new key"}
		default:
			w.receipt = store.Receipt{Answer: a.answer, Replayed: true}
			w.receipt.Job, err = job(ctx, t, a.jobID)
		}
	}
	return fresh, err
}

// SlugOwner implements [store.Store].
func (db *DB) SlugOwner(ctx context.Context, slug string) (string, error) {
	owner, err := one(ctx, db.backend, "SELECT tenant_id FROM tenants_master WHERE subdomain_slug = $1", []any{slug}, scan[string])
	if err != nil || owner == nil {
		return "", db.classify("slug "+slug, err)
	}
	return *owner, nil
}

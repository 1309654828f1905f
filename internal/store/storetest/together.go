package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// inFlight asks again while the first request is being decided.
func inFlight(t *testing.T, s store.Store) {
	o := order("acme")
	o.Key = store.Key{Scope: "a", Value: "k", Hash: "h"}
	inside, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	o.Decide = func(w store.World) placement.Decision {
		once.Do(func() { close(inside); <-release })
		return decide(placement.Basic)(w)
	}
	done := make(chan error)
	go func() {
		_, err := s.Enqueue(t.Context(), o)
		done <- err
	}()
	<-inside
	_, err := s.Enqueue(t.Context(), o)
	if !errors.As(err, new(*store.InFlightError)) {
		t.Errorf("the same key meanwhile: %v, want an InFlightError", err)
	}
	wantClass(t, "the same key meanwhile", err, provision.Conflict)
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if r, err := s.Enqueue(t.Context(), o); err != nil || !r.Replayed {
		t.Errorf("the same key after it: %+v, %v", r, err)
	}
}

// identical sends one order a hundred times to two processes.
func identical(t *testing.T, open Database) {
	both := []store.Store{open(t), open(t)}
	var mu sync.Mutex
	answers := map[string]int{}
	made := 0
	atOnce(100, func(i int) {
		o := order("acme")
		o.JobID, o.Key = fmt.Sprint("job_", i), store.Key{Scope: "a", Value: "k", Hash: "h"}
		r, err := both[i%2].Enqueue(t.Context(), o)
		if errors.As(err, new(*store.InFlightError)) {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			t.Error(err)
		}
		answers[string(r.Answer)]++
		if !r.Replayed {
			made++
		}
	})
	if len(answers) != 1 || made != 1 {
		t.Errorf("%d orders were taken, with the answers %v", made, answers)
	}
	if list, err := both[0].Jobs(t.Context(), store.Filter{}); err != nil || len(list) != 1 {
		t.Errorf("%d jobs, %v, want 1", len(list), err)
	}
}

// conflicting sends a hundred orders of one tenant, under keys of their own.
func conflicting(t *testing.T, open Database) {
	both := []store.Store{open(t), open(t)}
	var mu sync.Mutex
	var taken []string
	told := map[string]int{}
	atOnce(100, func(i int) {
		o := order("acme")
		o.JobID, o.Key = fmt.Sprint("job_", i), store.Key{Scope: "a", Value: fmt.Sprint(i), Hash: "h"}
		r, err := both[i%2].Enqueue(t.Context(), o)
		mu.Lock()
		defer mu.Unlock()
		if active := (*store.ActiveJobError)(nil); errors.As(err, &active) {
			told[active.Job.ID]++
		} else if err != nil {
			t.Error(err)
		} else {
			taken = append(taken, r.Job.ID)
		}
	})
	if len(taken) != 1 || told[taken[0]] != 99 {
		t.Errorf("the orders %v were taken, and the others were told of %v", taken, told)
	}
}

func moved(t *testing.T, s store.Store) {
	mustNode(t, s, "n1")
	o := order("acme")
	o.Snapshot = "of another world"
	_, err := s.Enqueue(t.Context(), o)
	wantClass(t, "another snapshot", err, provision.Conflict)
	var e *store.MovedError
	if !errors.As(err, &e) || e.Decision.Placement.TargetServerID != "n1" || e.Decision.Snapshot == "" {
		t.Fatalf("another snapshot: %v, want a MovedError with the decision", err)
	}
	if owner, err := s.SlugOwner(t.Context(), "acme"); owner != "" || err != nil {
		t.Errorf("the slug of a refused order belongs to %q, %v", owner, err)
	}
	o.Snapshot = e.Decision.Snapshot
	if j := mustEnqueue(t, s, o); j.TargetServerID != "n1" {
		t.Errorf("the job is for %q", j.TargetServerID)
	}
	o = order("beta")
	o.Snapshot = e.Decision.Snapshot
	_, err = s.Enqueue(t.Context(), o)
	wantClass(t, "a job is on its way to the node since", err, provision.Conflict)
}

// together enqueues the orders while the store is busy, so that they are decided together.
func together(t *testing.T, s store.Store, orders []store.Order) []error {
	t.Helper()
	inside, release := make(chan struct{}), make(chan struct{})
	first := order("first")
	first.Decide = func(w store.World) placement.Decision {
		close(inside)
		<-release
		return decide(placement.Basic)(w)
	}
	errs := make([]error, len(orders))
	var wg sync.WaitGroup
	wg.Go(func() { mustEnqueue(t, s, first) })
	<-inside
	var asked sync.WaitGroup
	for i, o := range orders {
		asked.Add(1)
		wg.Go(func() {
			asked.Done()
			_, errs[i] = s.Enqueue(t.Context(), o)
		})
	}
	asked.Wait()
	close(release)
	wg.Wait()
	return errs
}

// refusedTogether refuses one order of several that are decided together.
func refusedTogether(t *testing.T, s store.Store) {
	mustNode(t, s, "n1")
	var orders []store.Order
	for i := range 8 {
		orders = append(orders, order(fmt.Sprint("tenant", i)))
	}
	orders[3].Snapshot = "of another world"
	orders[5].Answer = func(store.Job) ([]byte, error) { return nil, errors.New("no answer") }
	orders[6].Decide = func(store.World) placement.Decision { panic("a bug") }
	orders[7].Answer = func(store.Job) ([]byte, error) { panic("a bug") }
	for i, err := range together(t, s, orders) {
		if refused := i == 3 || i >= 5; (err != nil) != refused {
			t.Errorf("order %d: %v", i, err)
		}
	}
	if list, err := s.Jobs(t.Context(), store.Filter{}); err != nil || len(list) != 5 {
		t.Errorf("%d jobs, %v, want 5", len(list), err)
	}
	_, err := s.Job(t.Context(), "job_tenant3")
	wantClass(t, "the job of a refused order", err, provision.NotFound)
	for _, i := range []int{3, 5, 6, 7} {
		mustEnqueue(t, s, order(fmt.Sprint("tenant", i)))
	}
	if n := placed(t, s)["n1"]; n.Tenants != 2 {
		t.Errorf("%d tenants on the node, want 2", n.Tenants)
	}
}

// failedTogether makes one order of several fail in the database.
func failedTogether(t *testing.T, s store.Store) {
	mustNode(t, s, "n1")
	mustEnqueue(t, s, order("taken"))
	var orders []store.Order
	for i := range 8 {
		orders = append(orders, order(fmt.Sprint("tenant", i)))
	}
	orders[0].JobID = "job_taken"
	for i, err := range together(t, s, orders) {
		if (err != nil) != (i == 0) {
			t.Errorf("order %d: %v", i, err)
		}
	}
	if owner, err := s.SlugOwner(t.Context(), "tenant0"); owner != "" || err != nil {
		t.Errorf("the slug of a failed order belongs to %q, %v", owner, err)
	}
	if n := placed(t, s)["n1"]; n.Tenants != 2 {
		t.Errorf("%d tenants on the node, want 2", n.Tenants)
	}
}

// gone gives up before its order is begun.
func gone(t *testing.T, s store.Store) {
	inside, release := make(chan struct{}), make(chan struct{})
	first := order("first")
	first.Decide = func(w store.World) placement.Decision {
		close(inside)
		<-release
		return decide(placement.Basic)(w)
	}
	var wg sync.WaitGroup
	wg.Go(func() { mustEnqueue(t, s, first) })
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Enqueue(ctx, order("acme"))
	wantClass(t, "Enqueue for one who has gone", err, provision.Cancelled)
	close(release)
	wg.Wait()
	for range 20 { // also when the store has nothing else to do
		_, err := s.Enqueue(ctx, order("acme"))
		wantClass(t, "Enqueue for one who has gone", err, provision.Cancelled)
	}
	_, err = s.Job(t.Context(), "job_acme")
	wantClass(t, "the job of one who has gone", err, provision.NotFound)
}

// closed asks after Close.
func closed(t *testing.T, s store.Store) {
	mustEnqueue(t, s, order("acme"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := s.Enqueue(t.Context(), order("beta"))
	wantClass(t, "Enqueue after Close", err, provision.Busy)
}

package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

func enqueueStores(t *testing.T, s store.Store) {
	o := order("acme")
	o.Tier, o.Decide = placement.Enterprise, decide(placement.Enterprise)
	r, err := s.Enqueue(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	want := store.Job{
		Job: provision.Job{ID: "job_acme", TenantID: "acme", Region: placement.SG, CreateNewServer: true, Dedicated: true,
			SubdomainSlug: "acme", CanonicalHostname: "acme.example.com", TraceID: "trace_acme"},
		Status: provision.JobPending, Tier: placement.Enterprise, Reason: placement.DedicatedTier,
		Attempt: 1, CreatedAt: now, UpdatedAt: now,
	}
	if diff := cmp.Diff(want, r.Job); diff != "" {
		t.Errorf("Enqueue's job (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, mustJob(t, s, "job_acme")); diff != "" {
		t.Errorf("Job (-want +got):\n%s", diff)
	}
	if got, want := string(r.Answer), `{"job_id":"job_acme"}`; got != want {
		t.Errorf("answer = %s, want %s", got, want)
	}
	log, err := s.Audit(t.Context(), "job_acme")
	if err != nil || len(log) != 1 || log[0].Action != "enqueue" || log[0].Actor != "test" || !log[0].At.Equal(now) {
		t.Fatalf("Audit = %+v, %v, want one entry of the enqueue", log, err)
	}
	var d struct {
		Reason placement.Reason `json:"decision_reason"`
	}
	if err := json.Unmarshal(log[0].Detail, &d); err != nil || d.Reason != placement.DedicatedTier {
		t.Errorf("audit detail %s, %v, want the decision", log[0].Detail, err)
	}
	_, err = s.Job(t.Context(), "job_other")
	wantClass(t, "Job of an unknown id", err, provision.NotFound)
}

func idempotency(t *testing.T, s store.Store) {
	keyed := func(job, scope, hash string) store.Order {
		o := order("acme")
		o.JobID, o.Key = job, store.Key{Scope: scope, Value: "k1", Hash: hash}
		return o
	}
	first, err := s.Enqueue(t.Context(), keyed("job_1", "a", "h1"))
	if err != nil || first.Replayed {
		t.Fatalf("first order: %+v, %v", first, err)
	}
	again, err := s.Enqueue(t.Context(), keyed("job_2", "a", "h1"))
	if err != nil || !again.Replayed || string(again.Answer) != string(first.Answer) || again.Job.ID != "job_1" {
		t.Errorf("the order again: %+v, %v, want the answer of the first", again, err)
	}
	_, err = s.Enqueue(t.Context(), keyed("job_3", "a", "h2"))
	wantClass(t, "another order under the key", err, provision.Invalid)
	_, err = s.Enqueue(t.Context(), keyed("job_4", "b", "h1"))
	wantClass(t, "the key in another scope is another key", err, provision.Conflict)

	// What was refused is not remembered.
	busy := order("beta")
	busy.Slug, busy.Key = "acme", store.Key{Scope: "a", Value: "k2", Hash: "h"}
	_, err = s.Enqueue(t.Context(), busy)
	wantClass(t, "slug taken", err, provision.Conflict)
	busy.Decide = func(store.World) placement.Decision { panic("not reached") }
	_, err = s.Enqueue(t.Context(), busy)
	wantClass(t, "slug still taken", err, provision.Conflict)
	if owner, err := s.SlugOwner(t.Context(), "acme"); owner != "acme" || err != nil {
		t.Errorf("SlugOwner = %q, %v, want acme", owner, err)
	}
}

func oneActiveJob(t *testing.T, s store.Store) {
	first := mustEnqueue(t, s, order("acme"))
	o := order("acme")
	o.JobID = "job_second"
	_, err := s.Enqueue(t.Context(), o)
	wantClass(t, "a second order", err, provision.Conflict)
	var active *store.ActiveJobError
	if !errors.As(err, &active) || active.Job.ID != first.ID {
		t.Errorf("a second order: %v, want an ActiveJobError with %s", err, first.ID)
	}
	if err := s.Abandon(t.Context(), first.ID, errors.New("no"), now); err != nil {
		t.Fatal(err)
	}
	if j := mustEnqueue(t, s, o); j.ID != "job_second" {
		t.Errorf("an order after the end got %s", j.ID)
	}
}

// newTenants are asked for by those who have shown no right to one that there is.
func newTenants(t *testing.T, s store.Store) {
	o := order("acme")
	o.New, o.Key = true, store.Key{Scope: "a", Value: "k", Hash: "h"}
	first := mustEnqueue(t, s, o)
	if r, err := s.Enqueue(t.Context(), o); err != nil || !r.Replayed || r.Job.ID != first.ID {
		t.Errorf("the order again: %+v, %v", r, err)
	}
	for _, status := range []provision.JobStatus{provision.JobPending, provision.JobFailed} {
		bring(t, s, first.ID, "acme", status)
		o.JobID, o.Key.Value = "job_2", "k2"
		_, err := s.Enqueue(t.Context(), o)
		wantClass(t, "a tenant that there is", err, provision.Conflict)
		if errors.As(err, new(*store.ActiveJobError)) {
			t.Errorf("a stranger is told of the job: %v", err)
		}
	}
}

func slugs(t *testing.T, s store.Store) {
	free := order("a1")
	free.Slug, free.Slugs = "", []string{"first", "second"}
	if j := mustEnqueue(t, s, free); j.SubdomainSlug != "first" || j.CanonicalHostname != "first.example.com" {
		t.Errorf("slug %q of %s, want first", j.SubdomainSlug, j.CanonicalHostname)
	}
	free.TenantID, free.JobID = "a2", "job_a2"
	if j := mustEnqueue(t, s, free); j.SubdomainSlug != "second" {
		t.Errorf("slug %q, want second: the first is taken", j.SubdomainSlug)
	}
	free.TenantID, free.JobID = "a3", "job_a3"
	_, err := s.Enqueue(t.Context(), free)
	wantClass(t, "all slugs taken", err, provision.Conflict)
	if owner, err := s.SlugOwner(t.Context(), "third"); owner != "" || err != nil {
		t.Errorf("SlugOwner of a free one = %q, %v", owner, err)
	}
}

func slugRace(t *testing.T, s store.Store) {
	var won int
	var mu sync.Mutex
	atOnce(10, func(i int) {
		o := order(fmt.Sprint("tenant", i))
		o.Slug = "wanted"
		_, err := s.Enqueue(t.Context(), o)
		if err != nil {
			wantClass(t, "a loser", err, provision.Conflict)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		won++
	})
	if won != 1 {
		t.Errorf("%d tenants got the slug, want 1", won)
	}
}

func tenantReturns(t *testing.T, s store.Store) {
	mustEnqueue(t, s, order("acme"))
	done := provision.Completion{JobID: "job_acme", TenantID: "acme", Status: provision.JobCompleted, NodeID: "n1"}
	if _, _, err := s.Complete(t.Context(), done, now); err != nil {
		t.Fatal(err)
	}
	o := order("acme")
	o.JobID, o.Slug, o.Slugs, o.Now = "job_2", "", []string{"other"}, now.Add(time.Hour)
	o.Decide = func(w store.World) placement.Decision {
		if w.At != "n1" {
			t.Errorf("the tenant is at %q, want n1", w.At)
		}
		return decide(placement.Basic)(w)
	}
	if j := mustEnqueue(t, s, o); j.SubdomainSlug != "acme" {
		t.Errorf("slug %q, want the one it has", j.SubdomainSlug)
	}
	if err := s.Abandon(t.Context(), "job_2", errors.New("no"), now); err != nil {
		t.Fatal(err)
	}
	o.JobID, o.Slug = "job_3", "other"
	_, err := s.Enqueue(t.Context(), o)
	wantClass(t, "another slug for the tenant", err, provision.Conflict)
}

// lastPlace lets ten tenants ask two processes at once, where two have room.
func lastPlace(t *testing.T, open Database) {
	both := []store.Store{open(t), open(t)}
	mustNode(t, both[0], "n1")
	var mu sync.Mutex
	n := 0
	atOnce(10, func(i int) {
		r, err := both[i%2].Enqueue(t.Context(), order(fmt.Sprint("tenant", i)))
		if err != nil {
			t.Errorf("Enqueue: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		if r.Job.TargetServerID == "n1" {
			n++
		}
	})
	if n != 2 {
		t.Errorf("%d tenants placed on a node with room for 2", n)
	}
	for i, s := range both {
		mustNode(t, s, fmt.Sprint("n", 5+i)) // so that it sees what the other has done
		if n := placed(t, s)["n1"]; n.Tenants != 2 {
			t.Errorf("store %d sees %d tenants on the node", i, n.Tenants)
		}
	}
}

func atOnce(n int, do func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}

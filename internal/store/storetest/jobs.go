package storetest

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

func listing(t *testing.T, s store.Store) {
	for i, tenant := range []string{"a", "b", "c"} {
		o := order(tenant)
		o.Now = now.Add(time.Duration(i) * time.Second)
		mustEnqueue(t, s, o)
	}
	if err := s.Dispatched(t.Context(), "job_b", store.Run{}, now); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		filter store.Filter
		want   []string
	}{
		{store.Filter{}, []string{"job_c", "job_b", "job_a"}},
		{store.Filter{Limit: 2}, []string{"job_c", "job_b"}},
		{store.Filter{Status: provision.JobPending}, []string{"job_c", "job_a"}},
		{store.Filter{TenantID: "b"}, []string{"job_b"}},
		{store.Filter{TenantID: "b", Status: provision.JobPending}, nil},
	} {
		list, err := s.Jobs(t.Context(), test.filter)
		var got []string
		for _, j := range list {
			got = append(got, j.ID)
		}
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("Jobs(%+v): %v (-want +got):\n%s", test.filter, err, diff)
		}
	}
}

// states walks every job from every state to every other.
func states(t *testing.T, s store.Store) {
	for _, test := range []struct {
		from, to provision.JobStatus
		want     provision.JobStatus
	}{
		{provision.JobPending, provision.JobDispatched, provision.JobDispatched},
		{provision.JobPending, provision.JobRunning, provision.JobRunning},
		{provision.JobPending, provision.JobCompleted, provision.JobCompleted},
		{provision.JobDispatched, provision.JobRunning, provision.JobRunning},
		{provision.JobDispatched, provision.JobFailed, provision.JobFailed},
		{provision.JobRunning, provision.JobDispatched, provision.JobRunning},
		{provision.JobRunning, provision.JobCompleted, provision.JobCompleted},
		{provision.JobRunning, provision.JobCancelled, provision.JobCancelled},
		{provision.JobCompleted, provision.JobDispatched, provision.JobCompleted},
		{provision.JobCompleted, provision.JobRunning, provision.JobCompleted},
		{provision.JobCompleted, provision.JobFailed, provision.JobCompleted},
		{provision.JobFailed, provision.JobRunning, provision.JobFailed},
		{provision.JobFailed, provision.JobCancelled, provision.JobFailed},
		{provision.JobFailed, provision.JobCompleted, provision.JobFailed},
		{provision.JobCancelled, provision.JobCompleted, provision.JobCancelled},
		{provision.JobFailed, provision.JobPending, provision.JobPending},
		{provision.JobCancelled, provision.JobPending, provision.JobPending},
	} {
		tenant := string("from-" + test.from + "-to-" + test.to)
		id := mustEnqueue(t, s, order(tenant)).ID
		bring(t, s, id, tenant, test.from)
		bring(t, s, id, tenant, test.to)
		if got := mustJob(t, s, id).Status; got != test.want {
			t.Errorf("from %s to %s: job is %s, want %s", test.from, test.to, got, test.want)
		}
		if want := test.to == test.want; store.CanMove(test.from, test.to) != want {
			t.Errorf("CanMove(%s, %s) = %t, want %t", test.from, test.to, !want, want)
		}
		wantLog(t, s, id, test.want)
	}
}

// wantLog checks that the last entry of a job's log is its way to the state.
func wantLog(t *testing.T, s store.Store, id string, state provision.JobStatus) {
	t.Helper()
	log, err := s.Audit(t.Context(), id)
	if err != nil || len(log) < 2 {
		t.Fatalf("Audit(%s) = %v, %v", id, log, err)
	}
	var d struct{ From, To provision.JobStatus }
	if err := json.Unmarshal(log[len(log)-1].Detail, &d); err != nil || d.To != state || log[len(log)-1].Action != "status" {
		t.Errorf("the last entry of %s is %+v, want one to %s", id, log[len(log)-1], state)
	}
}

// bring reports what would move a job to a state.
func bring(t *testing.T, s store.Store, id, tenant string, to provision.JobStatus) {
	t.Helper()
	var err error
	switch to {
	case provision.JobPending:
		if mustJob(t, s, id).Status != to {
			_, err = s.Retry(t.Context(), id, "test", now)
		}
	case provision.JobDispatched:
		err = s.Dispatched(t.Context(), id, store.Run{ID: "1"}, now)
	case provision.JobRunning:
		e := event(id, tenant, "resolve_node", provision.Started)
		e.ID += string(mustJob(t, s, id).Status) // a new one each time
		_, err = s.AddEvents(t.Context(), []provision.Event{e}, now)
	case provision.JobCompleted, provision.JobFailed, provision.JobCancelled:
		_, _, err = s.Complete(t.Context(), provision.Completion{JobID: id, TenantID: tenant, Status: to}, now)
	}
	if err != nil {
		t.Fatalf("bring %s to %s: %v", id, to, err)
	}
}

func completions(t *testing.T, s store.Store) {
	mustEnqueue(t, s, order("acme"))
	c := provision.Completion{JobID: "job_acme", TenantID: "acme", Status: provision.JobCompleted,
		NodeID: "n1", Host: "203.0.113.7", Stack: "sg", Hostname: "acme.example.com", RunURL: "https://example.com/1"}

	other := c
	other.TenantID = "other"
	_, _, err := s.Complete(t.Context(), other, now)
	wantClass(t, "another tenant's job", err, provision.Conflict)
	other.TenantID, other.JobID = "acme", "job_nobody"
	_, _, err = s.Complete(t.Context(), other, now)
	wantClass(t, "an unknown job", err, provision.NotFound)
	other = c
	other.Status = provision.JobRunning
	_, _, err = s.Complete(t.Context(), other, now)
	wantClass(t, "no end", err, provision.Invalid)

	j, refused, err := s.Complete(t.Context(), c, now)
	if err != nil || refused != "" || j.Status != provision.JobCompleted || j.NodeID != "n1" || j.Host != c.Host ||
		j.Stack != "sg" || j.RunURL != c.RunURL || !j.EndedAt.Equal(now) {
		t.Errorf("Complete = %+v, %q, %v", j, refused, err)
	}
	again, refused, err := s.Complete(t.Context(), c, now.Add(time.Hour))
	if diff := cmp.Diff(j, again); err != nil || refused == "" || diff != "" {
		t.Errorf("the same again: %q, %v (-first +again):\n%s", refused, err, diff)
	}
	if err := s.Abandon(t.Context(), j.ID, errors.New("late"), now); err != nil {
		t.Fatal(err)
	}
	if err := s.Dispatched(t.Context(), j.ID, store.Run{ID: "42", URL: "https://example.com/42", Doubt: "?"}, now); err != nil {
		t.Fatal(err)
	}
	if late := mustJob(t, s, j.ID); late.Status != provision.JobCompleted || late.Error != "" || late.RunURL != c.RunURL {
		t.Errorf("abandoned and dispatched after its end: %+v", late)
	}
}

// whereabouts completes a tenant's jobs with less, or more, than the node that they were for.
func whereabouts(t *testing.T, s store.Store) {
	mustNode(t, s, "n1")
	foreign := sharedNode("n2")
	foreign.Dedicated, foreign.TenantID = true, "other"
	if _, err := s.PutNode(t.Context(), foreign, ""); err != nil {
		t.Fatal(err)
	}
	at := func() (node string) {
		t.Helper()
		o := order("acme")
		o.JobID = "job_probe"
		o.Decide = func(w store.World) placement.Decision { node = w.At; return decide(placement.Basic)(w) }
		o.Snapshot = "of no world"
		_, err := s.Enqueue(t.Context(), o)
		wantClass(t, "a probe", err, provision.Conflict)
		return node
	}
	j := mustEnqueue(t, s, order("acme"))
	c := provision.Completion{JobID: j.ID, TenantID: "acme", Status: provision.JobCompleted, NodeID: "n2"}
	_, _, err := s.Complete(t.Context(), c, now)
	wantClass(t, "a completion on another tenant's node", err, provision.Conflict)
	c.NodeID = ""
	if j, refused, err := s.Complete(t.Context(), c, now); err != nil || refused != "" || j.NodeID != "n1" {
		t.Errorf("a completion without a node: %+v, %q, %v", j, refused, err)
	}
	if node := at(); node != "n1" {
		t.Errorf("the tenant is on %q, want the job's target", node)
	}
	second := order("acme")
	second.JobID, c.JobID = "job_2", "job_2"
	second.Decide = func(w store.World) placement.Decision {
		return w.Nodes.Decide(placement.Request{Tier: placement.Enterprise}, now, placement.DefaultCandidates)
	}
	mustEnqueue(t, s, second)
	bring(t, s, "job_2", "acme", provision.JobCompleted)
	if node := at(); node != "n1" {
		t.Errorf("the tenant is on %q, want where it was", node)
	}
}

// anyText stores what runs and remotes say, whatever that is.
func anyText(t *testing.T, s store.Store) {
	const odd = "\x00 \xff \x1b"
	o := order("acme")
	o.Company = odd
	mustEnqueue(t, s, o)
	e := event("job_acme", "acme", "resolve_node", provision.Started)
	e.Message = odd
	if n, err := s.AddEvents(t.Context(), []provision.Event{e}, now); n != 1 || err != nil {
		t.Errorf("AddEvents = %d, %v", n, err)
	}
	_, refused, err := s.Complete(t.Context(), provision.Completion{JobID: "job_acme", TenantID: "acme", Status: provision.JobFailed, Error: odd}, now)
	if refused != "" || err != nil {
		t.Errorf("Complete: %q, %v", refused, err)
	}
	_, err = s.Job(t.Context(), odd)
	wantClass(t, "a job of an odd name", err, provision.NotFound)
}

package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

func runURL(id int) string {
	if id == 0 {
		return ""
	}
	return fmt.Sprintf("https://github.com/o/r/actions/runs/%d", id)
}

// report completes the job of a tenant as a run, or an attempt of it, would.
func report(t *testing.T, s store.Store, tenant string, run, attempt int, status provision.JobStatus) (j store.Job, refused string) {
	t.Helper()
	j, refused, err := s.Complete(t.Context(), provision.Completion{JobID: "job_" + tenant, TenantID: tenant, Status: status,
		NodeID: "n1", RunURL: runURL(run), Attempt: attempt}, now.Add(time.Hour))
	if err != nil {
		t.Fatalf("Complete(%s) = %v", tenant, err)
	}
	return j, refused
}

// tell sends an event of the tenant's job.
func tell(t *testing.T, s store.Store, tenant string, run, attempt int) store.Job {
	t.Helper()
	e := event("job_"+tenant, tenant, "resolve_node", provision.Started)
	e.ID, e.RunURL, e.Attempt = fmt.Sprint(tenant, "/", run, "/", attempt), runURL(run), attempt
	if _, err := s.AddEvents(t.Context(), []provision.Event{e}, now); err != nil {
		t.Fatalf("AddEvents(%s) = %v", e.ID, err)
	}
	return mustJob(t, s, e.JobID)
}

// reports holds completions against what is known of a job's run.
func reports(t *testing.T, s store.Store) {
	type run struct{ id, attempt int }
	for i, test := range []struct {
		known   run
		told    []provision.JobStatus // before
		as      run
		refused bool
	}{
		{run{100, 1}, nil, run{100, 1}, false},
		{run{100, 1}, nil, run{0, 0}, false},
		{run{100, 1}, nil, run{100, 0}, false},
		{run{0, 0}, nil, run{100, 1}, false},
		{run{100, 1}, nil, run{99, 1}, true},
		{run{100, 2}, nil, run{100, 1}, true},
		{run{100, 1}, nil, run{100, 2}, false},
		{run{100, 1}, nil, run{101, 1}, false},
		{run{100, 1}, []provision.JobStatus{provision.JobFailed}, run{100, 1}, true},
		{run{100, 1}, []provision.JobStatus{provision.JobFailed}, run{0, 0}, true},
		{run{100, 1}, []provision.JobStatus{provision.JobFailed}, run{99, 1}, true},
		{run{100, 1}, []provision.JobStatus{provision.JobFailed}, run{100, 2}, false},
		{run{100, 1}, []provision.JobStatus{provision.JobCancelled}, run{101, 1}, false},
		{run{100, 1}, []provision.JobStatus{provision.JobCompleted}, run{100, 1}, true},
		{run{100, 1}, []provision.JobStatus{provision.JobCompleted}, run{101, 1}, true},
	} {
		tenant := fmt.Sprint("tenant", i)
		mustEnqueue(t, s, order(tenant))
		tell(t, s, tenant, test.known.id, test.known.attempt)
		for _, status := range test.told {
			if _, refused := report(t, s, tenant, test.known.id, test.known.attempt, status); refused != "" {
				t.Fatalf("case %d: %s is refused: %s", i, status, refused)
			}
		}
		before := mustJob(t, s, "job_"+tenant)
		j, refused := report(t, s, tenant, test.as.id, test.as.attempt, provision.JobCompleted)
		want := provision.JobCompleted
		if test.refused {
			want = before.Status
		}
		if (refused != "") != test.refused || j.Status != want || mustJob(t, s, "job_"+tenant).Status != want {
			t.Errorf("case %d, %+v: refused %q, job is %s", i, test, refused, j.Status)
		}
	}
}

func retries(t *testing.T, s store.Store) {
	mustNode(t, s, "n1")
	mustEnqueue(t, s, order("acme"))
	_, err := s.Retry(t.Context(), "job_acme", "op", now)
	wantClass(t, "retry of a Pending job", err, provision.Conflict)
	_, err = s.Retry(t.Context(), "job_other", "op", now)
	wantClass(t, "retry of no job", err, provision.NotFound)
	if err := s.Dispatched(t.Context(), "job_acme", store.Run{ID: "100", URL: runURL(100)}, now); err != nil {
		t.Fatal(err)
	}
	tell(t, s, "acme", 100, 1)
	report(t, s, "acme", 100, 1, provision.JobFailed)
	if n := placed(t, s)["n1"]; n.Tenants != 0 {
		t.Errorf("%d tenants on the node of a failed job", n.Tenants)
	}
	j, err := s.Retry(t.Context(), "job_acme", "op", now.Add(time.Hour))
	if err != nil || j.Status != provision.JobPending || j.Attempt != 2 || j.Tries != 0 || j.RunID != "" || j.RunURL != "" ||
		j.PastRunID != "100" || !j.DispatchedAt.IsZero() || !j.StartedAt.IsZero() || !j.EndedAt.IsZero() || j.TargetServerID != "n1" {
		t.Errorf("Retry = %+v, %v", j, err)
	}
	if n := placed(t, s)["n1"]; n.Tenants != 1 {
		t.Errorf("%d tenants on the node of a job that is on its way again", n.Tenants)
	}
	log, err := s.Audit(t.Context(), "job_acme")
	if last := log[len(log)-1]; err != nil || last.Actor != "op" || last.Action != "status" {
		t.Errorf("audit of the retry: %+v, %v", last, err)
	}
	// What the first run still has to say comes too late, and so does whoever has started it.
	if err := s.Dispatched(t.Context(), "job_acme", store.Run{ID: "100", URL: runURL(100), Attempt: 1}, now); err != nil {
		t.Fatal(err)
	}
	if j := mustJob(t, s, "job_acme"); j.Status != provision.JobPending || j.RunID != "" {
		t.Errorf("the run of the attempt before made the job %s, with run %q", j.Status, j.RunID)
	}
	if j := tell(t, s, "acme", 100, 2); j.Status != provision.JobPending {
		t.Errorf("an event of the past run made the job %s", j.Status)
	}
	if _, refused := report(t, s, "acme", 100, 1, provision.JobCompleted); refused == "" {
		t.Error("the past run completed the job")
	}
	if j := tell(t, s, "acme", 101, 1); j.Status != provision.JobRunning || j.RunID != "101" {
		t.Errorf("an event of the new run: %+v", j)
	}
	report(t, s, "acme", 101, 1, provision.JobFailed)
	newer := order("acme")
	newer.JobID = "job_newer"
	mustEnqueue(t, s, newer)
	_, err = s.Retry(t.Context(), "job_acme", "op", now)
	wantClass(t, "retry beside a newer job", err, provision.Conflict)
	if err := s.Abandon(t.Context(), "job_newer", provision.Errorf(provision.Denied, "no token"), now); err != nil {
		t.Fatal(err)
	}
	if j := mustJob(t, s, "job_newer"); j.Status != provision.JobFailed || j.Error != "no token" || j.ErrorClass != provision.Denied {
		t.Errorf("abandoned job: %+v", j)
	}
	_, err = s.Retry(t.Context(), "job_acme", "op", now)
	wantClass(t, "retry of what is not the newest", err, provision.Conflict)
}

// unknownRun retries a job whose first run was not known, and has something to say after all.
func unknownRun(t *testing.T, s store.Store) {
	mustEnqueue(t, s, order("acme"))
	bring(t, s, "job_acme", "acme", provision.JobFailed)
	bring(t, s, "job_acme", "acme", provision.JobPending)
	tell(t, s, "acme", 100, 1)
	if err := s.Dispatched(t.Context(), "job_acme", store.Run{ID: "101", URL: runURL(101)}, now); err != nil {
		t.Fatal(err)
	}
	if j := mustJob(t, s, "job_acme"); j.RunID != "101" || j.RunURL != runURL(101) || j.Status != provision.JobRunning {
		t.Errorf("after the first run's event and the second's start: %+v", j)
	}
	if _, refused := report(t, s, "acme", 100, 1, provision.JobFailed); refused == "" {
		t.Error("the first run ended the second attempt")
	}
	if j, refused := report(t, s, "acme", 101, 1, provision.JobCompleted); refused != "" || j.Status != provision.JobCompleted {
		t.Errorf("the second run: %q, %+v", refused, j)
	}
}

// retryFull retries jobs of a node that has filled up meanwhile, at once for its last place.
func retryFull(t *testing.T, s store.Store) {
	mustNode(t, s, "n1")
	for _, tenant := range []string{"a", "b"} { // as many as there is room for
		mustEnqueue(t, s, order(tenant))
		bring(t, s, "job_"+tenant, tenant, provision.JobFailed)
	}
	mustEnqueue(t, s, order("c"))
	errs := make([]error, 2)
	atOnce(2, func(i int) { _, errs[i] = s.Retry(t.Context(), []string{"job_a", "job_b"}[i], "op", now) })
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Errorf("two retries for one place: %v and %v", errs[0], errs[1])
	}
	for _, err := range errs {
		if err != nil {
			wantClass(t, "a retry of a job whose node is full", err, provision.Conflict)
			if next := provision.NextAction(err); !strings.Contains(next, "enqueue-provision") {
				t.Errorf("it advises %q", next)
			}
		}
	}
	if n := placed(t, s)["n1"]; n.Tenants != 2 {
		t.Errorf("%d tenants on a node for 2", n.Tenants)
	}
}

// rerun starts runs of ended jobs again, at GitHub.
func rerun(t *testing.T, s store.Store) {
	mustNode(t, s, "n1")
	mustEnqueue(t, s, order("acme"))
	tell(t, s, "acme", 100, 1)
	report(t, s, "acme", 100, 1, provision.JobFailed)
	if j := tell(t, s, "acme", 100, 1); j.Status != provision.JobFailed {
		t.Errorf("an event after the end made the job %s", j.Status)
	}
	j := tell(t, s, "acme", 100, 2)
	if j.Status != provision.JobRunning || j.Attempt != 2 || j.RunID != "100" || j.RunAttempt != 2 || j.Error != "" || !j.EndedAt.IsZero() {
		t.Errorf("the first event of another attempt: %+v", j)
	}
	if n := placed(t, s)["n1"]; n.Tenants != 1 {
		t.Errorf("%d tenants on the node, want the one on its way", n.Tenants)
	}
	if _, refused := report(t, s, "acme", 100, 1, provision.JobCompleted); refused == "" {
		t.Error("the first attempt completed the job")
	}
	if j, refused := report(t, s, "acme", 100, 2, provision.JobCompleted); refused != "" || j.Status != provision.JobCompleted {
		t.Errorf("the second attempt: %q, %+v", refused, j)
	}

	mustEnqueue(t, s, order("beta"))
	tell(t, s, "beta", 200, 1)
	report(t, s, "beta", 200, 1, provision.JobFailed)
	second := order("beta")
	second.JobID = "job_2"
	mustEnqueue(t, s, second)
	if _, refused := report(t, s, "beta", 201, 1, provision.JobCompleted); refused == "" {
		t.Error("another run of an older job completed it")
	}
	if j := tell(t, s, "beta", 201, 1); j.Status != provision.JobFailed {
		t.Errorf("another run of an older job made it %s", j.Status)
	}
}

// rerunFull runs a job again at GitHub, which nobody here can refuse, when its node has filled
// up: the tenant is there whatever the tables say, so they say it, and the node gets no other.
func rerunFull(t *testing.T, s store.Store) {
	mustNode(t, s, "n1")
	mustEnqueue(t, s, order("a"))
	tell(t, s, "a", 100, 1)
	report(t, s, "a", 100, 1, provision.JobFailed)
	mustEnqueue(t, s, order("b"))
	mustEnqueue(t, s, order("c"))
	tell(t, s, "a", 100, 2)
	if _, refused := report(t, s, "a", 100, 2, provision.JobCompleted); refused != "" {
		t.Errorf("the run that did it was refused: %s", refused)
	}
	if n := placed(t, s)["n1"]; n.Tenants != 3 {
		t.Errorf("%+v, want the three tenants that it has", n)
	}
	if j := mustEnqueue(t, s, order("d")); j.TargetServerID != "" {
		t.Errorf("the next tenant went there, too: %+v", j)
	}
}

func stuck(t *testing.T, s store.Store) {
	at := func(minute int) time.Time { return now.Add(time.Duration(minute) * time.Minute) }
	for i, tenant := range []string{"a", "b", "c", "d"} {
		o := order(tenant)
		o.Now = at(i)
		mustEnqueue(t, s, o)
		if tenant == "d" {
			continue // Pending
		}
		if err := s.Dispatched(t.Context(), "job_"+tenant, store.Run{}, at(10+i)); err != nil {
			t.Fatal(err)
		}
	}
	e := event("job_c", "c", "resolve_node", provision.Started)
	if _, err := s.AddEvents(t.Context(), []provision.Event{e}, at(20)); err != nil {
		t.Fatal(err)
	}
	e.ID = "later"
	if _, err := s.AddEvents(t.Context(), []provision.Event{e}, at(30)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		dispatched, silent, limit int
		want                      string
	}{
		{10, 20, 9, "[]"},
		{11, 20, 9, "[job_a]"},
		{60, 20, 9, "[job_a job_b]"},
		{60, 30, 9, "[job_a job_b]"},
		{60, 31, 9, "[job_a job_b job_c]"},
		{60, 60, 2, "[job_a job_b]"},
	} {
		list, err := s.Stuck(t.Context(), at(test.dispatched), at(test.silent), test.limit)
		ids := []string{}
		for _, j := range list {
			ids = append(ids, j.ID)
		}
		if got := fmt.Sprint(ids); err != nil || got != test.want {
			t.Errorf("Stuck(%d, %d, %d) = %s, %v, want %s", test.dispatched, test.silent, test.limit, got, err, test.want)
		}
	}
}

func settled(t *testing.T, s store.Store) {
	lost := func(tenant string) provision.Completion {
		return provision.Completion{JobID: "job_" + tenant, TenantID: tenant, Status: provision.JobFailed, Error: "its run is gone", ErrorClass: provision.NotFound}
	}
	settle := func(j store.Job, want bool) {
		t.Helper()
		if changed, err := s.Settle(t.Context(), j, lost(j.TenantID), now); changed != want || err != nil {
			t.Errorf("Settle(%s, %s) = %t, %v, want %t", j.ID, j.Status, changed, err, want)
		}
	}
	mustEnqueue(t, s, order("a"))
	if err := s.Dispatched(t.Context(), "job_a", store.Run{}, now); err != nil {
		t.Fatal(err)
	}
	read := mustJob(t, s, "job_a")
	tell(t, s, "a", 100, 1)
	settle(read, false) // it has reported meanwhile
	running := mustJob(t, s, "job_a")
	e := event("job_a", "a", "pulumi_up", provision.Started)
	if _, err := s.AddEvents(t.Context(), []provision.Event{e}, now.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	settle(running, false) // it is alive
	running = mustJob(t, s, "job_a")
	settle(running, true)
	if j := mustJob(t, s, "job_a"); j.Status != provision.JobFailed || j.Error != "its run is gone" || j.ErrorClass != provision.NotFound {
		t.Errorf("settled job: %+v", j)
	}
	wantLog(t, s, "job_a", provision.JobFailed)
	settle(running, false)
	tell(t, s, "a", 101, 1) // Running, as another attempt
	settle(running, false)
	if j := mustJob(t, s, "job_a"); j.Status != provision.JobRunning || j.Attempt != 2 {
		t.Errorf("another attempt: %+v", j)
	}
}

func noted(t *testing.T, s store.Store) {
	why := provision.Errorf(provision.Busy, "nobody knows its run")
	check := func(what, want string) store.Job {
		t.Helper()
		j := mustJob(t, s, "job_a")
		if j.Error != want {
			t.Errorf("%s: %q, want %q", what, j.Error, want)
		}
		return j
	}
	note := func(j store.Job) {
		t.Helper()
		if err := s.Note(t.Context(), j, why); err != nil {
			t.Fatal(err)
		}
	}
	mustEnqueue(t, s, order("a"))
	if err := s.Dispatched(t.Context(), "job_a", store.Run{}, now); err != nil {
		t.Fatal(err)
	}
	read := mustJob(t, s, "job_a")
	note(read)
	if j := check("noted", why.Error()); j.ErrorClass != provision.Busy || !j.UpdatedAt.Equal(read.UpdatedAt) {
		t.Errorf("noted: %+v", j)
	}
	if err := s.Note(t.Context(), read, nil); err != nil {
		t.Fatal(err)
	}
	check("removed", "")
	note(read)
	tell(t, s, "a", 100, 1)
	running := check("it has reported", "")
	note(read)
	check("what was read before", "")
	note(running)
	check("noted while it runs", why.Error())
	e := event("job_a", "a", "pulumi_up", provision.Started)
	if _, err := s.AddEvents(t.Context(), []provision.Event{e}, now.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	check("it goes on", "")
	bring(t, s, "job_a", "a", provision.JobFailed)
	ended := mustJob(t, s, "job_a")
	note(ended)
	check("it has ended", ended.Error)
}

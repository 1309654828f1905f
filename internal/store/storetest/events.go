package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

func event(job, tenant, stage string, status provision.Status) provision.Event {
	return provision.Event{ID: provision.EventID(job, "1", 1, stage, status), TraceID: "trace_" + tenant, JobID: job,
		TenantID: tenant, Stage: stage, Status: status, Attempt: 1, At: now}
}

func events(t *testing.T, s store.Store) {
	first := event("job_x", "x", "resolve_node", provision.Started)
	second := event("job_x", "x", "resolve_node", provision.Succeeded)
	second.Message, second.DurationMS, second.RunURL = "node n1", 1500, "https://example.com/1"
	earlier := event("job_x", "x", "select_stack", provision.Skipped)
	earlier.At, earlier.TraceID = now.Add(-time.Second), ""
	foreign := event("job_y", "x", "resolve_node", provision.Started)

	add := func(want int, list ...provision.Event) {
		t.Helper()
		if n, err := s.AddEvents(t.Context(), list, now); n != want || err != nil {
			t.Errorf("AddEvents = %d, %v, want %d", n, err, want)
		}
	}
	add(2, first, second)
	add(0, first)
	changed := first
	changed.Message = "other"
	add(1, changed, earlier, second)
	add(1, foreign)
	foreign.TraceID = "" // the same event_id, of another job: not the one that is there
	foreign.JobID = "job_z"
	add(1, foreign)

	check := func(what string, got []provision.Event, err error, want ...provision.Event) {
		t.Helper()
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
		}
	}
	whole := store.Page{Limit: 10}
	got, _, err := s.JobEvents(t.Context(), "job_x", whole)
	check("events of the job", got, err, earlier, first, second)
	got, _, err = s.TraceEvents(t.Context(), "trace_x", whole)
	y := event("job_y", "x", "resolve_node", provision.Started)
	check("events of the trace", got, err, first, second, y)
	got, _, err = s.TraceEvents(t.Context(), "", whole)
	check("no trace", got, err)
	for page, want := range map[store.Page][]provision.Event{
		{Limit: 2}:             {earlier, first},
		{Limit: 2, Skip: 2}:    {second},
		{Limit: 2, Skip: 3}:    nil,
		{Limit: 2, Last: true}: {first, second},
		{Limit: 9, Last: true}: {earlier, first, second},
	} {
		got, total, err := s.JobEvents(t.Context(), "job_x", page)
		check(fmt.Sprintf("%+v", page), got, err, want...)
		if total != 3 {
			t.Errorf("%+v: %d in all, want 3", page, total)
		}
	}
}

func firstEvent(t *testing.T, s store.Store) {
	mustEnqueue(t, s, order("acme"))
	if err := s.Dispatched(t.Context(), "job_acme", store.Run{Doubt: "no answer"}, now); err != nil {
		t.Fatal(err)
	}
	foreign := event("job_acme", "other", "resolve_node", provision.Started)
	own := event("job_acme", "acme", "resolve_node", provision.Started)
	_, err := s.AddEvents(t.Context(), []provision.Event{own, foreign}, now)
	wantClass(t, "an event of another tenant", err, provision.Conflict)
	if got, _, err := s.JobEvents(t.Context(), "job_acme", store.Page{Limit: 1}); len(got) != 0 || err != nil {
		t.Errorf("JobEvents = %v, %v, want none of the refused", got, err)
	}
	if j := mustJob(t, s, "job_acme"); j.Status != provision.JobDispatched || j.Error != "no answer" {
		t.Errorf("job is %s and says %q after a refused event", j.Status, j.Error)
	}
	later := now.Add(time.Minute)
	own.RunURL = "https://example.com/1"
	if _, err := s.AddEvents(t.Context(), []provision.Event{own}, later); err != nil {
		t.Fatal(err)
	}
	j := mustJob(t, s, "job_acme")
	if j.Status != provision.JobRunning || !j.StartedAt.Equal(later) || j.RunURL != own.RunURL || j.Error != "" {
		t.Errorf("job after its first event: %+v", j)
	}
	if !store.Active(j.Status) {
		t.Errorf("Active(%s) = false", j.Status)
	}
}

package github_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
	sandbox "github.com/pregoi/provision-tenant/internal/sandbox/github"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// outcome is what a dispatch that ended so makes of its job.
func outcome(run github.Run, err error) dispatch.Outcome {
	return dispatch.OutcomeOf(dispatch.Run{ID: run.ID, URL: run.URL, HTMLURL: run.HTMLURL}, err)
}

// What each answer that GitHub is known to give means: whether there is a run, what kind of
// trouble it is, and what to do.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	const secondary = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
	for _, test := range []struct {
		status  int
		text    string // the message, or the whole body where it begins with a brace
		header  []string
		outcome dispatch.Outcome
		class   provision.Class
		next    string // part of the advice
	}{
		{200, `{"workflow_run_id":16000000001,"run_url":"https://api/1","html_url":"https://html/1"}`, nil, dispatch.Accepted, "", ""},
		{204, `{}`, nil, dispatch.AcceptedWithoutID, "", ""},

		{401, "Bad credentials", nil, dispatch.Rejected, provision.Denied, "GITHUB_TOKEN"},
		{401, "Requires authentication", nil, dispatch.Rejected, provision.Denied, "GITHUB_TOKEN"},
		{403, "Resource not accessible by integration", nil, dispatch.Rejected, provision.Denied, "actions: write"},
		{403, "Resource not accessible by personal access token", nil, dispatch.Rejected, provision.Denied, "actions: write"},
		{403, "Must have admin rights to Repository.", nil, dispatch.Rejected, provision.Denied, "actions: write"},
		{403, "Resource not accessible by integration", []string{"X-RateLimit-Remaining", "4999"}, dispatch.Rejected, provision.Denied, "actions: write"},
		{404, "Not Found", nil, dispatch.Rejected, provision.NotFound, "GitHub answers 404 to both"},
		{301, "Moved Permanently", []string{"Location", "https://elsewhere.example/"}, dispatch.Rejected, provision.NotFound, "has moved"},
		{302, "Found", []string{"Location", "https://elsewhere.example/"}, dispatch.Rejected, provision.NotFound, "has moved"},
		{307, "Temporary Redirect", []string{"Location", "https://elsewhere.example/"}, dispatch.Rejected, provision.NotFound, "has moved"},
		{422, "No ref found for: main", nil, dispatch.Rejected, provision.NotFound, "name a branch or tag of o/r: main is none"},
		{422, `Unexpected inputs provided: ["a","b"]`, nil, dispatch.Rejected, provision.Invalid, "declare these inputs"},
		{422, "Provided value '' for input 'flag' not in the list of allowed values", nil, dispatch.Rejected, provision.Invalid, "the type and the options"},
		{422, "Required input 'x' not provided", nil, dispatch.Rejected, provision.Invalid, "fill the input"},
		{422, "Workflow does not have 'workflow_dispatch' trigger", nil, dispatch.Rejected, provision.NotFound, "the trigger workflow_dispatch"},
		{422, "Cannot trigger a 'workflow_dispatch' on a disabled workflow", nil, dispatch.Rejected, provision.NotFound, "enable w.yml"},
		{422, "inputs are too large.", nil, dispatch.Rejected, provision.Invalid, "65535"},
		{422, "Invalid Argument - failed to parse workflow: you may only define up to 25 `inputs` for a `workflow_dispatch` event", nil, dispatch.Rejected, provision.NotFound, "GitHub cannot read it"},
		{422, "Invalid value for input 'text'", nil, dispatch.Rejected, provision.Invalid, "compare the message"},
		{400, "Problems parsing JSON", nil, dispatch.Rejected, provision.Invalid, ""},

		{403, "API rate limit exceeded for user ID 1.", []string{"X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "4102444800"}, dispatch.Limited, provision.Busy, "at the earliest"},
		{429, "API rate limit exceeded for installation ID 1.", []string{"X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "4102444800"}, dispatch.Limited, provision.Busy, "at the earliest"},
		{403, secondary, []string{"Retry-After", "60"}, dispatch.Limited, provision.Busy, "in 60 seconds"},
		{403, secondary, []string{"Retry-After", ""}, dispatch.Limited, provision.Busy, "in 60 seconds"},
		{403, secondary, nil, dispatch.Limited, provision.Busy, "in 60 seconds"},
		{429, secondary, nil, dispatch.Limited, provision.Busy, "in 60 seconds"},
		{429, "Too Many Requests", nil, dispatch.Limited, provision.Busy, "in 60 seconds"},
		{403, "You have triggered an abuse detection mechanism. Please wait a few minutes before you try again.", nil, dispatch.Limited, provision.Busy, "in 60 seconds"},

		{500, "Server Error", nil, dispatch.Ambiguous, provision.Busy, "look for one"},
		{502, "Server Error", nil, dispatch.Ambiguous, provision.Busy, "look for one"},
		{503, "Service unavailable", []string{"Retry-After", "5"}, dispatch.Ambiguous, provision.Busy, "look for one"},
		{504, "We couldn't respond to your request in time. Sorry about that. Please try resubmitting your request and contact us if the problem persists.", nil, dispatch.Ambiguous, provision.Busy, "look for one"},
		{200, `{"workflow_run_id":0}`, nil, dispatch.Ambiguous, provision.Busy, "look for one"},
		{200, `{"message":"what"}`, nil, dispatch.Ambiguous, provision.Busy, "look for one"},
		{201, `{"workflow_run_id":1}`, nil, dispatch.Ambiguous, provision.Busy, "look for one"},
	} {
		body := test.text
		if !strings.HasPrefix(body, "{") {
			body = said(body)
		}
		if test.status == 204 {
			body = ""
		}
		run, err := serve(t, answer(test.status, body, test.header...)).Start(t.Context(), nil)
		if got := outcome(run, err); got != test.outcome || provision.ClassOf(err) != test.class {
			t.Errorf("%d %s: %s of class %q, want %s of class %q: %v", test.status, test.text, got, provision.ClassOf(err), test.outcome, test.class, err)
		}
		if next := provision.NextAction(err); !strings.Contains(next, test.next) {
			t.Errorf("%d %s: advice %q, want %q in it", test.status, test.text, next, test.next)
		}
	}
}

// Whatever way the answer goes lost after the run was made, the dispatch is ambiguous, and
// the run is found by its name.
func TestLost(t *testing.T) {
	t.Parallel()
	for name, fault := range sandbox.Lost(time.Minute) {
		synctest.Test(t, func(t *testing.T) {
			s := github7(sandbox.Options{}, sandbox.App{})
			w := inMemory(s.Handler(), nil)
			w.Token = "t0k3n"
			began := time.Now()
			s.Faults.Set(func(r *http.Request) standin.Action {
				if r.Method == http.MethodPost {
					return fault
				}
				return standin.Action{}
			})
			run, err := w.Start(t.Context(), inputs("j"))
			if got := outcome(run, err); got != dispatch.Ambiguous || provision.ClassOf(err) != provision.Busy {
				t.Errorf("%s: %s, %v", name, got, err)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("%s: an answer was waited for for %s", name, took)
			}
			found, ok, err := github.NewFinder(w).Find(t.Context(), "j", 0, began)
			if err != nil || !ok || len(s.Runs()) != 1 || found.ID != s.Runs()[0].ID {
				t.Errorf("%s: Find = %+v, %t, %v among %d runs", name, found, ok, err, len(s.Runs()))
			}
		})
	}
}

// A server that refuses to name runs is asked once in a process, and its refusal leaves the
// second dispatch to whoever keeps the pace.
func TestMemory(t *testing.T) {
	t.Parallel()
	s := github7(sandbox.Options{RunDetails: sandbox.DetailsRefused}, sandbox.App{})
	posts := 0
	s.Faults.Set(func(r *http.Request) standin.Action {
		if r.Method == http.MethodPost {
			posts++
		}
		return standin.Action{}
	})
	w := inMemory(s.Handler(), nil)
	w.Token, w.Memory = "t0k3n", &github.Memory{}
	_, err := w.Start(t.Context(), inputs("a"))
	var again interface{ Repeat() bool }
	if !errors.As(err, &again) || !again.Repeat() || outcome(github.Run{}, err) != dispatch.Limited || posts != 1 || len(s.Runs()) != 0 {
		t.Errorf("the first: %v after %d requests, %d runs", err, posts, len(s.Runs()))
	}
	for _, id := range []string{"a", "b"} {
		if run, err := w.Start(t.Context(), inputs(id)); err != nil || run.ID != 0 {
			t.Errorf("then: %+v, %v", run, err)
		}
	}
	if posts != 3 || len(s.Runs()) != 2 {
		t.Errorf("%d requests and %d runs, want 3 and 2", posts, len(s.Runs()))
	}
	if req, err := w.Request(t.Context(), nil); err != nil || req.ContentLength != int64(len(`{"ref":"main"}`+"\n")) {
		t.Errorf("Request asks for details: %v", err)
	}
}

// A file that has not changed costs nothing of the limit.
func TestReadAgain(t *testing.T) {
	t.Parallel()
	limits := sandbox.Unlimited()
	limits.PerHour = 2
	s := github7(sandbox.Options{Limits: limits}, sandbox.App{})
	w := inMemory(s.Handler(), nil)
	w.Token, w.Memory = "t0k3n", &github.Memory{}
	first, err := w.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first[0] ^= 1 // what was read is its reader's own
	for range 10 {
		data, err := w.Read(t.Context())
		if err != nil || data[0] != first[0]^1 || len(data) != len(first) {
			t.Fatalf("Read again: %d bytes, %v", len(data), err)
		}
	}
	w.File = "ci.yml"
	if other, err := w.Read(t.Context()); err != nil || len(other) == len(first) {
		t.Errorf("another file: %d bytes, %v", len(other), err)
	}
}

// A repository that was renamed takes the dispatch at its new place, once.
func TestRenamed(t *testing.T) {
	t.Parallel()
	s := github7(sandbox.Options{OldNames: []string{"o/old"}}, sandbox.App{})
	w := inMemory(s.Handler(), newApp(t))
	w.Repo = "o/old"
	if data, err := w.Read(t.Context()); err != nil || len(data) == 0 {
		t.Errorf("Read: %d bytes, %v", len(data), err)
	}
	run, err := w.Start(t.Context(), inputs("j"))
	if err != nil || len(s.Runs()) != 1 || s.Runs()[0].ID != run.ID {
		t.Errorf("Start = %+v, %v; %d runs", run, err, len(s.Runs()))
	}
	if p, err := w.Progress(t.Context(), run.ID); err != nil || p.Status != "queued" {
		t.Errorf("Progress = %+v, %v", p, err)
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/actions"
	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/pulumi"
)

// A recorder is the control plane's route for events, in memory.
type recorder struct {
	mu     sync.Mutex
	events []provision.Event
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	var body struct{ Events []provision.Event }
	if err := json.NewDecoder(req.Body).Decode(&body); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, body.Events...)
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
}

func server(name string) provision.Change {
	return provision.Change{Op: provision.Create, Type: "hcloud:index/server:Server", Name: name}
}

// What happens to a stack is shown as it happens, with the time it took; while nothing
// does, the log says every half minute what is being waited for.
func TestProgressLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		tr := &trace{gha: &actions.Action{Stdout: &out, Getenv: func(name string) string {
			return map[string]string{"GITHUB_ACTIONS": "true"}[name]
		}}}
		step := func(status provision.Status, took time.Duration, text string) {
			tr.Emit(provision.Event{ID: "e", Stage: "pulumi_up", Status: status, At: time.Now(), DurationMS: took.Milliseconds(), Message: text})
		}
		start := time.Now()
		step(provision.Started, 0, "")
		time.Sleep(time.Second)
		for i := range time.Duration(100) { // each a look at the lock
			tr.progress(pulumi.Progress{Doing: pulumi.Waiting, Holder: "root@h (pid 1)", Elapsed: i * 700 * time.Millisecond})
			time.Sleep(700 * time.Millisecond)
		}
		tr.progress(pulumi.Progress{Doing: pulumi.Noted, Text: "the lock is gone"})
		tr.progress(pulumi.Progress{Doing: pulumi.Started, Change: server("app")})
		tr.progress(pulumi.Progress{Doing: pulumi.Started, Change: server("db")})
		time.Sleep(2500 * time.Millisecond)
		tr.progress(pulumi.Progress{Doing: pulumi.Finished, Change: server("app"), Elapsed: 2500 * time.Millisecond})
		time.Sleep(65 * time.Second)
		tr.progress(pulumi.Progress{Doing: pulumi.Failed, Change: server("db"), Elapsed: 67500 * time.Millisecond, Text: "no ##[error]room"})
		time.Sleep(31 * time.Second)
		step(provision.Failed, time.Since(start), "no room")
		time.Sleep(time.Hour)
		want := `::group::pulumi_up
    1.0 s  waiting for 0s, the stack is locked by root@h (pid 1)
   31.0 s  waiting for 29.4s, the stack is locked by root@h (pid 1)
   61.0 s  waiting for 59.5s, the stack is locked by root@h (pid 1)
   71.0 s  the lock is gone
   71.0 s  create hcloud:index/server:Server app
   71.0 s  create hcloud:index/server:Server db
   73.5 s  create hcloud:index/server:Server app: done in 2.5s
  103.5 s  still waiting for: create hcloud:index/server:Server db (32 s)
  133.5 s  still waiting for: create hcloud:index/server:Server db (62 s)
  138.5 s  create hcloud:index/server:Server db: failed after 1m7.5s: no ## [error]room
  168.5 s  still at it
failed after 169.5 s: no room
::endgroup::
`
		if d := cmp.Diff(want, out.String()); d != "" {
			t.Errorf("log (-want +got):\n%s", d)
		}
	})
}

// The control plane hears of each resource while the step is at it: what it is and how
// long it took, and never what was said of it. There is an end to it.
func TestProgressEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard recorder
		tr := &trace{gha: &actions.Action{}, remote: controlplane.NewTracer(t.Context(), &controlplane.Client{
			URL: "http://127.0.0.1:1", Key: "key", HTTP: &http.Client{Transport: &heard},
		})}
		tr.gha.Mask("s3cr3t-name")
		step := provision.Event{ID: "job_1/7/2/pulumi_up/started", JobID: "job_1", TenantID: "acme", TraceID: "trace_1", Stage: "pulumi_up",
			Status: provision.Started, Attempt: 2, At: time.Now(), RunURL: "https://example.com/7"}
		tr.progress(pulumi.Progress{Doing: pulumi.Started, Change: server("before the step")})
		tr.Emit(step)
		tr.progress(pulumi.Progress{Doing: pulumi.Started, Change: server("app s3cr3t-name")})
		tr.progress(pulumi.Progress{Doing: pulumi.Waiting, Holder: "somebody"})
		tr.progress(pulumi.Progress{Doing: pulumi.Finished, Change: server("app s3cr3t-name"), Elapsed: 2 * time.Second})
		tr.progress(pulumi.Progress{Doing: pulumi.Failed, Change: server("db"), Elapsed: time.Second, Text: "the password is hunter2"})
		for i := range 200 {
			tr.progress(pulumi.Progress{Doing: pulumi.Started, Change: server(fmt.Sprint("n", i))})
		}
		end := step
		end.ID, end.Status = "job_1/7/2/pulumi_up/succeeded", provision.Succeeded
		tr.Emit(end)
		tr.close(t.Context())

		ids := map[string]bool{}
		for _, e := range heard.events {
			ids[e.ID] = true
			if e.JobID != "job_1" || e.TenantID != "acme" || e.TraceID != "trace_1" || e.Stage != "pulumi_up" || e.Attempt != 2 || e.RunURL == "" || e.At.IsZero() {
				t.Errorf("event %+v is not of the step", e)
			}
			if e.Status != provision.Started && e.ID != end.ID || strings.Contains(e.Message, "hunter2") || strings.Contains(e.Message, "s3cr3t") {
				t.Errorf("event %+v", e)
			}
		}
		if n := len(heard.events); n != maxLive+3 || len(ids) != n {
			t.Errorf("%d events with %d ids, want %d", n, len(ids), maxLive+3)
		}
		var texts []string
		for _, e := range heard.events[:4] {
			texts = append(texts, fmt.Sprint(e.Message, " ", e.DurationMS))
		}
		want := []string{" 0", "create hcloud:index/server:Server app *** 0", "create hcloud:index/server:Server app ***: done in 2s 2000",
			"create hcloud:index/server:Server db: failed after 1s 1000"}
		if d := cmp.Diff(want, texts); d != "" {
			t.Errorf("events (-want +got):\n%s", d)
		}
		if last := heard.events[len(heard.events)-2].Message; !strings.Contains(last, "see the run's log") {
			t.Errorf("the last live event says %q", last)
		}
	})
}

package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/dispatch/ledgertest"
	hub "github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/github"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// A desk is a sender and the repository that it sends to.
type desk struct {
	*sender
	t      *testing.T
	github *github.Server
	file   string // the workflow's path
	posts  atomic.Int32
	reads  atomic.Int32
}

func newDesk(t *testing.T, adjust func(*github.Options)) *desk {
	t.Helper()
	d := &desk{t: t}
	root := t.TempDir()
	d.file = filepath.Join(root, ".github/workflows/provision-tenant.yml")
	if err := os.MkdirAll(filepath.Dir(d.file), 0o755); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("../../.github/workflows/provision-tenant.yml")
	if err != nil {
		t.Fatal(err)
	}
	d.write(data)
	o := github.Options{Repo: "pregoi/prego", Files: os.DirFS(root), Token: "t0k3n", Runner: github.RunnerInstant, Limits: github.Unlimited(), Dir: t.TempDir()}
	if adjust != nil {
		adjust(&o)
	}
	d.github = github.New(o)
	t.Cleanup(func() { _ = d.github.Close(t.Context()) }) // it runs nothing
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			d.posts.Add(1)
		} else {
			d.reads.Add(1)
		}
		d.github.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	d.sender = newSender(hub.Workflow{BaseURL: s.URL, Repo: "pregoi/prego", File: "provision-tenant.yml", Token: "t0k3n", Memory: &hub.Memory{}})
	d.Ledger, d.Pace = &ledgertest.Memory{}, &dispatch.Pace{Gap: -1, PerMinute: -1, PerHour: -1}
	return d
}

func (d *desk) write(data []byte) {
	d.t.Helper()
	if err := os.WriteFile(d.file, data, 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// send delivers job n, and returns the class of its error.
func (d *desk) send(n int) (provision.Class, error) {
	d.t.Helper()
	job, err := provision.ParseMessage(labMessage(n), false)
	if err != nil {
		d.t.Fatal(err)
	}
	_, err = d.deliver(d.t.Context(), job)
	return provision.ClassOf(err), err
}

func (d *desk) want(n int, class provision.Class) {
	d.t.Helper()
	if got, err := d.send(n); got != class {
		d.t.Errorf("job %d: %v of class %q, want %q", n, err, got, class)
	}
}

// A workflow that has just changed is read again when GitHub refuses what it was.
func TestStaleWorkflow(t *testing.T) {
	d := newDesk(t, nil)
	d.want(0, "")
	data, err := os.ReadFile(d.file)
	if err != nil {
		t.Fatal(err)
	}
	// dedicated is no input any more: a dispatch that has it is refused.
	i := bytes.Index(data, []byte("      dedicated:"))
	d.write(append(bytes.Clone(data[:i]), data[i+entry(data[i:]):]...))
	reads := d.reads.Load()
	d.want(1, "")
	if len(d.github.Runs()) != 2 || d.posts.Load() != 3 || d.reads.Load() != reads+1 {
		t.Errorf("%d runs of %d requests and %d reads", len(d.github.Runs()), d.posts.Load(), d.reads.Load()-reads)
	}
}

// entry is how many bytes the entry has that text begins with.
func entry(text []byte) int {
	n := 0
	for line := range bytes.Lines(text) {
		if n > 0 && (len(line) < 8 || string(line[:8]) != "        ") && len(bytes.TrimSpace(line)) > 0 {
			break
		}
		n += len(line)
	}
	return n
}

// What GitHub refuses is this message's fault only when it speaks of its inputs.
func TestWhoseFault(t *testing.T) {
	tests := []struct {
		status int
		text   string
		class  provision.Class
	}{
		{401, "Bad credentials", provision.Denied},
		{403, "Resource not accessible by integration", provision.Denied},
		{404, "Not Found", provision.NotFound},
		{422, "No ref found for: main", provision.NotFound},
		{422, "Workflow does not have 'workflow_dispatch' trigger", provision.NotFound},
		{422, "Cannot trigger a 'workflow_dispatch' on a disabled workflow", provision.NotFound},
		{422, "Invalid Argument - failed to parse workflow: (Line: 1, Col: 1): no", provision.NotFound},
		{422, "Provided value 'x' for input 'region' not in the list of allowed values", provision.Invalid},
		{422, "inputs are too large.", provision.Invalid},
	}
	for n, test := range tests {
		d := newDesk(t, nil)
		answer := standin.Action{Status: test.status, Body: `{"message":"` + test.text + `"}`}
		d.github.Faults.Set(func(r *http.Request) standin.Action {
			if r.Method == http.MethodPost {
				return answer
			}
			return standin.Action{}
		})
		d.want(n, test.class)
		// Once it is mended, the same message gets its run, unless it was to blame.
		d.github.Faults.Set(nil)
		runs := 1
		if test.class == provision.Invalid {
			runs = 0
		}
		if _, err := d.send(n); len(d.github.Runs()) != runs {
			t.Errorf("%s: %d runs afterwards: %v", test.text, len(d.github.Runs()), err)
		}
	}
	// A file that is no workflow is nobody's message's fault either.
	d := newDesk(t, nil)
	d.write([]byte("on: push\n"))
	d.want(1, provision.NotFound)
	if _, err := d.send(1); !strings.Contains(err.Error(), "pregoi/prego provision-tenant.yml at main: ") || d.posts.Load() > 0 {
		t.Errorf("%d requests, and %v", d.posts.Load(), err)
	}
}

// A limit that the list of runs meets is one limit, of one request.
func TestLimitedLook(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	found := 0
	d.requests = func(request string, _ error) {
		if request == "find" {
			found++
		}
	}
	d.github.Faults.Set(func(r *http.Request) standin.Action {
		switch {
		case r.Method == http.MethodPost:
			return standin.Action{Lose: true}
		case strings.HasSuffix(r.URL.Path, "/runs"):
			return standin.Action{Status: http.StatusForbidden, Body: `{"message":"You have exceeded a secondary rate limit."}`, Header: http.Header{"Retry-After": {"600"}}}
		}
		return standin.Action{}
	})
	d.Patience = 5 * time.Second
	d.want(1, provision.Busy)
	if got := d.Pace.State().Limited; got != 1 || found != 1 {
		t.Errorf("%d limits of %d requests", got, found)
	}
}

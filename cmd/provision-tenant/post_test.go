package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/cloudflare"
)

// A plane is a control plane that knows no job, takes every completion, and refuses the
// requests of which closed says so.
type plane struct {
	closed atomic.Value // string: what the paths of such requests hold; "" for none
	status atomic.Value // provision.JobStatus of every job; "" for no such job
	told   []provision.Completion
}

func (p *plane) serve(t *testing.T) *httptest.Server {
	p.closed.Store("")
	p.status.Store(provision.JobStatus(""))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /internal/nodes/{id}", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(provision.Node{ID: r.PathValue("id"), Region: placement.SG, Host: "8.8.4.4", Status: provision.NodeActive, Provider: "hetzner"})
	})
	mux.HandleFunc("POST /internal/provision-complete", func(w http.ResponseWriter, r *http.Request) {
		var c provision.Completion
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			t.Error(err)
		}
		p.told = append(p.told, c)
		_, _ = w.Write([]byte("{}"))
	})
	mux.HandleFunc("GET /internal/provision-jobs/{id}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		if status := p.status.Load(); status != provision.JobStatus("") {
			_ = json.NewEncoder(w).Encode(map[string]any{"job_id": r.PathValue("id"), "tenant_id": "acme-1", "region": "sg", "status": status})
			return
		}
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"status":404,"title":"Not Found","detail":"there is no such job"}`))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) })
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if closed := p.closed.Load().(string); closed != "" && strings.Contains(r.URL.Path, closed) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv
}

// runner is the environment of a step that puts a tenant on a node.
func runner(t *testing.T, plane string) map[string]string {
	dns := httptest.NewServer(cloudflare.New(cloudflare.Options{Token: "dns-token-of-the-test", ZoneName: "example.com"}).Handler())
	t.Cleanup(dns.Close)
	dir := t.TempDir()
	return map[string]string{
		"CONTROL_PLANE_URL": plane, "INTERNAL_API_KEY": "0123456789abcdef0123456789abcdef",
		"CLOUDFLARE_API_TOKEN": "dns-token-of-the-test", "CLOUDFLARE_ZONE_NAME": "Example.com.", "CLOUDFLARE_API_BASE_URL": dns.URL + "/client/v4",
		"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "30433642", "GITHUB_RUN_ATTEMPT": "2", "GITHUB_REPOSITORY": "pregoi/prego",
		"GITHUB_OUTPUT": filepath.Join(dir, "output"), "GITHUB_STEP_SUMMARY": filepath.Join(dir, "summary"), "GITHUB_STATE": filepath.Join(dir, "state"),
		"RUNNER_TEMP":  dir,
		"INPUT_JOB_ID": "job_1", "INPUT_TENANT_ID": "acme-1", "INPUT_REGION": "sg", "INPUT_TARGET_SERVER_ID": "hz-sg-7",
		"INPUT_SUBDOMAIN_SLUG": "acme", "INPUT_CANONICAL_HOSTNAME": "acme.example.com",
	}
}

// mainThenPost runs the two parts of the action as the runner does; between is called
// between them, with the environment of the second.
func mainThenPost(t *testing.T, env map[string]string, between func(env map[string]string)) (status int, log string) {
	t.Helper()
	var out bytes.Buffer
	lookup := func(env map[string]string) func(string) string {
		return func(name string) string { return env[name] }
	}
	command(t.Context(), nil, strings.NewReader(""), &out, &out, lookup(env))
	env = maps.Clone(env)
	if _, err := os.Stat(env["GITHUB_STATE"]); err == nil {
		for name, value := range parseOutputs(t, env["GITHUB_STATE"]) {
			env["STATE_"+name] = value
		}
	}
	if between != nil {
		between(env)
	}
	status = post(t.Context(), &out, lookup(env))
	t.Logf("post: exit %d\n%s", status, &out)
	return status, out.String()
}

// TestPostOwes has the control plane refuse what the main part says. The post part says it
// again, and just that: also of which attempt of the run it is, so that it does not end the
// next one.
func TestPostOwes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		closed string
		want   provision.Completion
	}{
		"all went well": {"provision-complete", provision.Completion{Status: provision.JobCompleted, NodeID: "hz-sg-7", Host: "8.8.4.4"}},
		"nobody could be asked whether to begin": {"provision-", provision.Completion{Status: provision.JobFailed,
			Error: "provision_complete: job job_1: control plane answered 403 Forbidden", ErrorClass: provision.Denied}},
		"nothing could be asked": {"/internal/", provision.Completion{Status: provision.JobFailed,
			Error: "provision_complete: job job_1: control plane answered 403 Forbidden", ErrorClass: provision.Denied}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var p plane
			env := runner(t, p.serve(t).URL)
			p.closed.Store(test.closed)
			status, _ := mainThenPost(t, env, func(map[string]string) { p.closed.Store("") })
			want := test.want
			want.JobID, want.TenantID, want.Hostname, want.Attempt = "job_1", "acme-1", "acme.example.com", 2
			want.RunURL = "https://github.com/pregoi/prego/actions/runs/30433642/attempts/2"
			if status != 0 || len(p.told) != 1 || p.told[0] != want {
				t.Errorf("post: exit %d, told %+v, want %+v", status, p.told, want)
			}
		})
	}
}

// TestPostTrustsNothing has the state and the mark be what a program wrote that was run as
// root, or what a main part that was killed left: nothing is told that is not this job's, nor
// that a job has failed which went well.
func TestPostTrustsNothing(t *testing.T) {
	t.Parallel()
	const forged = `{"ended":true,"completion":{"job_id":"job_2","tenant_id":"acme-2","status":"Completed"}}` + "\n"
	for name, test := range map[string]struct {
		later  bool
		status provision.JobStatus
		do     func(t *testing.T, mark, dir string) (at string) // at is what the state says
		told   provision.JobStatus
		exit   int
	}{
		"another job's":             {do: write(forged), exit: 4},
		"another file":              {do: func(t *testing.T, _, dir string) string { return write(forged)(t, filepath.Join(dir, "precious"), dir) }},
		"an event of another job's": {do: write(`{"ended":true,"events":[{"job_id":"job_2","tenant_id":"acme-2"}]}` + "\n"), exit: 4},
		"a pipe": {do: func(t *testing.T, mark, _ string) string {
			if err := errors.Join(os.Remove(mark), syscall.Mkfifo(mark, 0o600)); err != nil {
				t.Fatal(err)
			}
			return mark
		}},
		"killed on its way":             {status: provision.JobRunning, do: write(""), told: provision.JobFailed},
		"killed after its last word":    {status: provision.JobCompleted, do: write("")},
		"gone, the job is not ended":    {status: provision.JobRunning, do: remove, told: provision.JobFailed},
		"gone, it is completed later":   {status: provision.JobRunning, later: true, do: remove},
		"killed, to be completed later": {status: provision.JobRunning, later: true, do: write(""), told: provision.JobFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var p plane
			env := runner(t, p.serve(t).URL)
			if test.later {
				env["INPUT_COMPLETION"] = "later"
			}
			at := ""
			status, _ := mainThenPost(t, env, func(env map[string]string) {
				p.told = nil
				p.status.Store(test.status)
				at = test.do(t, env["STATE_mark"], env["RUNNER_TEMP"])
				env["STATE_mark"] = at
			})
			var told provision.JobStatus
			if len(p.told) > 0 {
				told = p.told[0].Status
			}
			if status != test.exit || told != test.told {
				t.Errorf("post: exit %d, told %+v; want exit %d, and %q", status, p.told, test.exit, test.told)
			}
			if _, err := os.Stat(at); filepath.Base(at) == "precious" && err != nil {
				t.Errorf("the post part has removed somebody's file: %v", err)
			}
		})
	}
}

func write(text string) func(*testing.T, string, string) string {
	return func(t *testing.T, mark, _ string) string {
		if err := os.WriteFile(mark, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return mark
	}
}

func remove(t *testing.T, mark, _ string) string {
	if err := os.Remove(mark); err != nil {
		t.Fatal(err)
	}
	return mark
}

// TestTypo has one input be wrong. The job has failed, as it cannot be done; but a run that was
// perhaps only to look, or to do a part, has nothing to say about the job.
func TestTypo(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		input, value string
		told         int
	}{
		"a flag": {"INPUT_DNS_PROXIED", "maybe", 1},
		"a mode": {"INPUT_MODE", "Plan", 0},
		"a step": {"INPUT_STEP", "dns", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var p plane
			env := runner(t, p.serve(t).URL)
			env[test.input] = test.value
			if _, log := mainThenPost(t, env, nil); len(p.told) != test.told || !strings.Contains(log, "::error title=input ") {
				t.Errorf("told %+v, want %d", p.told, test.told)
			}
		})
	}
}

package sandbox

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// TestKilledPost kills the action in the middle of the update. The post part gives back the
// stack's lock, removes the tokens, and tells what became of the job; the same job run again
// ends well, with one server.
func TestKilledPost(t *testing.T) {
	var pid atomic.Int64
	s := startSandbox(t, Options{ServerTime: time.Second, Started: func(_ int64, p int) { pid.Store(int64(p)) }})
	s.killedPost(t, func() { killTree(int(pid.Load())) })
}

func (s *Sandbox) killedPost(t *testing.T, kill func()) {
	s.once(kill)
	jobID, run := s.order(t, "acme-1")
	r, err := s.GitHub.Wait(t.Context(), run)
	if err != nil || r.Conclusion != "failure" {
		t.Errorf("the run ended with %q (%v), want failure", r.Conclusion, err)
	}
	for _, want := range []string{"exit code 137", "released the lock that a killed pulumi had left", "removed 1 private folders"} {
		if !strings.Contains(r.Log, want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	job, err := s.Client.Job(t.Context(), jobID)
	if err != nil || job.Status != provision.JobFailed || !strings.Contains(job.Error, "killed before it could say") {
		t.Errorf("the job is %s with %q (%v), want it Failed, since it was killed", job.Status, job.Error, err)
	}
	s.wantEvents(t, jobID, "pulumi_up failed", "provision_complete succeeded")
	state := strings.TrimPrefix(s.StateURL, "file://")
	if locks, _ := filepath.Glob(filepath.Join(state, ".pulumi", "locks", "*", "*", "*", "*.json")); len(locks) > 0 {
		t.Errorf("locks are left: %s", locks)
	}
	if t.Failed() {
		t.Logf("log of the run that was killed:\n%s", r.Log)
	}
	s.again(t, run, "acme-1", jobID)
}

// TestOwedCompletion lets the control plane refuse the completion for as long as the main
// part runs. The run has failed, since nobody could know; but the post part delivers what
// was owed, and the job is what it is.
func TestOwedCompletion(t *testing.T) {
	var refused atomic.Int64
	s := startSandbox(t, Options{Wrap: func(name string, h http.Handler) http.Handler {
		if name != "controlplane" {
			return h
		}
		f := &standin.Faults{}
		f.Set(func(r *http.Request) standin.Action {
			if strings.HasSuffix(r.URL.Path, "/provision-complete") && refused.Add(1) == 1 {
				return standin.Action{Status: http.StatusForbidden}
			}
			return standin.Action{}
		})
		return f.Wrap(h)
	}})
	jobID, run := s.order(t, "acme-1")
	r, err := s.GitHub.Wait(t.Context(), run)
	if err != nil || r.Conclusion != "failure" || !strings.Contains(r.Log, "told the control plane that job "+jobID+" is Completed") {
		t.Errorf("the run ended with %q (%v), want failure, and the completion from the post part\n%s", r.Conclusion, err, r.Log)
	}
	job, err := s.Client.Job(t.Context(), jobID)
	if err != nil || job.Status != provision.JobCompleted || job.NodeID == "" || job.Host == "" || job.Stack != "sg" {
		t.Errorf("the job is %+v (%v), want it Completed, with its node", job, err)
	}
}

// once calls f after the first server was asked for, while the action waits for it.
func (s *Sandbox) once(f func()) {
	var first sync.Once
	s.Hetzner.Faults.Set(func(r *http.Request) standin.Action {
		if callOf(r) != "POST /v1/servers" {
			return standin.Action{}
		}
		return standin.Action{After: func() { first.Do(f) }}
	})
}

// order enqueues a tenant's job and returns the run that it got.
func (s *Sandbox) order(t *testing.T, tenantID string) (jobID string, run int64) {
	t.Helper()
	accepted, err := s.Client.Enqueue(t.Context(), controlplane.Order{TenantID: tenantID, Tier: placement.Basic, Region: placement.SG, Slug: tenantID})
	if err != nil {
		t.Fatal(err)
	}
	return accepted.JobID, s.runOf(t, accepted.JobID)
}

// again runs a job again, and wants its tenant to be as it should.
func (s *Sandbox) again(t *testing.T, run int64, tenantID, jobID string) {
	t.Helper()
	if err := s.GitHub.Rerun(run); err != nil {
		t.Fatal(err)
	}
	r, err := s.GitHub.Wait(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range s.readBack(t.Context(), tenantID, jobID, &expectation{placement.NoNodesInRegion, 1, true}) {
		if f.wrong != "" {
			t.Errorf("run again, %s %q: %s\n%s", f.name, f.value, f.wrong, r.Log)
		}
	}
}

// wantEvents wants the trace of a job to hold events, each a stage and a status.
func (s *Sandbox) wantEvents(t *testing.T, jobID string, want ...string) {
	t.Helper()
	events, err := s.Client.Trace(t.Context(), jobID)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		got = append(got, e.Stage+" "+string(e.Status))
	}
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("the trace has no %q: %q", w, got)
		}
	}
}

package sandbox

import (
	"net/http"
	"os/exec"
	"path/filepath"
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

// TestInterruptedNeighbour cancels a run while Hetzner makes its server. The stack belongs
// to others too: the next tenant's job gets its own server all the same, and the cancelled
// one, run again, ends with the one that was being made.
func TestInterruptedNeighbour(t *testing.T) {
	var s *Sandbox
	var once sync.Once
	var first atomic.Int64
	s = startSandbox(t, Options{ServerTime: time.Second, Started: func(run int64, _ int) { first.CompareAndSwap(0, run) }})
	s.Hetzner.Faults.Set(func(r *http.Request) standin.Action {
		if callOf(r) != "POST /v1/servers" {
			return standin.Action{}
		}
		return standin.Action{After: func() {
			once.Do(func() {
				if err := s.GitHub.Cancel(first.Load()); err != nil {
					t.Errorf("Cancel: %v", err)
				}
			})
		}}
	})
	enqueue := func(tenantID string) (jobID string) {
		accepted, err := s.Client.Enqueue(t.Context(), controlplane.Order{TenantID: tenantID, Tier: placement.Basic, Region: placement.SG, Slug: tenantID})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.GitHub.Wait(t.Context(), s.runOf(t, accepted.JobID)); err != nil {
			t.Fatal(err)
		}
		return accepted.JobID
	}
	cancelled := enqueue("first")
	job, err := s.Client.Job(t.Context(), cancelled)
	if err != nil || job.Status != provision.JobCancelled {
		t.Errorf("the cancelled job is %s (%v), want Cancelled", job.Status, err)
	}
	check := func(tenantID, jobID string, want expectation) {
		for _, f := range s.readBack(t.Context(), tenantID, jobID, &want) {
			if f.wrong != "" {
				t.Errorf("%s: %s %q: %s", tenantID, f.name, f.value, f.wrong)
			}
		}
	}
	check("second", enqueue("second"), expectation{placement.NoNodesInRegion, 1, true})
	run := s.runOf(t, cancelled)
	if err := s.GitHub.Rerun(run); err != nil {
		t.Fatal(err)
	}
	if _, err := s.GitHub.Wait(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	check("first", cancelled, expectation{placement.NoNodesInRegion, 1, true})
	if n := len(s.Hetzner.Servers(s.hetznerToken)); n != 2 {
		t.Errorf("there are %d servers, want 2", n)
	}
	if t.Failed() {
		for _, r := range s.GitHub.Runs() {
			t.Logf("run %d:\n%s", r.ID, r.Log)
		}
	}
}

// TestCannotBegin runs the action with a setting missing: the control plane hears of it,
// or the job would be waited for.
func TestCannotBegin(t *testing.T) {
	s := startSandbox(t, Options{})
	s.GitHub.Faults.Set(func(r *http.Request) standin.Action {
		if strings.HasSuffix(r.URL.Path, "/dispatches") {
			return standin.Action{Status: http.StatusServiceUnavailable}
		}
		return standin.Action{}
	})
	accepted, err := s.Client.Enqueue(t.Context(), controlplane.Order{TenantID: "acme-1", Tier: placement.Basic, Region: placement.SG, Slug: "acme-1"})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(s.programs, "provision-tenant"))
	cmd.Env = append(s.Addresses().environment(), "GITHUB_ACTIONS=true", "GITHUB_OUTPUT="+filepath.Join(t.TempDir(), "output"),
		"INPUT_JOB_ID="+accepted.JobID, "INPUT_TENANT_ID=acme-1", "INPUT_REGION=sg", "INPUT_CREATE_NEW_SERVER=true",
		"INPUT_SUBDOMAIN_SLUG=acme-1", "INPUT_CANONICAL_HOSTNAME="+accepted.CanonicalHostname)
	out, _ := cmd.CombinedOutput() // its status says more
	if got := cmd.ProcessState.ExitCode(); got != 2 {
		t.Errorf("exit status %d, want 2\n%s", got, out)
	}
	job, err := s.Client.Job(t.Context(), accepted.JobID)
	if err != nil || job.Status != provision.JobFailed || !strings.Contains(job.Error, "CLOUDFLARE_API_TOKEN is not set") {
		t.Errorf("the job is %s with %q (%v), want it Failed for want of CLOUDFLARE_API_TOKEN\n%s", job.Status, job.Error, err, out)
	}
}

// TestTraceUnreachable runs a job while the trace cannot be delivered: it is done all the
// same, and says so at the control plane.
func TestTraceUnreachable(t *testing.T) {
	s := startSandbox(t, Options{Wrap: func(name string, h http.Handler) http.Handler {
		if name != "controlplane" {
			return h
		}
		f := &standin.Faults{}
		f.Set(func(r *http.Request) standin.Action {
			if strings.HasSuffix(r.URL.Path, "/trace-events") {
				return standin.Action{Status: http.StatusServiceUnavailable}
			}
			return standin.Action{}
		})
		return f.Wrap(h)
	}})
	accepted, err := s.Client.Enqueue(t.Context(), controlplane.Order{TenantID: "acme-1", Tier: placement.Basic, Region: placement.SG, Slug: "acme-1"})
	if err != nil {
		t.Fatal(err)
	}
	run, err := s.GitHub.Wait(t.Context(), s.runOf(t, accepted.JobID))
	if err != nil || run.Conclusion != "success" {
		t.Errorf("the run ended with %q (%v), want success\n%s", run.Conclusion, err, run.Log)
	}
	job, err := s.Client.Job(t.Context(), accepted.JobID)
	if err != nil || job.Status != provision.JobCompleted {
		t.Errorf("the job is %s (%v), want it Completed", job.Status, err)
	}
	if !strings.Contains(run.Log, "were not delivered") {
		t.Errorf("the log does not say that events were lost:\n%s", run.Log)
	}
}

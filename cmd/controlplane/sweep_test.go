package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/github"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// TestSweep lets runs go wrong in every way at a stand-in for GitHub, and waits for what the
// control plane's sweeper makes of their jobs: it settles what is sure, and nothing while
// GitHub cannot be asked, or shows nothing to our token.
func TestSweep(t *testing.T) {
	t.Parallel()
	limits := github.Unlimited()
	limits.QueuedIn10s = 5
	gh := github.New(github.Options{Repo: "o/r", Files: os.DirFS("../.."), Token: "a-token", Runner: github.RunnerAway, Limits: limits})
	api := httptest.NewServer(gh.Handler())
	t.Cleanup(func() {
		api.Close()
		if err := gh.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	cp := &sweeping{t: t, client: sweepingServer(t, map[string]string{
		"GITHUB_API_URL": api.URL, "GITHUB_TOKEN": "a-token", "SWEEP_NOT_STARTED_AFTER": "300ms", "SWEEP_SILENT_AFTER": "300ms", "SWEEP_LOST_AFTER": "2s",
	})}
	ways := []struct {
		tenant, status, conclusion string // of the run, as GitHub has it
		want                       provision.JobStatus
		why                        string
	}{
		{"died", "completed", "failure", provision.JobFailed, "ended at GitHub as failure"},
		{"superseded", "completed", "cancelled", provision.JobCancelled, "cancelled at GitHub"},
		{"succeeded", "completed", "success", provision.JobDispatched, ""},
		{"busy", "in_progress", "", provision.JobDispatched, ""},
		{"waits", "queued", "", provision.JobDispatched, ""},
		{"dropped", "", "", provision.JobFailed, "its run is gone"}, // one more than GitHub queues
	}
	for _, w := range ways {
		cp.order(w.tenant)
		cp.until(w.tenant, func(j controlplane.Job) bool { return j.Status == provision.JobDispatched })
	}

	// Nobody can say anything: GitHub is down, and then it hides what the token may not see.
	var asked atomic.Int64
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusNotFound, http.StatusUnauthorized} {
		asked.Store(0)
		gh.Faults.Set(func(*http.Request) standin.Action {
			asked.Add(1)
			return standin.Action{Handled: true, Status: status, Body: `{"message":"no"}`, Header: http.Header{"Content-Type": {"application/json"}}}
		})
		soon(t, func() bool { return asked.Load() >= int64(len(ways)) })
		for _, w := range ways {
			if j := cp.job(w.tenant); j.Status != provision.JobDispatched {
				t.Fatalf("GitHub answers %d, and the job of %s is %s: %s", status, w.tenant, j.Status, j.Error)
			}
		}
	}
	for _, w := range ways {
		if id := cp.job(w.tenant).RunID; w.status != "" && w.status != "queued" {
			if err := gh.Steer(number(t, id), w.status, w.conclusion); err != nil {
				t.Fatal(err)
			}
		}
	}
	gh.Faults.Set(nil)
	for _, w := range ways {
		if w.want.Terminal() {
			cp.until(w.tenant, func(j controlplane.Job) bool { return j.Status.Terminal() })
		}
	}
	for _, w := range ways {
		if j := cp.job(w.tenant); j.Status != w.want || !strings.Contains(j.Error, w.why) {
			t.Errorf("%s: %s %q, want %s because %q", w.tenant, j.Status, j.Error, w.want, w.why)
		}
	}
}

// sweepingServer runs controlplane serve until the end of the test.
func sweepingServer(t *testing.T, env map[string]string) *controlplane.Client {
	t.Helper()
	env["INTERNAL_API_KEY"] = fleetKey
	env["DATABASE_URL"] = "sqlite://" + filepath.Join(t.TempDir(), "cp.db")
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- command(ctx, []string{"serve", "--addr", "127.0.0.1:0", "--repo", "o/r", "--gap", "0"}, io.Discard, w, func(name string) string { return env[name] })
		_ = w.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if status := <-done; status != 0 {
			t.Errorf("it ended with %d", status)
		}
	})
	var log strings.Builder
	for lines := bufio.NewScanner(r); lines.Scan(); log.WriteString(lines.Text()) {
		var line struct{ Msg, Addr string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			go func() { _, _ = io.Copy(io.Discard, r) }() // until it is closed
			return &controlplane.Client{URL: "http://" + line.Addr, Key: fleetKey}
		}
	}
	t.Fatalf("it does not listen: %s", log.String())
	return nil
}

// A sweeping control plane has one job of each tenant.
type sweeping struct {
	t      *testing.T
	client *controlplane.Client
}

// order asks for a server of the tenant's own.
func (s *sweeping) order(tenant string) {
	s.t.Helper()
	if _, err := s.client.Enqueue(s.t.Context(), controlplane.Order{TenantID: tenant, Tier: "enterprise"}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sweeping) job(tenant string) controlplane.Job {
	s.t.Helper()
	list, err := s.client.Jobs(s.t.Context(), controlplane.JobFilter{TenantID: tenant})
	if err != nil || len(list) != 1 {
		s.t.Fatalf("%d jobs of %s, %v, want 1", len(list), tenant, err)
	}
	return list[0]
}

// until waits until the tenant's job is so.
func (s *sweeping) until(tenant string, so func(controlplane.Job) bool) {
	s.t.Helper()
	soon(s.t, func() bool { return so(s.job(tenant)) })
}

// soon waits until yes answers true.
func soon(t *testing.T, yes func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !yes() {
		select {
		case <-deadline:
			t.Fatal("it has not come to that")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func number(t *testing.T, id string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

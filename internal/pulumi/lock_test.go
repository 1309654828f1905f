package pulumi_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/pulumi"
)

// lock leaves a lock on stack sg, as a pulumi of that process would.
func (w *world) lock(t *testing.T, host string, pid int) string {
	t.Helper()
	file := filepath.Join(w.backend, ".pulumi", "locks", "organization", "prego", "sg", "0.json")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`{"pid":%d,"username":"somebody","hostname":%q,"timestamp":"2026-01-02T03:04:05Z"}`, pid, host)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestLocked waits for a lock, and says who holds it.
func TestLocked(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		host string
		pid  int
	}{
		"another machine":  {"elsewhere", 4711},
		"living process":   {host, os.Getpid()},
		"dead, not proven": {host, gone.Process.Pid}, // it may be of a container that shares our name
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			up(t, w.program(t), shared("job-1"))
			file := w.lock(t, test.host, test.pid)
			p := w.program(t)
			p.Wait = time.Millisecond
			_, err := p.Up(t.Context(), shared("job-2"), "sg")
			holder := fmt.Sprintf("somebody@%s (pid %d)", test.host, test.pid)
			if provision.ClassOf(err) != provision.Busy || !strings.Contains(err.Error(), holder) || !strings.Contains(provision.NextAction(err), holder) {
				t.Errorf("Up: %v (%s), want busy, naming %s", err, provision.NextAction(err), holder)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("the lock was touched: %v", err)
			}
			wantNames(t, w, "prego-sg-job-1")

			// When it is given back, who waited goes on.
			p.Wait = time.Minute
			var waiting atomic.Bool
			p.Progress = func(pr pulumi.Progress) {
				if pr.Doing == pulumi.Waiting && strings.Contains(pr.Holder, holder) && !waiting.Swap(true) {
					_ = os.Remove(file)
				}
			}
			up(t, p, shared("job-2"))
			if !waiting.Load() {
				t.Error("nobody was told of the lock")
			}
			wantNames(t, w, "prego-sg-job-1", "prego-sg-job-2")
		})
	}
}

// TestCancelWhileLocked stops a job that waits.
func TestCancelWhileLocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	up(t, w.program(t), shared("job-1"))
	w.lock(t, "elsewhere", 1)
	p := w.program(t)
	ctx, cancel := context.WithCancel(t.Context())
	var start time.Time
	p.Progress = func(pr pulumi.Progress) {
		if pr.Doing == pulumi.Waiting {
			start = time.Now()
			cancel()
		}
	}
	_, err := p.Up(ctx, shared("job-2"), "sg")
	if provision.ClassOf(err) != provision.Cancelled || time.Since(start) > time.Second {
		t.Errorf("Up: %v (%s) %v after it was cancelled", err, provision.ClassOf(err), time.Since(start))
	}
}

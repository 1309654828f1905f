package pulumi_test

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/pulumi"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// at calls one of two once, when the first server is asked for: before, in place of the
// effect, or after it.
func (w *world) at(before, after func()) {
	var done atomic.Bool
	w.Faults.Set(func(r *http.Request) standin.Action {
		if r.Method != "POST" || !strings.HasSuffix(r.URL.Path, "/servers") || done.Swap(true) {
			return standin.Action{}
		}
		if before != nil {
			return standin.Action{Before: before, Status: http.StatusServiceUnavailable}
		}
		return standin.Action{After: after}
	})
}

// pulumis returns the processes that p has started, by looking for its private folder.
func pulumis(p *pulumi.Program) []int {
	var list []int
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		env, err := os.ReadFile(file)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && bytes.Contains(env, []byte("PULUMI_HOME="+p.TempDir)) {
			list = append(list, pid)
		}
	}
	return list
}

func kill(p *pulumi.Program) func() {
	return func() {
		for _, pid := range pulumis(p) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func TestKilled(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ before bool }{"before the effect": {true}, "after the effect": {false}} {
		for kind, job := range map[string]provision.Job{"shared": shared("job-1"), "dedicated": dedicated("job-1", "acme")} {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				p := w.program(t)
				if test.before {
					w.at(kill(p), nil)
				} else {
					w.at(nil, kill(p))
				}
				if _, err := p.Up(t.Context(), job, job.StackName()); provision.ClassOf(err) != provision.Internal {
					t.Fatalf("Up: %v, though pulumi was killed", err)
				}
				if left := pulumis(p); len(left) > 0 {
					t.Errorf("processes %v were left", left)
				}
				result := up(t, w.program(t), job)
				if job.Dedicated {
					wantNames(t, w, "prego-acme-app", "prego-acme-db", "prego-acme-redis")
				} else {
					wantNames(t, w, "prego-sg-job-1")
				}
				if want := len(w.Servers(token)); len(result.Servers) != want {
					t.Errorf("result has %d servers, there are %d", len(result.Servers), want)
				}
				before := w.Mutations(token)
				up(t, w.program(t), job)
				if n := w.Mutations(token) - before; n != 0 {
					t.Errorf("the same job again changed something at Hetzner %d times", n)
				}
			})
		}
	}
}

func TestLostAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var lost atomic.Bool
	w.Faults.Set(func(r *http.Request) standin.Action {
		first := r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/servers") && lost.CompareAndSwap(false, true)
		return standin.Action{Lose: first}
	})
	up(t, w.program(t), shared("job-1"))
	wantNames(t, w, "prego-sg-job-1")
	if !lost.Load() {
		t.Error("no answer was lost")
	}
}

func TestNameIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, _, err := w.client.Server.Create(t.Context(), hcloud.ServerCreateOpts{Name: "prego-sg-job-1",
		ServerType: &hcloud.ServerType{Name: "cpx22"}, Image: &hcloud.Image{Name: "debian-12"}, Location: &hcloud.Location{Name: "sin"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.program(t).Up(t.Context(), shared("job-1"), "sg")
	if provision.ClassOf(err) != provision.Conflict {
		t.Errorf("Up: %v, want a conflict: the server is not ours", err)
	}
	wantNames(t, w, "prego-sg-job-1")
}

func TestCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.SetActionTime(3 * time.Second)
	p := w.program(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.at(nil, cancel)
	start := make(chan time.Time, 1)
	context.AfterFunc(ctx, func() { start <- time.Now() })
	_, err := p.Up(ctx, shared("job-1"), "sg")
	if took := time.Since(<-start); took > 7*time.Second {
		t.Errorf("Up ended %v after it was cancelled", took)
	}
	if provision.ClassOf(err) != provision.Cancelled {
		t.Errorf("Up: %v (%s), want cancelled", err, provision.ClassOf(err))
	}
	if left := pulumis(p); len(left) > 0 {
		t.Errorf("processes %v were left", left)
	}
	w.SetActionTime(0)
	up(t, p, shared("job-1"))
	wantNames(t, w, "prego-sg-job-1")
}

// TestParentIsKilled kills the process that runs Up, as the runner does with a container
// that does not end, and lets pulumi finish by itself.
func TestParentIsKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.SetActionTime(time.Second)
	p := w.program(t)
	child := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
	child.Env = append(os.Environ(), "CHILD_BACKEND="+w.backend, "CHILD_URL="+w.url, "CHILD_TEMP="+p.TempDir)
	asked, killed := make(chan bool), make(chan bool)
	w.at(nil, func() { close(asked); <-killed })
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-asked:
	case <-time.After(time.Minute):
		t.Error("the child never asked for a server")
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	close(killed)
	again := w.program(t) // at once: the one that was orphaned is still at it
	up(t, again, shared("job-1"))
	wantNames(t, w, "prego-sg-job-1")
	if entries, _ := os.ReadDir(p.TempDir); len(entries) != 1 {
		t.Errorf("%d private folders were left, want 1", len(entries))
	}
	again.TempDir = p.TempDir
	up(t, again, shared("job-1"))
	if entries, _ := os.ReadDir(p.TempDir); len(entries) != 0 {
		t.Errorf("%d private folders were not swept up", len(entries))
	}
}

// TestChild is the process that TestParentIsKilled kills.
func TestChild(t *testing.T) {
	if os.Getenv("CHILD_BACKEND") == "" {
		t.Skip("runs only as a child of TestParentIsKilled")
	}
	w := &world{backend: os.Getenv("CHILD_BACKEND"), url: os.Getenv("CHILD_URL")}
	p := w.program(t)
	p.Find, p.TempDir = nil, os.Getenv("CHILD_TEMP")
	up(t, p, shared("job-1"))
}

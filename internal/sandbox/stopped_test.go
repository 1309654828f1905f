package sandbox

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// TestCancelStub cancels runs whose pulumi is a stub: one that obeys and says when it was
// interrupted, and one that does not obey, and has started a process that does not either.
func TestCancelStub(t *testing.T) {
	t.Parallel()
	alone := mayUnshare()
	for _, test := range []struct {
		name, conduct string
		signal        syscall.Signal
		silent        bool // the control plane answers nothing after the signal
	}{
		{"obeys", obeys, syscall.SIGINT, false},
		{"obeys SIGTERM", obeys, syscall.SIGTERM, false},
		{"ignores", ignores, syscall.SIGINT, false},
		{"ignores, and nobody hears", ignores, syscall.SIGINT, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			th := newTheatre(t, Options{})
			p := th.cast(t, "acme-1", placement.Basic)
			dir, path := th.stubPulumi(t, test.conduct)
			p.env = []string{"PATH=" + path, "PULUMI_VERSION=v3.253.0"}
			w := &witness{}
			// With a namespace of its own the kernel would end what the action has left.
			a := th.act(t, p, alone && test.conduct == obeys, nil)
			until(t, filepath.Join(dir, "waits"), a)
			if test.silent {
				th.faults["controlplane"].Set(func(*http.Request) standin.Action { return standin.Action{Delay: time.Minute} })
			}
			w.watch()
			at := a.signal(t, test.signal)
			status := a.wait(t)
			took, late := time.Since(at), w.end()
			th.faults["controlplane"].Set(nil)
			if status != 130 || took > mustEnd+late {
				t.Errorf("exit status %d after %v, want 130 within %v\n%s", status, took, mustEnd, a.log())
			}
			t.Logf("seconds from the signal to exit: %.3f", took.Seconds())
			text, err := os.ReadFile(filepath.Join(dir, interruptedFile))
			ns, _ := strconv.ParseInt(string(text), 10, 64)
			if after := time.Unix(0, ns).Sub(at); err != nil || after > mayStart+late {
				t.Errorf("pulumi was interrupted after %v (%v), want %v (the machine was late by %v)", after, err, mayStart, late)
			}
			if left := a.remains(); len(left) > 0 {
				t.Errorf("left behind: %s", left)
			}
			job, err := th.Client.Job(t.Context(), p.jobID)
			if want := provision.JobCancelled; err != nil || job.Status != want && !test.silent {
				t.Errorf("the job is %s (%v), want %s", job.Status, err, want)
			}
			if test.silent { // what could not be told is left to the post part
				th.post(t, a).status(t, 0)
				job, err = th.Client.Job(t.Context(), p.jobID)
				if err != nil || job.Status != provision.JobCancelled {
					t.Errorf("after the post part the job is %s (%v), want it Cancelled", job.Status, err)
				}
			}
			th.checkCancelled(t, p, a)
			p.env = nil
			th.again(t, p)
		})
	}
}

// TestKilledAfterCancel kills a cancelled run, and all that it has started, while pulumi
// still waits for the server that is being made, as the runner does when its patience ends.
// The post part says what became of the job, and the same job run again gets that server.
func TestKilledAfterCancel(t *testing.T) {
	t.Parallel()
	th := newTheatre(t, Options{ServerTime: 2 * time.Second})
	p := th.cast(t, "acme-1", placement.Basic)
	var a *acting
	started := make(chan struct{})
	var once sync.Once
	th.faults["hetzner"].Set(func(r *http.Request) standin.Action {
		if callOf(r) != "POST /v1/servers" {
			return standin.Action{}
		}
		return standin.Action{After: func() {
			once.Do(func() {
				<-started
				for _, pid := range descendants(a.itself())[1:] {
					_ = syscall.Kill(pid, syscall.SIGSTOP) // so that pulumi does not obey in time
				}
				a.signal(t, syscall.SIGINT)
				a.awaitMark(t, `"interrupted":true`)
				killTree(a.cmd.Process.Pid)
			})
		}}
	})
	a = th.act(t, p, mayUnshare(), nil)
	close(started)
	if status := a.wait(t); status == 0 || status == 130 {
		t.Errorf("exit status %d: it was not killed\n%s", status, a.log())
	}
	th.faults["hetzner"].Set(nil)
	if left := a.remains(); len(left) != 1 {
		t.Errorf("left behind: %s, want one private folder", left)
	}
	after := th.post(t, a)
	after.status(t, 0)
	for _, says := range []string{"removed 1 private folders", "released the lock"} {
		if !strings.Contains(after.log(), says) {
			t.Errorf("the post part does not say %q:\n%s", says, after.log())
		}
	}
	if left := a.remains(); len(left) > 0 {
		t.Errorf("left behind by the post part: %s", left)
	}
	job, err := th.Client.Job(t.Context(), p.jobID)
	if err != nil || job.Status != provision.JobCancelled {
		t.Errorf("the job is %s (%v), want it Cancelled", job.Status, err)
	}
	th.again(t, p)
	if n := len(th.Hetzner.Servers(th.hetznerToken)); n != 1 {
		t.Errorf("there are %d servers, want 1", n)
	}
}

// awaitMark waits until the main part has left text for the post part.
func (a *acting) awaitMark(t *testing.T, text string) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		files, _ := filepath.Glob(filepath.Join(a.file("RUNNER_TEMP"), "provision-tenant-*.jsonl"))
		for _, file := range files {
			if data, err := os.ReadFile(file); err == nil && strings.Contains(string(data), text) {
				return
			}
		}
		select {
		case <-tick.C:
		case <-a.done:
			t.Error("the action has ended already")
			return
		}
	}
}

// TestTooLong has a run take longer than timeout_minutes: it stops by itself, in time for
// the runner, and says so.
func TestTooLong(t *testing.T) {
	t.Parallel()
	th := newTheatre(t, Options{})
	p := th.cast(t, "acme-1", placement.Basic)
	_, path := th.stubPulumi(t, ignores)
	p.env = []string{"PATH=" + path, "PULUMI_VERSION=v3.253.0"}
	p.inputs["timeout_minutes"] = "0.05"
	w := &witness{}
	w.watch()
	start := time.Now()
	a := th.act(t, p, false, nil)
	a.status(t, 5)
	took, late := time.Since(start), w.end()
	if took < 3*time.Second || took > 3*time.Second+mustEnd+late {
		t.Errorf("it took %v, want 3 s and at most %v more", took, mustEnd)
	}
	r := a.result(t)
	if r.ErrorClass != provision.Busy || !strings.Contains(r.Error, "stopped after 3s, which is timeout_minutes") || !strings.Contains(r.NextAction, "raise timeout_minutes") {
		t.Errorf("error %q (%s), next %q", r.Error, r.ErrorClass, r.NextAction)
	}
	job, err := th.Client.Job(t.Context(), p.jobID)
	if err != nil || job.Status != provision.JobFailed || job.ErrorClass != provision.Busy {
		t.Errorf("the job is %s, %s (%v), want it Failed and busy", job.Status, job.ErrorClass, err)
	}
	if left := a.remains(); len(left) > 0 {
		t.Errorf("left behind: %s", left)
	}
}

// until waits for a file of the stub's.
func until(t *testing.T, file string, a *acting) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(file); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-a.done:
			t.Fatalf("the action ended before %s was there\n%s", file, a.log())
		}
	}
}

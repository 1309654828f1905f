package sandbox

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// TestMuchOutput has pulumi print 200 MB, with workflow commands in each line, while debug
// logging is on. All of it comes out, as debug lines and nothing else, and the action needs
// no memory for it.
func TestMuchOutput(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("prints 200 MB")
	}
	th := newTheatre(t, Options{})
	p := th.cast(t, "acme-1", placement.Basic)
	_, path := th.stubPulumi(t, prints+"200")
	p.env = []string{"PATH=" + path, "PULUMI_VERSION=v3.253.0", "RUNNER_DEBUG=1"}
	var debug, other int
	p.forget = true
	a := th.act(t, p, false, func(_ *acting, line string) {
		switch {
		case strings.HasPrefix(line, "::debug::|  ::set-env name=A::b ## [error]xxx"):
			debug++
		case strings.HasPrefix(line, "::set-env") || strings.Contains(line, "##["):
			other++
		}
	})
	peak := a.peak()
	a.status(t, 1)
	const line = 30 + 170 + 2
	if want := 200 << 20 / line; debug < want-want/100 || other > 0 {
		t.Errorf("%d lines of debug output and %d that the runner would obey, want about %d and none", debug, other, want)
	}
	if kib := <-peak; kib == 0 || kib > 64<<10 {
		t.Errorf("the action took %d KiB of memory at its peak, want at most 64 MiB", kib)
	} else {
		t.Logf("memory at peak: %d KiB", kib)
	}
	if r := a.result(t); !strings.HasSuffix(r.Error, "at last") {
		t.Errorf("error %q", r.Error)
	}
}

// peak tells, when the action has ended, how much memory it took at most, in KiB. What the
// kernel adds up for a parent, in rusage, begins with what the parent itself had.
func (a *acting) peak() <-chan int {
	kib := make(chan int, 1)
	go func() {
		most := 0
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-a.done:
				kib <- most
				return
			case <-tick.C:
			}
			status, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(a.itself()), "status"))
			_, rest, _ := strings.Cut(string(status), "\nVmHWM:")
			if fields := strings.Fields(rest); len(fields) > 0 {
				n, _ := strconv.Atoi(fields[0])
				most = max(most, n)
			}
		}
	}()
	return kib
}

// TestNobodyReads gives the action a log that nobody reads, or that is closed: it does its
// work all the same.
func TestNobodyReads(t *testing.T) {
	t.Parallel()
	th := newTheatre(t, Options{})
	_, path := th.stubPulumi(t, prints+"4")
	for name, closed := range map[string]bool{"closed": true, "full": false} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if closed {
			_ = r.Close()
		}
		p := th.cast(t, "acme-"+name, placement.Basic)
		p.env = []string{"PATH=" + path, "PULUMI_VERSION=v3.253.0", "RUNNER_DEBUG=1"}
		start := time.Now()
		p.stdout = w
		a := th.act(t, p, false, nil)
		_ = w.Close()
		a.status(t, 1)
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("%s: it took %v", name, took)
		}
		job, err := th.Client.Job(t.Context(), p.jobID)
		if err != nil || job.Status != provision.JobFailed || !strings.HasSuffix(job.Error, "at last") {
			t.Errorf("%s: the job is %s, %q (%v), want it Failed by its pulumi", name, job.Status, job.Error, err)
		}
		_ = r.Close()
	}
}

// TestForgedFiles has the program write to every file that the runner reads from the step.
// Nothing of it stays, and the outputs are the action's own.
func TestForgedFiles(t *testing.T) {
	t.Parallel()
	th := newTheatre(t, Options{})
	_, path := th.stubPulumi(t, forges)
	p := th.cast(t, "acme-1", placement.Basic)
	p.env = []string{"PATH=" + path, "PULUMI_VERSION=v3.253.0"}
	a := th.act(t, p, false, nil)
	a.status(t, 1)
	for _, name := range []string{"GITHUB_ENV", "GITHUB_PATH", "GITHUB_STATE", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"} {
		data, err := os.ReadFile(a.file(name))
		if err != nil || strings.Contains(string(data), "evil") {
			t.Errorf("%s (%v) holds %q", name, err, data)
		}
		if !strings.Contains(a.log(), "::warning title=provision-tenant::a program that was run has written to the runner's file "+name) {
			t.Errorf("the log does not name %s", name)
		}
	}
	if r := a.result(t); !strings.HasSuffix(r.Error, "forged 6") {
		t.Errorf("error %q\n%s", r.Error, a.log())
	}
}

// TestUnwritableFiles gives the action files that it cannot write. It fails, and loudly; but
// what became of the job is recorded. Where nothing could be said at all, nothing is made.
func TestUnwritableFiles(t *testing.T) {
	t.Parallel()
	th := newTheatre(t, Options{})
	setpriv, err := exec.LookPath("setpriv")
	if err != nil && os.Getuid() == 0 {
		t.Log("without setpriv, a file that root may not write cannot be tested")
	}
	for _, tt := range []struct {
		name string
		env  []string
		mode bool // the outputs' file is of mode 000
		want provision.JobStatus
		says string
	}{
		{"full", []string{"GITHUB_OUTPUT=/dev/full"}, false, provision.JobCompleted, "output node_id: write /dev/full: no space left on device"},
		{"summary", []string{"GITHUB_STEP_SUMMARY=/dev/full"}, false, provision.JobCompleted, "job summary: write /dev/full: no space left on device"},
		{"no-summary", []string{"GITHUB_STEP_SUMMARY="}, false, provision.JobCompleted, "job summary: GITHUB_STEP_SUMMARY is not set"},
		{"absent", []string{"GITHUB_OUTPUT="}, false, provision.JobFailed, "outputs: GITHUB_OUTPUT is not set"},
		{"closed", nil, true, provision.JobFailed, "GITHUB_OUTPUT: permission denied"},
	} {
		if tt.mode && setpriv == "" && os.Getuid() == 0 {
			continue
		}
		p := th.cast(t, "acme-"+tt.name, placement.Basic)
		p.inputs["create_new_server"], p.inputs["target_server_id"] = "true", ""
		if nodes, err := th.Client.Nodes(t.Context()); err == nil && len(nodes) > 0 {
			p.inputs["create_new_server"], p.inputs["target_server_id"] = "false", nodes[0].ID
		}
		p.env = tt.env
		p.closed = tt.mode
		before := len(th.Cloudflare.Records())
		a := th.act(t, p, false, nil)
		if status := a.wait(t); status != 1 || !strings.Contains(a.log(), "::error title=provision-tenant%3A internal::") || !strings.Contains(a.log(), tt.says) {
			t.Errorf("%s: exit status %d, want 1 and an error that says %q\n%s", tt.name, status, tt.says, a.log())
		}
		job, err := th.Client.Job(t.Context(), p.jobID)
		if err != nil || job.Status != tt.want {
			t.Errorf("%s: the job is %s (%v), want %s", tt.name, job.Status, err, tt.want)
		}
		if made := len(th.Cloudflare.Records()) > before; made != (tt.want == provision.JobCompleted) {
			t.Errorf("%s: records were made: %t", tt.name, made)
		}
	}
}

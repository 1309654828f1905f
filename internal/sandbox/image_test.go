package sandbox

import (
	"bytes"
	"context"
	"flag"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// The tests of the container image want one that is built: .ci/image builds it and calls them.
var (
	imageName = flag.String("image", "", "container image of the action to test; without it these tests are skipped")
	engine    = flag.String("engine", "podman", "the program that runs it")
)

// An imageSandbox is a sandbox whose action is the image under test.
func imageSandbox(t *testing.T, o Options) *Sandbox {
	t.Helper()
	if *imageName == "" {
		t.Skip("no -image is given: .ci/image builds one")
	}
	o.Image, o.Engine = *imageName, *engine
	return startSandbox(t, o)
}

// containers returns the names of those that run the image.
func containers(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command(*engine, "ps", "--filter", "ancestor="+*imageName, "--format", "{{.Names}}").Output()
	if err != nil {
		t.Fatalf("%s ps: %v", *engine, err)
	}
	return strings.Fields(string(out))
}

// TestImageKilled is TestKilledPost with containers: the post part, in one of its own, sees
// none of the processes that it has to know are dead.
func TestImageKilled(t *testing.T) {
	s := imageSandbox(t, Options{ServerTime: 2 * time.Second})
	s.killedPost(t, func() {
		for _, name := range containers(t) {
			if out, err := exec.Command(*engine, "kill", "--signal", "KILL", name).CombinedOutput(); err != nil {
				t.Errorf("kill %s: %v: %s", name, err, out)
			}
		}
	})
}

// TestImageCancelled cancels the run in the middle of the update: the container, whose first
// process the action is, is gone in time and has said what exists.
func TestImageCancelled(t *testing.T) {
	s := imageSandbox(t, Options{ServerTime: 2 * time.Second})
	cancelled := make(chan time.Time, 1)
	s.once(func() {
		if err := s.GitHub.Cancel(s.GitHub.Runs()[0].ID); err != nil {
			t.Errorf("Cancel: %v", err)
		}
		cancelled <- time.Now()
	})
	jobID, run := s.order(t, "acme-1")
	r, err := s.GitHub.Wait(t.Context(), run)
	took := time.Since(<-cancelled)
	if err != nil || r.Conclusion != "cancelled" || strings.Contains(r.Log, "exit code") {
		t.Errorf("the run ended with %q (%v), want cancelled", r.Conclusion, err)
	}
	job, err := s.Client.Job(t.Context(), jobID)
	if err != nil || job.Status != provision.JobCancelled {
		t.Errorf("the job is %s (%v), want it Cancelled", job.Status, err)
	}
	if took > 10*time.Second {
		t.Errorf("the run took %v to end, its post part included", took)
	}
	t.Logf("ended %v after it was cancelled", took.Round(time.Millisecond))
	if left := containers(t); len(left) > 0 {
		t.Errorf("containers are left: %s", left)
	}
	if t.Failed() {
		t.Logf("log of the run that was cancelled:\n%s", r.Log)
	}
	s.again(t, run, "acme-1", jobID)
}

// TestImageTools starts what the image holds besides the action: git with its transports,
// and what they need of a system.
func TestImageTools(t *testing.T) {
	if *imageName == "" {
		t.Skip("no -image is given: .ci/image builds one")
	}
	repo := filepath.Join(t.TempDir(), "repo")
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main", repo},
		{"-C", repo, "-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "--quiet", "--allow-empty", "--message=One"},
	} {
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v: %s", args, err, out)
		}
	}
	for _, test := range []struct {
		program string
		args    []string
		status  int
		want    string
	}{
		{"git", []string{"-c", "safe.directory=*", "clone", "file://" + repo, "/tmp/clone"}, 0, "Cloning into"},
		{"git", []string{"ls-remote", "https://127.0.0.1:1/x.git"}, 128, "Failed to connect to 127.0.0.1 port 1"},
		{"git", []string{"ls-remote", "ssh://git@127.0.0.1:1/x.git"}, 128, "port 1: Connection refused"},
		{"pulumi", []string{"version"}, 0, "v3."},
		{"provision-tenant", []string{"--help"}, 0, "Usage:"},
	} {
		t.Run(test.program+" "+test.args[0], func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, *engine, append([]string{
				"run", "--rm", "--pull=never", "--network", "host", "--volume", repo + ":" + repo + ":ro", "--entrypoint", test.program, *imageName,
			}, test.args...)...)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			_ = cmd.Run() // its status is looked at
			if got := cmd.ProcessState.ExitCode(); got != test.status || !strings.Contains(out.String(), test.want) {
				t.Errorf("exit status %d, want %d with %q\n%s", got, test.status, test.want, &out)
			}
		})
	}
}

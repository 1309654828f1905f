package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// The act that runs the workflow, which is the go.mod's own, and the image of its jobs.
var (
	actCommand = flag.String("act", "", "the act command; without it the workflow is not run")
	jobImage   = flag.String("job-image", "docker.io/library/debian:bookworm-slim", "image in which act runs jobs")
)

// TestImageAct runs the workflow that ships, as it is, with somebody else's runner: from the
// inputs of a dispatch to the outputs of the job. The action is started from the image, as
// a release names it.
func TestImageAct(t *testing.T) {
	if *actCommand == "" {
		t.Skip("no -act is given: .ci/image builds one")
	}
	s := imageSandbox(t, Options{})
	refuse := func(r *http.Request) standin.Action { // the job is not for our own stand-in
		if strings.HasSuffix(r.URL.Path, "/dispatches") {
			return standin.Action{Status: http.StatusServiceUnavailable}
		}
		return standin.Action{}
	}
	s.GitHub.Faults.Set(refuse)
	accepted, err := s.Client.Enqueue(t.Context(), controlplane.Order{TenantID: "acme-1", Tier: placement.Basic, Region: placement.SG, Slug: "acme-1"})
	if err != nil {
		t.Fatal(err)
	}
	outputs, log := s.runWithAct(t, map[string]any{
		"job_id": accepted.JobID, "tenant_id": "acme-1", "region": "sg", "create_new_server": "true",
		"subdomain_slug": "acme-1", "canonical_hostname": accepted.CanonicalHostname, "trace_id": accepted.TraceID,
	})
	job, err := s.Client.Job(t.Context(), accepted.JobID)
	if err != nil || job.Status != provision.JobCompleted {
		t.Errorf("the job is %s with %q (%v), want it Completed", job.Status, job.Error, err)
	}
	for name, want := range map[string]string{
		"node_id": job.NodeID, "host": job.Host, "stack": "sg", "created_server": "true",
		"hostname": accepted.CanonicalHostname, "server_ip": job.Host, "error": "",
	} {
		if got, ok := outputs[name]; !ok || got != want {
			t.Errorf("output %s is %q, %t, want %q", name, got, ok, want)
		}
	}
	servers := s.serversOf("acme-1")
	if len(servers) != 1 || outputs["server_id"] == "" || job.Host != servers[0].IPv4 {
		t.Errorf("there are %d servers; output server_id is %q, host %q", len(servers), outputs["server_id"], job.Host)
	}
	for _, secret := range []string{s.key, s.hetznerToken, s.cloudflareToken, s.passphrase} {
		if strings.Contains(log, secret) {
			t.Error("the log holds a secret")
		}
	}
	if t.Failed() {
		t.Logf("log of act:\n%s", log)
	}
}

// runWithAct runs the job provision of the workflow, and returns its step's outputs and the log.
func (s *Sandbox) runWithAct(t *testing.T, inputs map[string]any) (outputs map[string]string, log string) {
	t.Helper()
	dir := s.released(t)
	state := strings.TrimPrefix(s.StateURL, "file://")
	write := func(name, text string) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	event, err := json.Marshal(map[string]any{"inputs": inputs})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), *actCommand, "workflow_dispatch", "--workflows", ".github/workflows/"+workflow, "--job", "provision",
		"--eventpath", write("event.json", string(event)), "--json", "--platform", "ubuntu-latest="+*jobImage,
		"--pull=false", "--action-offline-mode", "--no-cache-server", "--network", "host", "--container-daemon-socket", "-",
		"--container-options", "--volume "+state+":"+state,
		"--secret-file", write("secrets", "INTERNAL_API_KEY="+s.key+"\nHCLOUD_TOKEN_SG="+s.hetznerToken+
			"\nPULUMI_CONFIG_PASSPHRASE="+s.passphrase+"\nCLOUDFLARE_API_TOKEN="+s.cloudflareToken+"\n"),
		"--var-file", write("vars", "CONTROL_PLANE_URL="+s.ControlPlaneURL+"\nPULUMI_BACKEND_URL="+s.StateURL+"\nHCLOUD_ENDPOINT="+s.HetznerURL+
			"\nCLOUDFLARE_ZONE_NAME="+zoneName+"\nCLOUDFLARE_API_BASE_URL="+s.CloudflareURL+"\n"))
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "DOCKER_HOST=unix://" + podmanSocket(t)}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Errorf("act: %v", err)
	}
	outputs = map[string]string{}
	var text strings.Builder
	for line := range strings.Lines(out.String()) {
		var l struct {
			Msg, Command, Name, Arg string
			StepID                  []string `json:"stepID"`
		}
		if json.Unmarshal([]byte(line), &l) != nil {
			text.WriteString(line)
			continue
		}
		text.WriteString(strings.TrimRight(l.Msg, "\n") + "\n")
		if l.Command == "set-output" {
			outputs[l.Name] = l.Arg
		}
	}
	return outputs, text.String()
}

// released makes a checkout as a release leaves it: everything as it stands here, but for
// the action, which names the image, and for concurrency.queue, which act does not know yet.
func (s *Sandbox) released(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	copies := map[string]func(string) string{
		".github/workflows/" + workflow: func(text string) string { return strings.Replace(text, "  queue: max\n", "", 1) },
		"action.yml": func(text string) string {
			return strings.Replace(text, "image: Dockerfile", "image: docker://"+*imageName, 1)
		},
	}
	for name, change := range copies {
		data, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(change(string(data))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"}, {"add", "."},
		{"-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "--quiet", "--message=One"},
	} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v: %s", args, err, out)
		}
	}
	return dir
}

// podmanSocket serves Docker's API through podman until the test ends.
func podmanSocket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "podman-") // short: a socket's path has little room
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(*engine, "system", "service", "--time=0", "unix://"+socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it was told to end
		_ = os.RemoveAll(dir)
	})
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			_ = conn.Close()
			return socket
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(errors.Join(errors.New("podman does not listen"), err))
		}
	}
}

package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
	"github.com/pregoi/provision-tenant/internal/sandbox/toolchain"
)

// A theatre is where tests start the action by themselves, to look at it more closely than
// through GitHub: a sandbox whose jobs nobody dispatches.
type theatre struct {
	*Sandbox
	faults map[string]*standin.Faults // of "hetzner", "cloudflare" and "controlplane"
	door   string                     // where the action finds the control plane
}

// newTheatre starts a sandbox that dispatches nothing.
func newTheatre(t *testing.T, o Options) *theatre {
	t.Helper()
	th := &theatre{faults: map[string]*standin.Faults{"hetzner": {}, "cloudflare": {}, "controlplane": {}}}
	var mu sync.Mutex
	o.Wrap = func(name string, h http.Handler) http.Handler {
		mu.Lock()
		defer mu.Unlock()
		if f := th.faults[name]; f != nil {
			return f.Wrap(h)
		}
		return h
	}
	th.Sandbox = startSandbox(t, o)
	target, err := url.Parse(th.ControlPlaneURL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorLog = log.New(io.Discard, "", 0) // the action goes away in the middle, on purpose
	door := httptest.NewServer(th.faults["controlplane"].Wrap(proxy))
	t.Cleanup(door.Close)
	th.door = door.URL
	th.GitHub.Faults.Set(func(r *http.Request) standin.Action {
		if strings.HasSuffix(r.URL.Path, "/dispatches") {
			return standin.Action{Status: http.StatusServiceUnavailable}
		}
		return standin.Action{}
	})
	return th
}

// A part is one job that the action is started for.
type part struct {
	jobID    string
	tenantID string
	inputs   map[string]string
	env      []string // besides what the sandbox needs
	attempts int      // so far

	stdout *os.File // in place of what log shows; nil for that
	forget bool     // what is printed is not kept
	closed bool     // the file of the outputs may not be written, not even by root
}

// cast enqueues a job of a tenant.
func (th *theatre) cast(t *testing.T, tenantID string, tier placement.Tier) *part {
	t.Helper()
	accepted, err := th.Client.Enqueue(t.Context(), controlplane.Order{TenantID: tenantID, Tier: tier, Region: placement.SG, Slug: tenantID})
	if err != nil {
		t.Fatal(err)
	}
	job, err := th.Client.Job(t.Context(), accepted.JobID)
	if err != nil {
		t.Fatal(err)
	}
	j := job.Provision()
	return &part{jobID: j.ID, tenantID: tenantID, inputs: map[string]string{
		"job_id": j.ID, "tenant_id": tenantID, "region": string(j.Region), "subdomain_slug": j.SubdomainSlug,
		"canonical_hostname": j.CanonicalHostname, "trace_id": j.TraceID,
		"create_new_server": strconv.FormatBool(j.CreateNewServer), "target_server_id": j.TargetServerID, "dedicated": strconv.FormatBool(j.Dedicated),
	}}
}

// An acting is one process of the action: its main part, or its post part.
type acting struct {
	cmd  *exec.Cmd
	pid  int    // the action's own; in a namespace of its own it is the first process there
	dir  string // which it has to itself, with all that the runner gives it
	env  []string
	done chan struct{} // closed when it has ended

	mu     sync.Mutex
	out    bytes.Buffer // stdout, and below stderr
	errs   bytes.Buffer
	onLine func(line string) // told each line of stdout; nil for nobody
	rest   string            // a line that has not ended
	forget bool
}

// pulumiVersion is what the action would else ask pulumi for, each time.
var pulumiVersion = sync.OnceValue(func() string {
	tools, err := toolchain.Ensure(context.Background(), toolchain.Options{Need: []toolchain.Tool{toolchain.Pulumi}})
	if err != nil {
		return ""
	}
	return tools.PulumiVersion
})

// act starts the main part for p as the runner does, in the first process of a namespace
// of its own where alone is true, as in a container. onLine may be nil.
func (th *theatre) act(t *testing.T, p *part, alone bool, onLine func(a *acting, line string)) *acting {
	t.Helper()
	dir := t.TempDir()
	a := &acting{dir: dir}
	p.attempts++
	a.env = append(th.Addresses().environment(), th.Addresses().settings()...)
	a.env = append(a.env, "CONTROL_PLANE_URL="+th.door, "PATH="+th.path, "PULUMI_VERSION="+pulumiVersion(), "GITHUB_ACTIONS=true", "GITHUB_RUN_ID=30433642",
		"GITHUB_RUN_ATTEMPT="+strconv.Itoa(p.attempts), "GITHUB_REPOSITORY="+repository)
	for _, name := range []string{"HOME", "RUNNER_TEMP", "GITHUB_WORKSPACE"} {
		a.env = append(a.env, name+"="+a.file(name))
		if err := os.Mkdir(a.file(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH", "GITHUB_STATE", "GITHUB_STEP_SUMMARY"} {
		a.env = append(a.env, name+"="+a.file(name))
		if err := os.WriteFile(a.file(name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range p.inputs {
		a.env = append(a.env, "INPUT_"+strings.ToUpper(name)+"="+value)
	}
	a.env = append(a.env, p.env...)
	if onLine != nil {
		a.onLine = func(line string) { onLine(a, line) }
	}
	a.cmd = &exec.Cmd{Path: filepath.Join(th.programs, "provision-tenant"), Args: []string{"provision-tenant"}}
	switch {
	case p.closed:
		if err := os.Chmod(a.file("GITHUB_OUTPUT"), 0); err != nil {
			t.Fatal(err)
		}
		if os.Getuid() == 0 {
			a.wrap(t, "setpriv", "--bounding-set=-dac_override,-dac_read_search")
		}
	case alone:
		a.wrap(t, "unshare", "--fork", "--pid", "--kill-child", "--mount-proc")
	}
	if p.stdout != nil {
		a.cmd.Stdout = p.stdout
	}
	a.forget = p.forget
	a.start(t)
	return a
}

// post starts the post part after a, with what that has saved for it.
func (th *theatre) post(t *testing.T, a *acting) *acting {
	t.Helper()
	b := &acting{dir: a.dir, env: slices.Clone(a.env)}
	state, err := os.ReadFile(a.file("GITHUB_STATE"))
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(string(state), "\n"); len(lines) > 2 {
		name, _, _ := strings.Cut(lines[0], "<<")
		b.env = append(b.env, "STATE_"+name+"="+lines[1])
	}
	b.cmd = &exec.Cmd{Path: filepath.Join(th.programs, "provision-tenant"), Args: []string{"provision-tenant-post"}}
	b.start(t)
	return b
}

// file is where something that the runner gives the action is.
func (a *acting) file(name string) string { return filepath.Join(a.dir, name) }

// wrap has another program start the action.
func (a *acting) wrap(t *testing.T, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	a.cmd = &exec.Cmd{Path: path, Args: append(append([]string{name}, args...), "--", a.cmd.Path)}
}

func (a *acting) start(t *testing.T) {
	t.Helper()
	a.cmd.Env, a.cmd.Dir, a.cmd.Stderr = a.env, a.dir, output{a, &a.errs}
	if a.cmd.Stdout == nil {
		a.cmd.Stdout = output{a, &a.out}
	}
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	a.cmd.WaitDelay = 5 * time.Second
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a.done = make(chan struct{})
	go func() {
		defer close(a.done)
		_ = a.cmd.Wait() // its state is looked at
	}()
	t.Cleanup(func() {
		killTree(a.cmd.Process.Pid)
		<-a.done
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pid = a.cmd.Process.Pid
}

// An output takes what the action prints.
type output struct {
	a   *acting
	buf *bytes.Buffer
}

func (o output) Write(p []byte) (int, error) {
	o.a.mu.Lock()
	if !o.a.forget {
		o.buf.Write(p)
	}
	var lines []string
	if o.buf == &o.a.out && o.a.onLine != nil {
		parts := strings.Split(o.a.rest+string(p), "\n")
		lines, o.a.rest = parts[:len(parts)-1], parts[len(parts)-1]
	}
	o.a.mu.Unlock()
	for _, line := range lines {
		o.a.onLine(line)
	}
	return len(p), nil
}

func (a *acting) log() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.out.String() + a.errs.String()
}

// itself returns the action's own process.
func (a *acting) itself() int {
	a.mu.Lock()
	pid := a.pid
	a.mu.Unlock()
	if filepath.Base(a.cmd.Path) != "unshare" {
		return pid
	}
	if all := descendants(pid); len(all) > 1 {
		return all[1]
	}
	return pid
}

// signal sends the action a signal, and returns when.
func (a *acting) signal(t *testing.T, sig syscall.Signal) time.Time {
	pid := a.itself()
	at := time.Now()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Errorf("signal %v: %v", sig, err)
	}
	return at
}

// wait waits until the action has ended, and returns its exit status.
func (a *acting) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-a.done:
	case <-time.After(2 * time.Minute):
		t.Fatalf("the action does not end\n%s", a.log())
	}
	return a.cmd.ProcessState.ExitCode()
}

// status waits for the action and wants it to end with a status.
func (a *acting) status(t *testing.T, want int) {
	t.Helper()
	if got := a.wait(t); got != want {
		t.Errorf("exit status %d, want %d\n%s", got, want, a.log())
	}
}

// result is the action's output result.
func (a *acting) result(t *testing.T) (r acted) {
	t.Helper()
	data, err := os.ReadFile(a.file("GITHUB_OUTPUT"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "\nresult<<")
	_, rest, _ = strings.Cut(rest, "\n")
	line, _, _ := strings.Cut(rest, "\n")
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Errorf("output result: %v in %q", err, line)
	}
	return r
}

// mayUnshare reports whether a process may have a namespace of its own here.
func mayUnshare() bool {
	return exec.Command("unshare", "--fork", "--pid", "--kill-child", "--mount-proc", "--", "true").Run() == nil
}

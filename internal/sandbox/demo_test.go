package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/contract"
)

// TestDemoKeepsContracts runs the demo, and holds every request of our clients and every
// answer of the stand-ins to the vendors' documents.
func TestDemoKeepsContracts(t *testing.T) {
	documents := map[string][2]string{
		"hetzner":    {"hcloud.json", "/v1"},
		"cloudflare": {"cloudflare.json", "/client/v4"},
		"github":     {"github.json", ""},
	}
	s := startSandbox(t, Options{Wrap: func(name string, h http.Handler) http.Handler {
		if d, ok := documents[name]; ok {
			return contract.Handler(t, d[0], d[1], h)
		}
		return h
	}})
	demo(t, s)
}

func demo(t *testing.T, s *Sandbox) {
	t.Helper()
	var out bytes.Buffer
	if err := s.Demo(t.Context(), &out, false); err != nil {
		t.Errorf("Demo: %v", err)
	}
	for _, want := range []string{"no_nodes_in_region", "existing_node_selected", "dedicated_tier", "dedicated-cedar-3"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the demo does not say %s", want)
		}
	}
	if t.Failed() {
		t.Logf("demo:\n%s", out.String())
		for _, r := range s.GitHub.Runs() {
			t.Logf("run %d:\n%s", r.ID, r.Log)
		}
	}
}

// TestOnALaptop does the demo, and then by hand what an operator does with one job: plan
// it, run it, and run it again.
func TestOnALaptop(t *testing.T) {
	s := startSandbox(t, Options{})
	demo(t, s)

	message := provision.Message{
		JobID: "job_hand_1", TenantID: "elm-5", Region: "sg", CreateNewServer: "true", Dedicated: "true",
		SubdomainSlug: "elm-5", CanonicalHostname: "elm-5." + zoneName,
	}
	world := s.world(t)
	plan := s.act(t, 0, message, "--mode", "plan")
	if d := cmp.Diff(world, s.world(t)); d != "" {
		t.Errorf("a plan changed something:\n%s", d)
	}
	if !strings.Contains(plan.detail("pulumi_up"), "create hcloud:index/server:Server") {
		t.Errorf("the plan does not say that it would create servers: %q", plan.detail("pulumi_up"))
	}

	first := s.act(t, 0, message)
	if len(first.Servers) != 3 || first.Stack != "dedicated-elm-5" || len(first.Records) == 0 {
		t.Errorf("the tenant is not whole: %+v", first)
	}
	if !strings.Contains(first.detail("provision_complete"), "started by hand") {
		t.Errorf("no word of the job that the control plane does not know: %q", first.detail("provision_complete"))
	}
	events, err := s.Client.Trace(t.Context(), message.JobID)
	if err != nil || len(events) == 0 {
		t.Errorf("events of a job without a trace: %v, %v", events, err)
	}

	world = s.world(t)
	again := s.act(t, 0, message)
	if d := cmp.Diff(world, s.world(t)); d != "" {
		t.Errorf("the same job again changed something:\n%s", d)
	}
	if d := cmp.Diff(first.Servers, again.Servers); d != "" {
		t.Errorf("the same job again has other servers:\n%s", d)
	}
	if planned := s.act(t, 0, message, "--mode", "plan"); planned.detail("pulumi_up") != "nothing to change" {
		t.Errorf("a plan of what is done already: %q", planned.detail("pulumi_up"))
	}

	// Somebody else's name: refused, and nothing of theirs is touched.
	thief := message
	thief.JobID, thief.TenantID, thief.CanonicalHostname = "job_hand_2", "fir-6", "acme-1."+zoneName
	thief.Dedicated, thief.CreateNewServer, thief.TargetServerID = "false", "false", s.sharedNode(t)
	world = s.world(t)
	refused := s.act(t, 4, thief)
	if refused.ErrorClass != provision.Conflict || !strings.Contains(refused.Error, "tenant=acme-1") {
		t.Errorf("another tenant's hostname: %+v", refused)
	}
	if d := cmp.Diff(world, s.world(t)); d != "" {
		t.Errorf("a refused job changed something:\n%s", d)
	}

	// One step alone.
	if one := s.act(t, 0, message, "--step", "tenant_dns"); one.detail("tenant_dns") == "" {
		t.Errorf("the step tenant_dns alone: %+v", one.Steps)
	}
}

// TestRunMessage sends a message through a sandbox that is up, as `sandbox run` does, to a
// program that is cloned.
func TestRunMessage(t *testing.T) {
	repo := gitRepository(t, "../../testdata/prego-pulumi")
	s := startSandbox(t, Options{PulumiRepo: "file://" + repo})
	message, err := json.Marshal(provision.Message{
		JobID: "job_hand_1", TenantID: "elm-5", Region: "sg", CreateNewServer: "true", Dedicated: "true",
		SubdomainSlug: "elm-5", CanonicalHostname: "elm-5." + zoneName,
	})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := s.Addresses().Run(t.Context(), &out, false, message); err != nil {
		t.Errorf("Run: %v", err)
	}
	if n := len(s.serversOf("elm-5")); n != 3 {
		t.Errorf("the tenant has %d servers, want 3", n)
	}
	if t.Failed() {
		t.Logf("%s", out.String())
		for _, r := range s.GitHub.Runs() {
			t.Logf("run %d:\n%s", r.ID, r.Log)
		}
	}
	if err := s.Addresses().Run(t.Context(), &out, false, []byte(`{"job_id":"x"}`)); provision.ClassOf(err) != provision.Invalid {
		t.Errorf("Run of a message that is none: %v, want it invalid", err)
	}
}

// gitRepository makes a repository with one commit of what is in dir.
func gitRepository(t *testing.T, dir string) string {
	t.Helper()
	repo := filepath.Join(t.TempDir(), "prego-pulumi")
	if err := os.CopyFS(repo, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"}, {"add", "."},
		{"-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "-q", "-m", "The program"},
	} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = repo
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args[0], err, out)
		}
	}
	return repo
}

// A world is everything that a job may change.
type world struct {
	Mutations int // requests that changed something at Hetzner
	Names     map[string][]string
	Records   []string
	Nodes     []provision.Node
	Jobs      []controlplane.Job
}

func (s *Sandbox) world(t *testing.T) world {
	t.Helper()
	w := world{Mutations: s.Hetzner.Mutations(s.hetznerToken), Names: s.Hetzner.Names(s.hetznerToken)}
	for _, r := range s.Cloudflare.Records() {
		w.Records = append(w.Records, fmt.Sprint(r.ID, r.Type, r.Name, r.Content))
	}
	var err, err2 error
	w.Nodes, err = s.Client.Nodes(t.Context())
	w.Jobs, err2 = s.Client.Jobs(t.Context(), controlplane.JobFilter{})
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return w
}

func (s *Sandbox) sharedNode(t *testing.T) string {
	t.Helper()
	p, err := s.Client.Place(t.Context(), controlplane.Question{Tier: placement.Basic, Region: placement.SG})
	if err != nil || p.SelectedNodeID == "" {
		t.Fatalf("no node has room: %+v, %v", p, err)
	}
	return p.SelectedNodeID
}

// An acted is the result of the action, as --json prints it.
type acted struct {
	Stack   string
	Servers []provision.Server
	Records []provision.Record `json:"dns_records"`
	Steps   []struct{ Step, Detail string }
	Error   string

	ErrorClass provision.Class `json:"error_class"`
	NextAction string          `json:"next_action"`
	Warnings   []string

	log string
}

func (a acted) detail(step string) string {
	for _, s := range a.Steps {
		if s.Step == step {
			return s.Detail
		}
	}
	return ""
}

// act runs the action as a person does, with a message on standard input.
func (s *Sandbox) act(t *testing.T, status int, m provision.Message, args ...string) acted {
	t.Helper()
	return s.actIn(t, nil, status, m, args...)
}

// actIn does so with more in the environment.
func (s *Sandbox) actIn(t *testing.T, env []string, status int, m provision.Message, args ...string) acted {
	t.Helper()
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(s.programs, "provision-tenant"), append(args, "--json", "-")...)
	cmd.Stdin = bytes.NewReader(data)
	cmd.Env = append(s.Addresses().environment(), s.Addresses().settings()...)
	cmd.Env = append(append(cmd.Env, "PATH="+s.path, "HOME="+t.TempDir()), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // its status says more
	if got := cmd.ProcessState.ExitCode(); got != status {
		t.Errorf("provision-tenant %s: exit status %d, want %d\n%s", strings.Join(args, " "), got, status, stderr.String())
	}
	var a acted
	if err := json.Unmarshal(stdout.Bytes(), &a); err != nil {
		t.Fatalf("provision-tenant %s: %v\n%s", strings.Join(args, " "), err, stdout.String())
	}
	a.log = stderr.String()
	return a
}

// TestNoCapacity asks for a server that Hetzner has not got, and again when it has.
func TestNoCapacity(t *testing.T) {
	s := startSandbox(t, Options{})
	message := provision.Message{
		JobID: "job_hand_1", TenantID: "elm-5", Region: "sg", CreateNewServer: "true",
		SubdomainSlug: "elm-5", CanonicalHostname: "elm-5." + zoneName,
	}
	s.Hetzner.SetUnavailable("cpx22", "sin", true)
	full := s.act(t, 6, message)
	if full.ErrorClass != provision.NoCapacity || full.NextAction == "" {
		t.Errorf("no server to be had: %+v", full)
	}
	s.Hetzner.SetUnavailable("cpx22", "sin", false)
	if again := s.act(t, 0, message); len(again.Servers) != 1 || len(s.Hetzner.Servers(s.hetznerToken)) != 1 {
		t.Errorf("the same job, when there is one: %+v", again)
	}
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/pulumi"
	"github.com/pregoi/provision-tenant/internal/sandbox/hetzner"
	"github.com/pregoi/provision-tenant/internal/sandbox/toolchain"
)

// stepCommand makes this program be the step, in a process of its own.
const stepCommand = "pulumi-step"

// programDir is the program that both sides run, seen from the repository's root.
const programDir = "testdata/prego-pulumi"

// A pulumiRun is what both sides are run with. It is our step's argument.
type pulumiRun struct {
	Command, Version, Path, Dir, Program, BackendURL, Token, Endpoint string

	Job provision.Job
}

const passphrase = "passphrase"

// benchPulumi makes the three servers of a dedicated tenant with either side, each time
// on a stack that was just made, at a Hetzner that answers at once.
func benchPulumi(ctx context.Context, runs int) error {
	tools, err := toolchain.Ensure(ctx, toolchain.Options{Progress: func(line string) { fmt.Println(line) }})
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "prego-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	const token = "token-of-the-benchmark"
	server := httptest.NewServer(hetzner.New(hetzner.Options{
		Tokens: map[string]hetzner.Token{token: {Project: "bench"}}, RateLimit: 1e9,
	}).Handler())
	defer server.Close()
	r := pulumiRun{
		Command:    tools.Pulumi,
		Version:    tools.PulumiVersion,
		Path:       tools.Dir + string(filepath.ListSeparator) + os.Getenv("PATH"),
		Dir:        dir,
		BackendURL: "file://" + dir,
		Token:      token,
		Endpoint:   server.URL + "/v1",
	}
	var ours, theirs []sample
	for i := range runs + 1 {
		r.Job = job(fmt.Sprintf("ours-%d", i))
		a, err := r.step(ctx)
		if err != nil {
			return err
		}
		r.Job = job(fmt.Sprintf("bare-%d", i))
		b, err := r.bare(ctx)
		if err != nil {
			return err
		}
		if i > 0 { // the first run only warms what is cached
			ours, theirs = append(ours, a), append(theirs, b)
		}
	}
	return compare("pulumi up", ours, theirs)
}

func job(name string) provision.Job {
	return provision.Job{ID: "job-" + name, TenantID: name, Region: placement.EU, CreateNewServer: true, Dedicated: true,
		SubdomainSlug: name, CanonicalHostname: name + ".example.com"}
}

// step measures our step, in a process of ours.
func (r pulumiRun) step(ctx context.Context) (sample, error) {
	// The bare command cannot make its stack by itself, so neither side does.
	var err error
	if r.Program, err = r.prepare(ctx); err != nil {
		return sample{}, err
	}
	defer os.RemoveAll(r.Program)
	arg, err := json.Marshal(r)
	if err != nil {
		return sample{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return sample{}, err
	}
	return measure(exec.CommandContext(ctx, self, stepCommand, string(arg)))
}

func pulumiStep(ctx context.Context, args []string) error {
	var r pulumiRun
	if err := json.Unmarshal([]byte(args[0]), &r); err != nil {
		return err
	}
	p := pulumi.Program{
		Dir: r.Program, Command: r.Command, Version: r.Version, Path: r.Path, TempDir: r.Dir,
		BackendURL: r.BackendURL, Passphrase: passphrase, HCloudToken: r.Token, HCloudEndpoint: r.Endpoint,
	}
	result, err := p.Up(ctx, r.Job, r.Job.StackName())
	if err == nil && len(result.Servers) != 3 {
		err = fmt.Errorf("%d servers, want 3", len(result.Servers))
	}
	return err
}

// bare measures the command alone.
func (r pulumiRun) bare(ctx context.Context) (sample, error) {
	dir, err := r.prepare(ctx)
	if err != nil {
		return sample{}, err
	}
	defer os.RemoveAll(dir)
	return measure(r.command(ctx, dir, "up", "--yes", "--non-interactive", "--stack", r.Job.StackName()))
}

// prepare copies the program, with the stack's settings, and makes the stack.
func (r pulumiRun) prepare(ctx context.Context) (dir string, err error) {
	if dir, err = os.MkdirTemp(r.Dir, "program-"); err != nil {
		return "", err
	}
	if err := os.CopyFS(dir, os.DirFS(programDir)); err != nil {
		return "", err
	}
	settings := fmt.Sprintf("config:\n  prego:job_id: %s\n  prego:tenant_id: %s\n  prego:region: %s\n  prego:dedicated: \"true\"\n  prego:canonical_hostname: %s\n",
		r.Job.ID, r.Job.TenantID, r.Job.Region, r.Job.CanonicalHostname)
	if err := os.WriteFile(filepath.Join(dir, "Pulumi."+r.Job.StackName()+".yaml"), []byte(settings), 0o600); err != nil {
		return "", err
	}
	out, err := r.command(ctx, dir, "stack", "init", "--non-interactive", r.Job.StackName()).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("pulumi stack init: %w\n%s", err, out)
	}
	return dir, nil
}

func (r pulumiRun) command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, r.Command, args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + r.Path, "HOME=" + dir, "PULUMI_HOME=" + filepath.Join(r.Dir, "home"),
		"PULUMI_BACKEND_URL=" + r.BackendURL, "PULUMI_CONFIG_PASSPHRASE=" + passphrase,
		"PULUMI_SKIP_UPDATE_CHECK=true", "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=true",
		"HCLOUD_TOKEN=" + r.Token, "HCLOUD_ENDPOINT=" + r.Endpoint,
	}
	return cmd
}

package pulumi_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	sdk "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/pulumi"
)

// stub returns a program that is run by a shell script in place of pulumi. The script
// finds in $dir a folder to write to.
func stub(t *testing.T, script string) (p *pulumi.Program, dir string) {
	t.Helper()
	dir = t.TempDir()
	command := filepath.Join(dir, "pulumi")
	if err := os.WriteFile(command, []byte("#!/bin/sh\ndir="+dir+"\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return &pulumi.Program{
		Dir: yamlProgram, Command: command, Version: "v3.253.0", Path: os.Getenv("PATH"), TempDir: t.TempDir(),
		BackendURL: "file://" + t.TempDir(), Passphrase: "passphrase-of-the-tests", HCloudToken: token, AccessToken: "access-token-of-the-tests",
	}, dir
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	p, dir := stub(t, `env > $dir/env; echo "$@" > $dir/args; exit 1`)
	p.HCloudEndpoint = "http://127.0.0.1:1/v1"
	p.Env = []string{"GITHUB_TOKEN=a", "ACTIONS_RUNTIME_TOKEN=b", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=c", "INPUT_JOB_ID=d", "CLOUDFLARE_API_TOKEN=e",
		"INTERNAL_API_KEY=f", "HOME=/root", "LD_PRELOAD=x", "AWS_SECRET_ACCESS_KEY=g", "HTTPS_PROXY=http://proxy.example.com", "LANG=C.UTF-8",
		"SSH_AUTH_SOCK=/run/agent"}
	_, _ = p.Up(t.Context(), dedicated("job-1", "acme"), "dedicated-acme")
	data, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		got[name] = value
	}
	want := []string{"GOGC", "GOMAXPROCS", "GOMEMLIMIT", "HCLOUD_ENDPOINT", "HCLOUD_TOKEN", "HOME", "HTTPS_PROXY", "LANG", "PATH", "PREGO_PULUMI_RUN", "PULUMI_ACCESS_TOKEN",
		"PULUMI_AUTOMATION_API", "PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_DEBUG_COMMANDS",
		"PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION", "PULUMI_HOME", "PULUMI_SKIP_UPDATE_CHECK", "TMPDIR"}
	shells := func(name string) bool { return name == "PWD" || name == "SHLVL" || name == "_" || name == "OLDPWD" }
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(got)), shells)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	for _, name := range []string{"HOME", "PULUMI_HOME", "TMPDIR"} {
		if !strings.HasPrefix(got[name], p.TempDir) {
			t.Errorf("%s is %s, not a private folder", name, got[name])
		}
	}
	args, _ := os.ReadFile(filepath.Join(dir, "args"))
	for _, secret := range []string{p.HCloudToken, p.AccessToken, p.Passphrase} {
		if strings.Contains(string(args), secret) {
			t.Errorf("a secret is in the arguments %s", args)
		}
	}
}

// TestInstall fetches what a program in another language needs, but no plugins.
func TestInstall(t *testing.T) {
	t.Parallel()
	p, dir := stub(t, `echo "$@" > $dir/args; exit 1`)
	p.Dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(p.Dir, "Pulumi.yaml"), []byte("name: prego\nruntime: nodejs\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := p.Up(t.Context(), shared("job-1"), "sg")
	if args, _ := os.ReadFile(filepath.Join(dir, "args")); !strings.Contains(string(args), "install --no-plugins") {
		t.Errorf("Up: %v, with arguments %q", err, args)
	}
}

func TestOrganization(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{"": "--stack us/sg", "https://pulumi.example.com": "--stack us/sg", "file:///tmp": "--stack sg", "s3://bucket": "--stack sg"} {
		p, dir := stub(t, `echo "$@" > $dir/args; exit 1`)
		p.Organization, p.BackendURL = "us", url
		_, _ = p.Up(t.Context(), shared("job-1"), "sg")
		if args, _ := os.ReadFile(filepath.Join(dir, "args")); !strings.Contains(string(args), want) {
			t.Errorf("on %q the arguments are %q, want %s", url, args, want)
		}
	}
}

// TestWhatPulumiSays checks what is made of the words and the status of the command.
func TestWhatPulumiSays(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		script string
		want   provision.Class
		says   string
	}{
		"cloud lock":        {`echo "error: [409] Conflict: Another update is currently in progress." >&2; exit 255`, provision.Busy, "another update"},
		"foreign lock":      {`printf 'error: the stack is currently locked by 1 lock(s).\n  s3://x: created by root@h (pid 1) at 2026-01-02T03:04:05Z\n' >&2; exit 1`, provision.Busy, "root@h (pid 1) at 2026-01-02T03:04:05Z"},
		"not logged in":     {`echo "error: PULUMI_ACCESS_TOKEN must be set for login during non-interactive CLI sessions" >&2; exit 3`, provision.Denied, "pulumi's service"},
		"wrong passphrase":  {`echo "error: incorrect passphrase" >&2; exit 1`, provision.Denied, "passphrase"},
		"rate limit":        {`echo "error: pulumi service: request rate-limit exceeded" >&2; exit 1`, provision.Busy, "too many"},
		"plugin":            {`echo "error: no resource plugin 'pulumi-resource-hcloud' found in the workspace at version v1.41.0" >&2; exit 1`, provision.Invalid, "pulumi-resource-hcloud"},
		"crash":             {`echo "The Pulumi CLI encountered a fatal error. This is a bug!" >&2; exit 255`, provision.Internal, "bug"},
		"nothing":           {`exit 1`, provision.Internal, "status 1"},
		"killed":            {`kill -9 $$`, provision.Internal, "killed"},
		"a secret":          {`echo "error: the token ` + token + ` is bad" >&2; exit 1`, provision.Internal, "[secret]"},
		"workflow commands": {`printf 'error: a \033[31m##[add-mask]x\033[0m\r::set-env::y\n' >&2; exit 1`, provision.Internal, "a ##[add-mask]x ::set-env::y"},
		"well, silently":    {`exit 0`, provision.Internal, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := stub(t, test.script)
			p.Wait = time.Millisecond
			_, err := p.Up(t.Context(), dedicated("job-1", "acme"), "dedicated-acme")
			if provision.ClassOf(err) != test.want || !strings.Contains(err.Error(), test.says) {
				t.Errorf("Up: %v (%s), want %s that says %q", err, provision.ClassOf(err), test.want, test.says)
			}
			if err != nil && regexp.MustCompile("[\x00-\x1f\x1b]").MatchString(err.Error()) {
				t.Errorf("Up: %q holds control characters", err)
			}
		})
	}
}

func TestMuchOutput(t *testing.T) {
	t.Parallel()
	p, _ := stub(t, `yes "a line that says nothing" | head -c 50000000; echo "error: at last" >&2; exit 1`)
	var n int
	p.Log = counter{&n}
	_, err := p.Up(t.Context(), dedicated("job-1", "acme"), "dedicated-acme")
	if err == nil || !strings.Contains(err.Error(), "at last") || len(err.Error()) > 1000 {
		t.Errorf("Up: %v", err)
	}
	if n < 50_000_000 {
		t.Errorf("the log got %d bytes", n)
	}
}

type counter struct{ n *int }

func (c counter) Write(p []byte) (int, error) {
	*c.n += len(p)
	return len(p), nil
}

func TestHangs(t *testing.T) {
	t.Parallel()
	p, dir := stub(t, `trap '' INT TERM; echo $$ > $dir/pid; sleep 600 & wait; sleep 600; sleep 600`)
	p.Timeout, p.Grace = 300*time.Millisecond, 200*time.Millisecond
	start := time.Now()
	_, err := p.Up(t.Context(), dedicated("job-1", "acme"), "dedicated-acme")
	if provision.ClassOf(err) != provision.Busy || time.Since(start) > 5*time.Second {
		t.Errorf("Up: %v (%s) after %v, want busy", err, provision.ClassOf(err), time.Since(start))
	}
	if left := pulumis(p); len(left) > 0 {
		t.Errorf("processes %v were left", left)
	}
	if _, err := os.Stat(filepath.Join(dir, "pid")); err != nil {
		t.Error(err)
	}
}

func TestSecretOutputs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.program(t)
	p.Inline = func(ctx *sdk.Context) error {
		ctx.Export("server_ip", sdk.ToSecret(sdk.String("203.0.113.77")))
		ctx.Export("server_id", sdk.Int(4711))
		ctx.Export("db_server_ip", sdk.String("203.0.113.78"))
		return nil
	}
	var mu sync.Mutex
	var masked []string
	p.Mask = func(secret string) {
		mu.Lock()
		defer mu.Unlock()
		masked = append(masked, secret)
	}
	want := []provision.Server{{Role: provision.App, ID: "4711", IPv4: "203.0.113.77"}, {Role: provision.DB, IPv4: "203.0.113.78"}}
	if diff := cmp.Diff(want, up(t, p, dedicated("job-1", "acme")).Servers); diff != "" {
		t.Errorf("servers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"203.0.113.77"}, masked); diff != "" {
		t.Errorf("masked (-want +got):\n%s", diff)
	}
}

func TestMissingOutputs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		job    provision.Job
		export sdk.Map
		says   string
	}{
		"no address":   {dedicated("job-1", "acme"), sdk.Map{"server_id": sdk.String("1")}, "server_ip"},
		"another node": {shared("job-1"), sdk.Map{"nodes": sdk.Map{"job-2": sdk.Map{"server_ip": sdk.String("203.0.113.1")}}}, "nodes.job-1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newWorld(t).program(t)
			p.Inline = func(ctx *sdk.Context) error {
				for name, v := range test.export {
					ctx.Export(name, v)
				}
				return nil
			}
			_, err := p.Up(t.Context(), test.job, test.job.StackName())
			if provision.ClassOf(err) != provision.Internal || !strings.Contains(err.Error(), test.says) {
				t.Errorf("Up: %v (%s), want internal that names %s", err, provision.ClassOf(err), test.says)
			}
		})
	}
}

// TestProgress checks that the making of each server is told, with its end.
func TestProgress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	up(t, w.program(t), shared("job-1"))
	var got []string
	for _, p := range w.progress {
		if p.Change.Type == "hcloud:index/server:Server" {
			line, _, _ := strings.Cut(p.String(), " in ")
			got = append(got, fmt.Sprint(p.Doing, ": ", line))
		}
	}
	want := []string{"started: create hcloud:index/server:Server node-job-1", "finished: create hcloud:index/server:Server node-job-1: done"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
}

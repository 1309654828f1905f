package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// imageName is what is measured; .ci/image build makes it.
const imageName = "localhost/provision-tenant:none"

// nodeAction is the peer, seen from the repository's root.
const nodeAction = "internal/bench/testdata/node-action"

// A start is how long an action took to its first request, and how much memory it had had
// when it ended; 0 where an engine starts it, whose own memory that would be.
type start struct {
	first time.Duration
	rss   int64 // KiB
}

// A starter is one way to start an action.
type starter struct {
	name string
	cmd  func(ctx context.Context, env []string) *exec.Cmd
	list []start
}

// benchImage starts the action up to its first request to the control plane: in its
// container, as a process, and as an action for Node.js, bundled, that does the same.
func benchImage(ctx context.Context, runs int) error {
	dir, err := os.MkdirTemp("", "prego-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := buildSides(ctx, dir); err != nil {
		return err
	}
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o755); err != nil {
		return err
	}
	sides := []*starter{
		{name: "container", cmd: func(ctx context.Context, env []string) *exec.Cmd {
			args := []string{"run", "--rm", "--pull=never", "--network", "host", "--volume", home + ":/github/home", "--env", "HOME=/github/home"}
			for _, v := range env {
				name, _, _ := strings.Cut(v, "=")
				args = append(args, "--env", name)
			}
			cmd := exec.CommandContext(ctx, "podman", append(args, imageName)...)
			cmd.Env = append(os.Environ(), env...)
			return cmd
		}},
		{name: "process", cmd: func(ctx context.Context, env []string) *exec.Cmd {
			cmd := exec.CommandContext(ctx, filepath.Join(dir, "provision-tenant"))
			cmd.Env = append(env, "HOME="+home, "PATH="+os.Getenv("PATH"))
			return cmd
		}},
		{name: "node", cmd: func(ctx context.Context, env []string) *exec.Cmd {
			cmd := exec.CommandContext(ctx, "node", filepath.Join(dir, "bundle.cjs"))
			cmd.Env = append(env, "HOME="+home, "PATH="+os.Getenv("PATH"))
			return cmd
		}},
	}
	for i := range runs + 1 {
		for _, s := range sides {
			one, err := timeToFirst(ctx, s)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if i > 0 { // the first run only warms what is cached
				s.list = append(s.list, one)
			}
		}
	}
	return showStarts(sides)
}

// buildSides builds our program, and the peer's bundle, into dir.
func buildSides(ctx context.Context, dir string) error {
	if _, err := exec.LookPath("podman"); err != nil {
		return errors.New("there is no podman: .ci/image installs it, and builds " + imageName)
	}
	if err := os.CopyFS(filepath.Join(dir, "peer"), os.DirFS(nodeAction)); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"podman", "image", "exists", imageName},
		{"go", "build", "-o", filepath.Join(dir, "provision-tenant"), "./cmd/provision-tenant"},
		{"npm", "install", "--prefix", filepath.Join(dir, "peer"), "--no-audit", "--no-fund", "--silent"},
		{filepath.Join(dir, "peer/node_modules/.bin/esbuild"), filepath.Join(dir, "peer/index.js"), "--bundle", "--platform=node",
			"--target=node20", "--minify", "--log-level=error", "--outfile=" + filepath.Join(dir, "bundle.cjs")},
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// timeToFirst starts an action and waits for its first request, which is refused, so that
// it ends.
func timeToFirst(ctx context.Context, s *starter) (start, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	first := make(chan time.Time, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case first <- time.Now():
		default:
		}
		http.Error(w, `{"title":"no"}`, http.StatusForbidden)
	}))
	defer server.Close()
	cmd := s.cmd(ctx, []string{
		"GITHUB_ACTIONS=true", "GITHUB_RUN_ID=1", "GITHUB_RUN_ATTEMPT=1", "GITHUB_REPOSITORY=a/b", "GITHUB_OUTPUT=/dev/null",
		"CONTROL_PLANE_URL=" + server.URL, "INTERNAL_API_KEY=key-of-the-benchmark",
		"CLOUDFLARE_API_TOKEN=token-of-the-benchmark", "CLOUDFLARE_ZONE_NAME=example.com", "CLOUDFLARE_API_BASE_URL=" + server.URL,
		"INPUT_JOB_ID=job-1", "INPUT_TENANT_ID=acme", "INPUT_REGION=sg", "INPUT_TARGET_SERVER_ID=node-1",
		"INPUT_SUBDOMAIN_SLUG=acme", "INPUT_CANONICAL_HOSTNAME=acme.example.com",
	})
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return start{}, err
	}
	select {
	case at := <-first:
		usage, _ := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		return start{at.Sub(began), usage.Maxrss}, nil
	default:
		return start{}, fmt.Errorf("it made no request\n%s", out)
	}
}

// showStarts prints the medians.
func showStarts(sides []*starter) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "median of %d\tuntil the first request\tfastest\tpeak memory\t\n", len(sides[0].list))
	for _, s := range sides {
		slices.SortFunc(s.list, func(a, b start) int { return int(a.first - b.first) })
		middle := s.list[len(s.list)/2]
		memory := strconv.FormatInt(middle.rss/1024, 10) + " MiB"
		if s.name == "container" {
			memory = "" // podman's own
		}
		fmt.Fprintf(w, "%s\t%v\t%v\t%s\t\n", s.name, middle.first.Round(time.Millisecond/10), s.list[0].first.Round(time.Millisecond/10), memory)
	}
	return w.Flush()
}

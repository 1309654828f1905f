package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/pregoi/provision-tenant/internal/sandbox/github"
)

// What the peers run. Neither reads the workflow file, remembers the job, or keeps a pace.
var (
	//go:embed dispatch.sh
	curlScript string
	//go:embed dispatch.mjs
	octokitScript string
)

const (
	dispatchRepo  = "pregoi/prego"
	dispatchToken = "token-of-the-benchmark"
)

// A contender starts one run with the message in a file.
type contender struct {
	name    string
	command func(ctx context.Context, message string) *exec.Cmd
	samples []sample
	memory  []int64 // bytes
}

// benchDispatch starts one run with each contender in turn, from a cold process to the
// run's id, at a GitHub that answers at once.
func benchDispatch(ctx context.Context, runs int) error {
	dir, err := os.MkdirTemp("", "prego-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	hub := github.New(github.Options{Repo: dispatchRepo, Token: dispatchToken, Files: os.DirFS("."),
		Runner: github.RunnerInstant, Limits: github.Unlimited()})
	server := httptest.NewServer(hub.Handler())
	defer server.Close()
	list, err := contenders(ctx, dir, server.URL)
	if err != nil {
		return err
	}
	dispatched := 0
	once := func(c *contender, measure func(*exec.Cmd) error) error {
		message, err := writeMessage(dir, dispatched)
		if err != nil {
			return err
		}
		if err := measure(c.command(ctx, message)); err != nil {
			return err
		}
		if dispatched++; len(hub.Runs()) != dispatched {
			return fmt.Errorf("%s: %d runs after %d dispatches", c.name, len(hub.Runs()), dispatched)
		}
		return nil
	}
	for i := range runs + memoryRuns {
		for j := range list {
			c := list[(i+j)%len(list)] // none is always the first
			look := c.time
			if i < memoryRuns { // which also warms what is cached
				look = c.weigh
			}
			if err := once(c, look); err != nil {
				return err
			}
		}
	}
	return ranking(list)
}

// memoryRuns is how often the memory is looked at, which would disturb the time.
const memoryRuns = 5

func (c *contender) time(cmd *exec.Cmd) error {
	s, err := measure(cmd)
	c.samples = append(c.samples, s)
	return err
}

func (c *contender) weigh(cmd *exec.Cmd) error {
	n, err := peak(cmd)
	c.memory = append(c.memory, n)
	return err
}

// contenders returns ours and those peers that can be had here.
func contenders(ctx context.Context, dir, api string) ([]*contender, error) {
	program := filepath.Join(dir, "dispatcher")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "./cmd/dispatcher")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GITHUB_API_URL=" + api, "GITHUB_TOKEN=" + dispatchToken, "REPO=" + dispatchRepo}
	command := func(more []string, name string, args ...string) func(context.Context, string) *exec.Cmd {
		return func(ctx context.Context, message string) *exec.Cmd {
			cmd := exec.CommandContext(ctx, name, append(slices.Clone(args), message)...)
			cmd.Env = append(slices.Clone(env), more...)
			return cmd
		}
	}
	list := []*contender{{name: "dispatcher", command: command([]string{"DATABASE_URL=sqlite://" + filepath.Join(dir, "ledger.db")},
		program, "dispatch", "--repo", dispatchRepo, "--gap=0", "--per-minute=0", "--per-hour=0")}}

	if err := errors.Join(found("bash"), found("curl"), found("jq")); err != nil {
		fmt.Println("without curl and jq:", err)
	} else {
		list = append(list, &contender{name: "bash, curl, jq", command: command(nil, "bash", "-c", curlScript, "dispatch")})
	}
	if err := octokit(ctx, dir); err != nil {
		fmt.Println("without octokit:", err)
	} else {
		list = append(list, &contender{name: "node, @octokit/core", command: command(nil, "node", filepath.Join(dir, "dispatch.mjs"))})
	}
	return list, nil
}

func found(program string) error {
	_, err := exec.LookPath(program)
	return err
}

// octokit installs it from the registry that npm is set up with.
func octokit(ctx context.Context, dir string) error {
	if err := errors.Join(found("node"), found("npm")); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "dispatch.mjs"), []byte(octokitScript), 0o600); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "npm", "install", "--prefix", dir, "--no-audit", "--no-fund", "--no-save", "@octokit/core").CombinedOutput()
	if err != nil {
		return fmt.Errorf("npm install: %w\n%s", err, out)
	}
	return nil
}

func writeMessage(dir string, n int) (string, error) {
	id := fmt.Sprintf("bench-%d", n)
	data, err := json.Marshal(job(id).Message())
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, id+".json")
	return name, os.WriteFile(name, data, 0o600)
}

// ranking prints what each has cost, and how many times that is what the first has cost.
func ranking(list []*contender) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\twall min\tmedian\tp99\tratio\tCPU median\tratio\tmemory\t\n")
	wall := func(s sample) time.Duration { return s.wall }
	cpu := func(s sample) time.Duration { return s.cpu }
	for _, c := range list {
		sorted := slices.SortedFunc(slices.Values(c.samples), func(a, b sample) int { return int(a.wall - b.wall) })
		slices.Sort(c.memory)
		n := len(sorted)
		ms := func(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }
		ratio := func(of func(sample) time.Duration) float64 {
			return median(c.samples, of).Seconds() / median(list[0].samples, of).Seconds()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.1f\t%s\t%.1f\t%d MB\t\n", c.name, ms(sorted[0].wall), ms(median(c.samples, wall)), ms(sorted[(n*99-1)/100].wall),
			ratio(wall), ms(median(c.samples, cpu)), ratio(cpu), c.memory[memoryRuns/2]>>20)
	}
	return w.Flush()
}

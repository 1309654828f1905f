package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

const (
	// computeConns is how many connections ask for placements, each for one at a time.
	computeConns = 32
	// enqueueConns is how many callers order tenants at once.
	enqueueConns = 256
	// slice is how long a side is measured before it is the other's turn, and warmUp how long
	// it runs before that.
	slice, warmUp = 1500 * time.Millisecond, 200 * time.Millisecond
)

const benchKey = "a-key-of-the-benchmark-that-is-long-enough"

// benchControlPlane loads `controlplane serve`, a process of its own with its file on a
// disk, over loopback from here: one machine carries both. Placements are asked of it and of
// a Worker under Miniflare; tenants are ordered of it by many callers, and one after another
// at the store alone.
func benchControlPlane(ctx context.Context, runs int) error {
	dir, err := diskDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "controlplane")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "./cmd/controlplane")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	peer, err := newMiniflare(ctx, dir)
	if err != nil {
		fmt.Println("without Miniflare:", err)
	}
	fmt.Printf("%d processors, which the load is made on, too; load average before: %s\n", runtime.NumCPU(), loadAverage())
	for _, nodes := range []int{10_000, 100} {
		if err := benchCompute(ctx, runs, dir, program, peer, nodes); err != nil {
			return fmt.Errorf("compute with %d nodes: %w", nodes, err)
		}
	}
	if err := benchEnqueue(ctx, runs, dir, program); err != nil {
		return fmt.Errorf("enqueue: %w", err)
	}
	fmt.Println("load average after:", loadAverage())
	return nil
}

// benchCompute asks both sides in turn for the same placement.
func benchCompute(ctx context.Context, runs int, dir, program string, peer *miniflare, nodes int) error {
	list := benchNodes(nodes)
	ours, err := startControlPlane(ctx, program, filepath.Join(dir, fmt.Sprintf("compute-%d.db", nodes)))
	if err != nil {
		return err
	}
	defer ours.stop()
	if err := register(ctx, ours.addr, list); err != nil {
		return err
	}
	sides := []*side{{name: "controlplane", process: ours}}
	if peer != nil {
		theirs, err := peer.start(ctx, list)
		if err != nil {
			return err
		}
		defer theirs.stop()
		sides = append(sides, &side{name: "Miniflare, D1", process: theirs})
	}
	const body = `{"plan_tier":"basic","region":"sg"}`
	if err := sameChoice(ctx, sides, body); err != nil {
		return err
	}
	request := post("/internal/placement/compute", body, "")
	for _, s := range sides {
		s.measure = func(ctx context.Context, d time.Duration) (result, error) {
			l := load{addr: s.process.addr, conns: computeConns, status: http.StatusOK,
				request: func(int64) []byte { return request }}
			return l.run(ctx, d)
		}
	}
	if err := alternate(ctx, runs, sides); err != nil {
		return err
	}
	fmt.Printf("\ncompute, %d nodes in three regions, 20 candidates, %d connections:\n", nodes, computeConns)
	return printSides(sides)
}

// A side is one of those that are compared.
type side struct {
	name    string
	process *process // nil for none of its own
	measure func(ctx context.Context, d time.Duration) (result, error)
	results []result
}

// cpu is what the side's process has used so far.
func (s *side) cpu() time.Duration {
	if s.process == nil {
		return used(os.Getpid())
	}
	return used(s.process.cmd.Process.Pid)
}

// alternate measures each side so many times. Who was first is last the next time.
func alternate(ctx context.Context, runs int, sides []*side) error {
	for i := range runs {
		for j := range sides {
			s := sides[j]
			if i%2 == 1 {
				s = sides[len(sides)-1-j]
			}
			if _, err := s.measure(ctx, warmUp); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			before := s.cpu()
			r, err := s.measure(ctx, slice)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			r.cpu = s.cpu() - before
			s.results = append(s.results, r)
		}
	}
	return nil
}

// printSides prints the medians of each side, and how many times the first is the others.
func printSides(sides []*side) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\tper second\tleast\tmost\tratio\tp50\tp99\tCPU each\tratio\tmemory\t\n")
	first := middleOf(sides[0].results)
	for _, s := range sides {
		m := middleOf(s.results)
		memory := "-"
		if s.process != nil {
			memory = fmt.Sprintf("%d MB", resident(s.process.cmd.Process.Pid)>>20)
		}
		least, most := extremes(s.results)
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f\t%.1f\t%.2f ms\t%.2f ms\t%.0f µs\t%.1f\t%s\t\n", s.name, m.rate(), least, most, first.rate()/m.rate(),
			m.p50.Seconds()*1000, m.p99.Seconds()*1000, m.each()*1e6, m.each()/first.each(), memory)
	}
	return w.Flush()
}

// loadAverage is what the system says; "unknown" where it does not.
func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(data))
	if err != nil || len(fields) < 3 {
		return "unknown"
	}
	return strings.Join(fields[:3], " ")
}

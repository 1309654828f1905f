// Command bench measures what the project does beside a peer that does the same, and
// prints the medians and their ratio. Both sides run in turn, so that a busy machine
// slows both.
//
//	go run ./internal/bench pulumi
//	go run ./internal/bench -runs 100 dispatch
//
// To add a benchmark, write its file, and name it in benchmarks.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// A benchmark is one comparison.
type benchmark struct {
	name string
	says string
	run  func(ctx context.Context, runs int) error
}

var benchmarks = []benchmark{
	{"controlplane", "placements and orders over HTTP, beside a Worker under Miniflare, and beside a commit for each order", benchControlPlane},
	{"placement", "one update and one decision with the index, beside Decide, and beside a filter and a sort alone", benchPlacement},
	{"pulumi", "the whole step pulumi_up, beside a bare `pulumi up --yes` of the same program", benchPulumi},
	{"drain", "1,000 messages within GitHub's limits, in virtual time, beside a model of octokit's throttling", benchDrain},
	{"dispatch", "one run from a cold start, beside curl with jq and node with octokit", benchDispatch},
	{"image", "the action from its start to its first request, beside one for Node.js that does the same", benchImage},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == stepCommand {
		return pulumiStep(ctx, args[1:])
	}
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	runs := flags.Int("runs", 9, "how often each side is run")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: bench [-runs N] [NAME ...]; without a name, all:")
		for _, b := range benchmarks {
			fmt.Fprintf(flags.Output(), "  %s\n    \t%s\n", b.name, b.says)
		}
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	named := map[string]bool{}
	for _, name := range flags.Args() {
		named[name] = true
	}
	all := len(named) == 0
	for _, b := range benchmarks {
		if !all && !named[b.name] {
			continue
		}
		delete(named, b.name)
		fmt.Printf("%s: %s, %d runs each\n", b.name, b.says, *runs)
		if err := b.run(ctx, *runs); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	for name := range named {
		return fmt.Errorf("there is no benchmark %q", name)
	}
	return nil
}

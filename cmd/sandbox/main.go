// Sandbox runs all of provision-tenant on one machine: the control plane, the dispatcher and
// the action as they are, the real Pulumi engine, and stand-ins for GitHub, Hetzner and
// Cloudflare on loopback. No account is needed.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(os.Stdin, os.Stdout, os.Stderr).ExecuteContext(ctx)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "sandbox: stopped; nothing is left running")
	default:
		fmt.Fprintf(os.Stderr, "sandbox: %v\n", err)
	}
	os.Exit(provision.ExitStatus(err))
}

func command(stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "sandbox",
		Short: "Provision tenants on this machine, with no account",
		Long: `Sandbox runs the control plane, the dispatcher and the action as they are, with the real
Pulumi engine, against stand-ins for GitHub, Hetzner and Cloudflare on loopback.

The first time it builds the pulumi command from its module, unless a suitable one is on PATH.
Ctrl-C stops everything; only the cache stays.`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return provision.Errorf(provision.Invalid, "%w", err) })

	options := sandbox.Options{Progress: func(text string) { fmt.Fprintln(stderr, text) }}
	flags := func(c *cobra.Command) *cobra.Command {
		c.Flags().StringVar(&options.PulumiRepo, "pulumi-repo", "", "git `URL` of a Pulumi program that the action clones (default: the built-in program)")
		c.Flags().StringVar(&options.PulumiRef, "pulumi-ref", "main", "its branch, tag or full commit")
		c.Flags().StringVar(&options.Image, "image", "", "container image of the action to run instead of the process")
		c.Flags().StringVar(&options.Engine, "engine", "", "the program that runs the image (default: podman or docker)")
		c.Flags().DurationVar(&options.ServerTime, "server-time", 2*time.Second, "how long Hetzner takes until a new server runs")
		return c
	}
	keep := false
	demo := flags(&cobra.Command{
		Use:   "demo",
		Short: "Provision three tenants and check every fact",
		Long: `Demo provisions a free tenant on a new shared server, a basic one on the same server, and an
enterprise one on three servers of its own, and reads every fact back from the system that holds
it. It exits 0 only if all of them are right.`,
		Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), options, func(ctx context.Context, s *sandbox.Sandbox) error {
				err := s.Demo(ctx, stdout, isTerminal(stdout))
				if err != nil || !keep {
					return err
				}
				return serve(ctx, s, stdout)
			})
		},
	})
	demo.Flags().BoolVar(&keep, "keep", false, "leave everything up afterwards, and print addresses and commands")
	root.AddCommand(demo, flags(&cobra.Command{
		Use:   "serve",
		Short: "Stay up, and print addresses and commands",
		Args:  usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c.Context(), options, func(ctx context.Context, s *sandbox.Sandbox) error { return serve(ctx, s, stdout) })
		},
	}), flags(&cobra.Command{
		Use:   "run MESSAGE",
		Short: "Send one ProvisionQueueMessage through a sandbox",
		Long: `Run sends the message in a file (or - for standard input) through the sandbox that is up, and
follows its run to the end. Where none is up it starts one, just for this message.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			message, err := read(args[0], stdin)
			if err != nil {
				return err
			}
			if _, err := provision.ParseMessage(message, false); err != nil {
				return err // before anything is started for it
			}
			a, err := sandbox.Find(c.Context())
			if provision.ClassOf(err) == provision.NotFound {
				fmt.Fprintf(stderr, "%v: one is started for this message\n", err)
				return with(c.Context(), options, func(ctx context.Context, s *sandbox.Sandbox) error {
					return s.Addresses().Run(ctx, stdout, isTerminal(stdout), message)
				})
			}
			if err != nil {
				return err
			}
			return a.Run(c.Context(), stdout, isTerminal(stdout), message)
		},
	}))
	return root
}

// usage makes a wrong number of arguments bad input.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return provision.Errorf(provision.Invalid, "%w: see sandbox %s --help", err, c.Name())
		}
		return nil
	}
}

// with brings a sandbox up for as long as do takes.
func with(ctx context.Context, o sandbox.Options, do func(context.Context, *sandbox.Sandbox) error) error {
	s, err := sandbox.Start(ctx, o)
	if err != nil {
		return err
	}
	defer s.Close()
	return do(ctx, s)
}

// serve leaves s up until somebody stops it.
func serve(ctx context.Context, s *sandbox.Sandbox, out io.Writer) error {
	if err := s.Announce(); err != nil {
		return err
	}
	s.Addresses().Print(out)
	return s.Wait(ctx)
}

func read(name string, stdin io.Reader) ([]byte, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, provision.Errorf(provision.Invalid, "message: %w", err)
		}
		defer f.Close()
		in = f
	}
	return io.ReadAll(io.LimitReader(in, provision.MaxMessageBytes+1))
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

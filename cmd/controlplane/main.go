// Controlplane is the service that takes orders for tenants, decides where they land, and
// starts their runs; nodes and runs report to it.
//
//	controlplane serve       answers the API
//	controlplane placement   asks one that is up where a tenant would land
//	controlplane node        drains a node of one that is up, or takes it into use again
//	controlplane backup      copies the database of one that is up, or of none
//
// Settings come from the environment: see settings.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pregoi/provision-tenant/internal/provision"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := command(ctx, os.Args[1:], os.Stdout, os.Stderr, os.Getenv)
	stop()
	os.Exit(status)
}

// command runs the command that args name, and returns its exit status.
func command(ctx context.Context, args []string, stdout, stderr io.Writer, getenv func(string) string) int {
	root := &cobra.Command{
		Use:           "controlplane",
		Short:         "Take orders for tenants, place them, and start their runs",
		Long:          "Take orders for tenants, place them, and start their runs.\n\n" + settingsHelp(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usageArgs(cobra.NoArgs),
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError(err) })
	root.AddCommand(serveCommand(stderr, getenv), placementCommand(stdout, getenv), nodeCommand(stdout, getenv), backupCommand(stdout, getenv))
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintf(stderr, "controlplane: %v\n", err)
		// The advice of a class is for runs.
		if e := (*provision.Error)(nil); errors.As(err, &e) && e.Next != "" {
			fmt.Fprintf(stderr, "next: %s\n", e.Next)
		}
	}
	return provision.ExitStatus(err)
}

func usageError(err error) error {
	return &provision.Error{Class: provision.Invalid, Text: err.Error(), Next: "see controlplane --help", Err: err}
}

// usageArgs makes check's complaint a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usageError(err)
		}
		return nil
	}
}

// invalid joins what is wrong with the settings into one error; nil for nothing.
func invalid(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	text := errs[0].Error()
	for _, err := range errs[1:] {
		text += "; " + err.Error()
	}
	return &provision.Error{Class: provision.Invalid, Text: text, Next: "correct the environment; see controlplane --help", Err: errors.Join(errs...)}
}

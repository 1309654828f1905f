// Dispatcher turns ProvisionQueueMessages into runs of the provisioning workflow.
//
// Each command has its file, and its line in root. A command reads what it needs from
// its flags and from the environment that program.getenv stands for, and returns an
// error whose class is the exit status.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"unicode"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	p := &program{in: os.Stdin, out: os.Stdout, errs: os.Stderr, getenv: os.Getenv}
	err := p.run(ctx, os.Args[1:])
	stop()
	if err != nil {
		p.explain(err)
		os.Exit(provision.ExitStatus(err))
	}
}

// A program is what the commands share: the streams and the environment.
type program struct {
	in        io.Reader
	out, errs io.Writer
	getenv    func(string) string
}

// run carries out one command line. What cobra finds wrong with it is Invalid.
func (p *program) run(ctx context.Context, args []string) error {
	root := p.root()
	root.SetArgs(args)
	started := false
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !started {
		return &provision.Error{Class: provision.Invalid, Text: err.Error(), Next: "see " + cmd.CommandPath() + " --help"}
	}
	return err
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "dispatcher",
		Short: "Start one workflow run per provisioning job",
		Long: `Dispatcher takes ProvisionQueueMessages and starts the provisioning workflow with them,
each field with the type that the workflow file declares for it.

Exit status: 0 done; 1 internal; 2 bad input or usage; 3 not authorised; 4 conflict;
5 try again later; 130 cancelled.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.errs)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(p.convert(), p.check(), p.dispatch(), p.consume(), p.serve())
	return root
}

// explain says what went wrong: one line, or one for each wrong field, and the next thing to do.
func (p *program) explain(err error) {
	text := printable(err.Error())
	if fields := provision.FieldErrors(err); len(fields) > 1 {
		before, _, _ := strings.Cut(text, printable(fields[0].Error()))
		text = fmt.Sprintf("%s%d fields are wrong", before, len(fields))
		for _, f := range fields {
			text += "\n  " + printable(f.Error())
		}
	}
	fmt.Fprintf(p.errs, "dispatcher: %s\nnext: %s\n", text, printable(provision.NextAction(err)))
}

// printable returns text of unknown origin without what a terminal would obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

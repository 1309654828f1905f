package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pregoi/provision-tenant/internal/actions"
	"github.com/pregoi/provision-tenant/internal/provision"
)

const long = `Provision-tenant turns one provisioning job into a tenant: servers, node, DNS record, completion.
Run it again with the same job_id, and nothing is made twice.

In a workflow the runner passes the inputs as INPUT_… variables. On a laptop they come from
flags, or from a message (a file, or - for standard input) with flags for the rest; a flag
wins over the message, and both win over INPUT_….

Exit status: 0 done, 1 internal, 2 bad input, 3 not authorised, 4 conflict, 5 try again later,
6 no capacity, 130 cancelled.`

const example = `  # What would this message do? Nothing is changed.
  provision-tenant --mode plan message.json

  # Which stack would a dedicated tenant get? Needs no network.
  provision-tenant --step select_stack message.json`

// command is the whole program; it returns the exit status.
func command(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) int {
	status := 0
	asJSON := false
	flags := map[string]*string{}
	root := &cobra.Command{
		Use:           "provision-tenant [flags] [MESSAGE]",
		Short:         "Turn one provisioning job into a tenant",
		Long:          long,
		Example:       example,
		Args:          cobra.MaximumNArgs(1),
		SilenceUsage:  true,
		SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{
			DisableDefaultCmd: true,
		},
	}
	for _, in := range inputs {
		usage := in.usage
		if in.fallback != "" {
			usage += fmt.Sprintf(" (default %q)", in.fallback)
		}
		flags[in.name] = root.Flags().String(strings.ReplaceAll(in.name, "_", "-"), "", usage)
	}
	root.Flags().SortFlags = false
	root.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON on standard output, and progress on standard error")
	root.Flags().Lookup("json").DefValue = "false"
	var help strings.Builder
	for _, s := range settings {
		fmt.Fprintf(&help, "  %-26s %s\n", s.name, s.usage)
	}
	root.SetUsageTemplate(root.UsageTemplate() + "\nSettings, from the environment:\n" + help.String())
	root.RunE = func(cmd *cobra.Command, args []string) error {
		gha := &actions.Action{Stdout: stdout, Getenv: getenv}
		if asJSON {
			gha.Stdout = stderr
		}
		show := func(rep report) error {
			if !asJSON {
				return nil
			}
			_, err := io.WriteString(stdout, gha.Redact(compact(rep))+"\n")
			return err
		}
		flag := func(name string) string {
			if f := flags[name]; f != nil {
				return *f
			}
			return ""
		}
		get := over(flag, gha.Input)
		gha.Mask(secrets(getenv, get)...) // before anything is printed
		if len(args) == 1 {
			fields, err := readMessage(gha, args[0], stdin)
			if err != nil {
				rep := report{Error: err.Error(), ErrorClass: provision.ClassOf(err), NextAction: provision.NextAction(err)}
				status = finish(gha, rep, err)
				return show(rep)
			}
			get = over(flag, over(fields, gha.Input))
		}
		left := leaveMark(ctx, gha, getenv)
		mend := gha.Fence()
		rep, trace, err := run(ctx, gha, get, getenv)
		endChildren()
		mended, unmended := mend()
		for _, name := range mended {
			gha.Warning("provision-tenant", "a program that was run has written to the runner's file "+name+": that was undone")
		}
		if unmended != nil {
			gha.Error("provision-tenant", "what a program that was run has written to the runner's files could not be undone: "+unmended.Error())
		}
		status = finish(gha, rep, err)
		trace.close(ctx)
		left.end(gha, rep, trace.lost)
		return show(rep)
	}
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.Execute(); err != nil {
		fmt.Fprintf(stderr, "provision-tenant: %v\nprovision-tenant: run it with --help to see what it takes\n", err)
		return provision.ExitStatus(provision.Errorf(provision.Invalid, "usage"))
	}
	return status
}

// over looks a value up in first, and in rest where first has none.
func over(first, rest func(string) string) func(string) string {
	return func(name string) string {
		if v := first(name); v != "" {
			return v
		}
		return rest(name)
	}
}

// readMessage reads the message in the named file, or in stdin for "-".
func readMessage(gha *actions.Action, name string, stdin io.Reader) (field func(string) string, err error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, provision.Errorf(provision.Invalid, "message: %w", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, provision.MaxMessageBytes+1))
	if err != nil {
		return nil, provision.Errorf(provision.Invalid, "message: %w", err)
	}
	job, err := provision.ParseMessage(data, false)
	if err != nil {
		return nil, err
	}
	var given struct {
		TraceID any `json:"trace_id"`
	}
	if json.Unmarshal(data, &given) == nil && given.TraceID != nil && given.TraceID != "" && job.TraceID == "" {
		gha.Warning("trace_id dropped", "the message's trace_id is no trace_… of at most 128 characters; events are kept under the job")
	}
	return job.Message().Field, nil
}

// finish tells the runner, or the person at the terminal, how the run ended, and returns
// the exit status. That an output or the summary cannot be written is a failure of its own,
// also of a run that went well: a later step would read nothing.
func finish(gha *actions.Action, rep report, err error) int {
	if e := leave(gha, rep); e != nil && err == nil {
		err = e
	} else if e != nil {
		gha.Error("provision-tenant: "+string(provision.ClassOf(e)), e.Error())
	}
	if err == nil {
		return 0
	}
	if fields := provision.FieldErrors(err); len(fields) > 0 {
		for _, fe := range fields {
			gha.Error("input "+fe.Field, fe.Error())
		}
	} else if problems := provision.Problems(err); len(problems) > 1 {
		for _, p := range problems {
			gha.Error("provision-tenant: "+string(provision.ClassOf(p)), p.Error()+"; next: "+provision.NextAction(p))
		}
	} else {
		gha.Error("provision-tenant: "+string(provision.ClassOf(err)), err.Error())
	}
	gha.Info("next: " + provision.NextAction(err))
	return provision.ExitStatus(err)
}

// leave writes the outputs and the summary.
func leave(gha *actions.Action, rep report) error {
	var errs []error
	unwritable := (*fs.PathError)(nil)
	for _, out := range rep.outputs() {
		value := gha.Redact(out.value)
		if slices.Contains(prose, out.name) {
			value = strings.ToValidUTF8(value, "\uFFFD") // somebody's words are in it
		} else if value != out.value {
			gha.Warning("output "+out.name, "it is left empty, since its value is a secret")
			value = ""
		}
		if e := gha.SetOutput(out.name, value); e != nil {
			errs = append(errs, e)
			if errors.As(e, &unwritable) {
				break // nor can the others be
			}
		}
	}
	if e := gha.Summary(rep.markdown()); e != nil {
		errs = append(errs, e)
	}
	if len(errs) == 0 {
		return nil
	}
	return &provision.Error{
		Class: provision.Internal, Text: strings.ReplaceAll(errors.Join(errs...).Error(), "\n", "; "),
		Next: "see to the runner's disk and files, then run the same job again: what the run has made is kept, and the control plane knows of it",
	}
}

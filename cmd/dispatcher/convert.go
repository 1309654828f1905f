package main

import (
	"cmp"
	"encoding/json"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/workflow"
	"github.com/spf13/cobra"
)

// convert prints the inputs that a message becomes.
func (p *program) convert() *cobra.Command {
	var repo, file, ref string
	var allowUnknown, compact bool
	cmd := &cobra.Command{
		Use:   "convert [FILE]",
		Short: "Print the workflow inputs of a message; send nothing",
		Long: `Convert reads one ProvisionQueueMessage from FILE, or from standard input, and prints
the inputs that workflow_dispatch gets: booleans and numbers where the workflow file
declares them, strings for the rest. Empty fields are left out.

The workflow file is .github/workflows/provision-tenant.yml below the current folder, or
the one that --workflow names; with --repo it is read from GitHub at --ref, with
GITHUB_TOKEN where that is set.

Everything that is wrong with the message is named in one go, with exit status 2. An
invalid trace_id is dropped with a warning.`,
		Example: `  dispatcher convert message.json
  dispatcher convert --workflow ../prego/.github/workflows/provision-tenant.yml < message.json
  dispatcher convert --repo pregoi/prego --ref main message.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if ref != "" && repo == "" {
				return provision.Errorf(provision.Invalid, "--ref needs --repo: a file on this machine has no ref")
			}
			job, err := p.message(args, allowUnknown)
			if err != nil {
				return err
			}
			var w workflow.Workflow
			if repo == "" {
				w, err = local(cmp.Or(file, ".github/workflows/"+defaultFile))
			} else {
				remote, e := p.remote(target{repo, file, ref})
				if e != nil {
					return e
				}
				w, err = declared(cmd.Context(), remote)
			}
			if err != nil {
				return err
			}
			inputs, err := w.Inputs(job)
			if err != nil {
				return err
			}
			return p.print(inputs, compact)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&file, "workflow", "", "workflow `file`: a path, or with --repo its name in the repository")
	flags.StringVar(&repo, "repo", "", "read the workflow file from this repository, `OWNER/NAME`")
	flags.StringVar(&ref, "ref", "", "branch or tag to read it at (default main)")
	flags.BoolVar(&allowUnknown, "allow-unknown", false, "ignore fields that a message does not have")
	flags.BoolVar(&compact, "json", false, "print on one line")
	return cmd
}

// print writes v as JSON.
func (p *program) print(v any, compact bool) error {
	e := json.NewEncoder(p.out)
	e.SetEscapeHTML(false)
	if !compact {
		e.SetIndent("", "  ")
	}
	return e.Encode(v)
}

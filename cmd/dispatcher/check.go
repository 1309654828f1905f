package main

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/workflow"
)

// check says whether a workflow fits the messages.
func (p *program) check() *cobra.Command {
	var to target
	var machine bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say whether a workflow fits our messages; send nothing",
		Long: `Check reads a workflow file and names everything in it for which a ProvisionQueueMessage
would be refused or sent with the wrong type, or for which a run would be lost: a field
that is not declared, a type or a choice that does not fit, an input that must be filled
and is no field of the message, more than 25 inputs, a run-name without the job_id, and a
concurrency group that cancels a run while it waits.

The workflow file is .github/workflows/provision-tenant.yml below the current folder, or
the one that --workflow names; with --repo it is read from GitHub at --ref, with
GITHUB_TOKEN or the GitHub App where they are set.

The exit status is 0 when nothing but warnings is found, and 2 otherwise. It is meant for
the CI of the workflow's repository.`,
		Example: `  dispatcher check
  dispatcher check --workflow ../prego/.github/workflows/provision-tenant.yml
  dispatcher check --repo pregoi/prego --ref main --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to.ref != "" && to.repo == "" {
				return provision.Errorf(provision.Invalid, "--ref needs --repo: a file on this machine has no ref")
			}
			name, data, err := p.workflowFile(cmd.Context(), to)
			if err != nil {
				return err
			}
			return p.verdict(name, workflow.Check(data), machine)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&to.file, "workflow", "", "workflow `file`: a path, or with --repo its name in the repository")
	flags.StringVar(&to.repo, "repo", "", "read the workflow file from this repository, `OWNER/NAME`")
	flags.StringVar(&to.ref, "ref", "", "branch or tag to read it at (default main)")
	flags.BoolVar(&machine, "json", false, "print the findings as JSON")
	return cmd
}

// workflowFile reads the workflow file and says what it is called.
func (p *program) workflowFile(ctx context.Context, to target) (name string, data []byte, err error) {
	if to.repo == "" {
		name = cmp.Or(to.file, ".github/workflows/"+defaultFile)
		if data, err = os.ReadFile(name); err != nil {
			return "", nil, &provision.Error{Class: provision.Invalid, Text: "workflow file: " + err.Error(), Err: err,
				Next: "name the file with --workflow PATH, or its repository with --repo OWNER/NAME"}
		}
		return name, data, nil
	}
	w, err := p.remote(to)
	if err != nil {
		return "", nil, err
	}
	data, err = w.Read(ctx)
	return w.File, data, err
}

// A verdict is what was found in a workflow file, for machines.
type verdict struct {
	Workflow string             `json:"workflow"`
	Fit      bool               `json:"fit"`
	Findings []workflow.Finding `json:"findings"`
}

// verdict prints what was found, and returns an error where the file does not fit.
func (p *program) verdict(name string, found []workflow.Finding, machine bool) error {
	wrong := 0
	for _, f := range found {
		if f.Severity == workflow.Error {
			wrong++
		}
	}
	if machine {
		if err := p.print(verdict{name, wrong == 0, append([]workflow.Finding{}, found...)}, true); err != nil {
			return err
		}
	} else {
		p.findings(name, found)
		if wrong == 0 {
			fmt.Fprintf(p.out, "%s fits the messages\n", name)
		}
	}
	if wrong == 0 {
		return nil
	}
	return &provision.Error{Class: provision.Invalid, Text: fmt.Sprintf("%s does not fit the messages: %s", name, count(wrong, "error")),
		Next: "correct the workflow file, and check it again"}
}

// findings prints a line for each, as editors and CI understand it, and one for its cure.
func (p *program) findings(name string, found []workflow.Finding) {
	for _, f := range found {
		at, what := name, f.What
		if f.Line > 0 {
			at = fmt.Sprintf("%s:%d", name, f.Line)
		}
		if f.Field != "" {
			what = f.Field + " " + f.What
		}
		fmt.Fprintf(p.out, "%s: %s: %s\n    %s\n", at, f.Severity, what, f.Cure)
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

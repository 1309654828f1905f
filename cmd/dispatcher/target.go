package main

import (
	"cmp"
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/workflow"
)

const defaultFile = "provision-tenant.yml"

// A target is the workflow at GitHub that flags name.
type target struct{ repo, file, ref string }

func (t *target) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.repo, "repo", "", "the workflow's repository, `OWNER/NAME`")
	f.StringVar(&t.file, "workflow", "", "the workflow's `file` name (default "+defaultFile+")")
	f.StringVar(&t.ref, "ref", "", "branch or tag whose version runs (default main)")
}

// remote returns the workflow at GitHub that the flags or the environment name, with the
// credentials that are set; there may be none.
func (p *program) remote(t target) (github.Workflow, error) {
	w := github.Workflow{BaseURL: p.getenv("GITHUB_API_URL"), Repo: t.repo}
	if address := p.getenv("GITHUB_WORKFLOW_DISPATCH_URL"); t.repo == "" && address != "" {
		var err error
		if w, err = github.ParseURL(address); err != nil {
			return w, &provision.Error{Class: provision.Invalid, Text: "GITHUB_WORKFLOW_DISPATCH_URL: " + err.Error(), Err: err}
		}
	}
	if w.Repo == "" {
		return w, &provision.Error{Class: provision.Invalid, Text: "no repository is named",
			Next: "give --repo OWNER/NAME, or set GITHUB_WORKFLOW_DISPATCH_URL"}
	}
	w.File = cmp.Or(t.file, w.File, defaultFile)
	w.Ref = t.ref
	w.Memory = &github.Memory{}
	var err error
	w.Token, w.App, err = p.credentials()
	return w, err
}

// local is what a file on this machine declares.
func local(path string) (workflow.Workflow, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return workflow.Workflow{}, &provision.Error{Class: provision.Invalid, Text: "workflow file: " + err.Error(), Err: err,
			Next: "name the file with --workflow PATH, or its repository with --repo OWNER/NAME"}
	}
	return workflow.Parse(data)
}

// declared reads the workflow file from GitHub and says what it declares.
func declared(ctx context.Context, w github.Workflow) (workflow.Workflow, error) {
	data, err := w.Read(ctx)
	if err != nil {
		return workflow.Workflow{}, err
	}
	return workflow.Parse(data)
}

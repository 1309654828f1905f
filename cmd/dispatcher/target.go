package main

import (
	"cmp"
	"context"
	"os"

	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/workflow"
)

const defaultFile = "provision-tenant.yml"

// remote returns the workflow at GitHub that the flags or the environment name.
func (p *program) remote(repo, file, ref string) (github.Workflow, error) {
	w := github.Workflow{BaseURL: p.getenv("GITHUB_API_URL"), Repo: repo}
	if address := p.getenv("GITHUB_WORKFLOW_DISPATCH_URL"); repo == "" && address != "" {
		var err error
		if w, err = github.ParseURL(address); err != nil {
			return w, &provision.Error{Class: provision.Invalid, Text: "GITHUB_WORKFLOW_DISPATCH_URL: " + err.Error(), Err: err}
		}
	}
	if w.Repo == "" {
		return w, &provision.Error{Class: provision.Invalid, Text: "no repository is named",
			Next: "give --repo OWNER/NAME, or set GITHUB_WORKFLOW_DISPATCH_URL"}
	}
	w.File = cmp.Or(file, w.File, defaultFile)
	w.Ref = ref
	w.Token = p.getenv("GITHUB_TOKEN")
	return w, nil
}

// declared reads the workflow file from GitHub and says what it declares.
func declared(ctx context.Context, w github.Workflow) (workflow.Workflow, error) {
	data, err := w.Read(ctx)
	if err != nil {
		return workflow.Workflow{}, err
	}
	return workflow.Parse(data)
}

// local is declared for a file on this machine.
func local(path string) (workflow.Workflow, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return workflow.Workflow{}, &provision.Error{Class: provision.Invalid, Text: "workflow file: " + err.Error(), Err: err,
			Next: "name the file with --workflow PATH, or its repository with --repo OWNER/NAME"}
	}
	return workflow.Parse(data)
}

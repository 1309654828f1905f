package main

import "log/slog"

// What the help of several commands says.
const (
	targetHelp = `The workflow is --repo and --workflow, or what GITHUB_WORKFLOW_DISPATCH_URL names.
GITHUB_TOKEN may write actions and read contents there, or, before it, the GitHub App of
GITHUB_APP_ID, GITHUB_APP_INSTALLATION_ID and GITHUB_APP_PRIVATE_KEY (PEM, its ends of
lines also as \n). GITHUB_API_URL is for GitHub Enterprise.`

	ledgerHelp = `The ledger is the file or the Postgres server that DATABASE_URL names, as sqlite://PATH or
postgres://...; a file in the user's state directory when it is not set.`
)

// log returns the log of a daemon, on standard error: for people, or as JSON.
func (p *program) log(machine bool) *slog.Logger {
	if machine {
		return slog.New(slog.NewJSONHandler(p.errs, nil))
	}
	return slog.New(slog.NewTextHandler(p.errs, nil))
}

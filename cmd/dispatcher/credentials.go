package main

import (
	"fmt"
	"strings"

	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// appSettings are what a GitHub App needs: all of them, or none.
var appSettings = []string{"GITHUB_APP_ID", "GITHUB_APP_INSTALLATION_ID", "GITHUB_APP_PRIVATE_KEY"}

// credentials returns the token or the App that the environment names; neither when
// nothing is set. An App that is set comes before a token, which is there by itself in a workflow.
func (p *program) credentials() (token string, app *github.App, err error) {
	token = strings.TrimSpace(p.getenv("GITHUB_TOKEN"))
	var missing []string
	values := make([]string, len(appSettings))
	for i, name := range appSettings {
		if values[i] = strings.TrimSpace(p.getenv(name)); values[i] == "" {
			missing = append(missing, name)
		}
	}
	switch len(missing) {
	case len(appSettings):
		return token, nil, sendable("GITHUB_TOKEN", token)
	case 0:
	default:
		return "", nil, &provision.Error{Class: provision.Invalid, Text: strings.Join(missing, " and ") + " is not set, and the rest of a GitHub App is",
			Next: "set " + strings.Join(appSettings, ", ") + ", or none of them and GITHUB_TOKEN"}
	}
	if app, err = github.NewApp(values[0], values[1], values[2]); err != nil {
		return "", nil, err
	}
	if token != "" {
		fmt.Fprintln(p.errs, "dispatcher: GITHUB_TOKEN is not used: GITHUB_APP_ID is set")
	}
	return "", app, nil
}

// authorised is an error unless w may be started.
func authorised(w github.Workflow) error {
	if w.Token != "" || w.App != nil {
		return nil
	}
	return &provision.Error{Class: provision.Denied, Text: "GITHUB_TOKEN is not set",
		Next: "set it to a token that may write actions and read contents of " + w.Repo + ", or set GITHUB_APP_ID, GITHUB_APP_INSTALLATION_ID and GITHUB_APP_PRIVATE_KEY"}
}

// sendable is an error if a token cannot stand in a header: part of something else was
// copied with it.
func sendable(name, token string) error {
	if !strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil
	}
	return &provision.Error{Class: provision.Denied, Text: name + " holds a space, an end of line, or another character that no token has",
		Next: "set " + name + " to the token alone"}
}

package actions

import (
	"cmp"
	"net/url"
	"strconv"
	"strings"
)

// RunID is GitHub's id of the run; "" outside the runner.
func (a *Action) RunID() string { return a.env("GITHUB_RUN_ID") }

// RunAttempt counts the attempts of a run, from 1.
func (a *Action) RunAttempt() int {
	n, err := strconv.Atoi(a.env("GITHUB_RUN_ATTEMPT"))
	if err != nil || n < 1 {
		return 1
	}
	return n
}

// Repository is the workflow's repository, owner/name; "" outside the runner.
func (a *Action) Repository() string { return a.env("GITHUB_REPOSITORY") }

// RunURL is where people see this attempt of the run; "" outside the runner.
func (a *Action) RunURL() string {
	owner, name, ok := strings.Cut(a.Repository(), "/")
	if !ok || a.RunID() == "" {
		return ""
	}
	server := strings.TrimSuffix(cmp.Or(a.env("GITHUB_SERVER_URL"), "https://github.com"), "/")
	return server + "/" + url.PathEscape(owner) + "/" + url.PathEscape(name) +
		"/actions/runs/" + url.PathEscape(a.RunID()) + "/attempts/" + strconv.Itoa(a.RunAttempt())
}

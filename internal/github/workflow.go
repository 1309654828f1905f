// Package github speaks GitHub's REST API: it starts a workflow, reads its file, and finds
// and follows its runs, with a token or as a GitHub App.
//
// It decides nothing, and sends nothing twice whose first answer was lost. To add a
// call, build its request with request, send it with do, and give classify the words for
// its errors.
package github

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
	"unicode"

	gh "github.com/google/go-github/v60/github"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Workflow is one workflow of a repository. Repo and File are required, and Token for Start.
type Workflow struct {
	// BaseURL is the API's address: empty for https://api.github.com, or what GitHub
	// Enterprise calls https://HOST/api/v3.
	BaseURL string
	Repo    string // "owner/name"
	File    string // the file's name in .github/workflows, such as "provision-tenant.yml"
	Ref     string // the branch or tag whose version runs; empty for main
	Token   string // may write actions and read contents of Repo; empty to read a public one
	App     *App   // gives tokens that may, in place of Token; nil for none
	// HTTP sends the requests; nil for a client of our own. Its CheckRedirect is not used:
	// a redirect to another host would carry the token there.
	HTTP *http.Client
	// Timeout is for one request and its answer; 0 for 20 seconds.
	Timeout time.Duration
	// Memory is what requests have taught about the server, shared by those who ask it; nil
	// for none.
	Memory *Memory
}

// A Run is one run of a workflow, as GitHub names it when it starts.
type Run struct {
	ID      int64  `json:"workflow_run_id"`
	URL     string `json:"run_url"`
	HTMLURL string `json:"html_url"`
}

// ParseURL returns the workflow that the address of a dispatch names, which is
// https://api.github.com/repos/OWNER/NAME/actions/workflows/FILE/dispatches. Ref and
// Token are left empty.
func ParseURL(s string) (Workflow, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && u.Scheme != "http" {
		return Workflow{}, badURL()
	}
	base, rest, _ := strings.Cut(u.Path, "/repos/")
	parts := strings.Split(rest, "/")
	if len(parts) != 6 || parts[0] == "" || parts[1] == "" || parts[2] != "actions" || parts[3] != "workflows" ||
		parts[4] == "" || parts[5] != "dispatches" {
		return Workflow{}, badURL()
	}
	u.Path, u.Fragment = base, ""
	return Workflow{BaseURL: u.String(), Repo: parts[0] + "/" + parts[1], File: parts[4]}, nil
}

// badURL does not repeat the address: somebody may have put a token into it.
func badURL() error {
	return provision.Errorf(provision.Invalid,
		"the dispatch URL is not like https://api.github.com/repos/OWNER/NAME/actions/workflows/FILE/dispatches")
}

// A dispatch is the body of a workflow_dispatch. go-github v60 has no return_run_details.
type dispatch struct {
	Ref              string         `json:"ref"`
	Inputs           map[string]any `json:"inputs,omitempty"`
	ReturnRunDetails bool           `json:"return_run_details,omitempty"`
}

// Request returns the request that starts the workflow with inputs, as Start sends it
// first, with the token in its Authorization.
func (w Workflow) Request(ctx context.Context, inputs map[string]any) (*http.Request, error) {
	return w.dispatch(ctx, dispatch{Ref: w.ref(), Inputs: inputs, ReturnRunDetails: !w.Memory.nameless()})
}

func (w Workflow) dispatch(ctx context.Context, body dispatch) (*http.Request, error) {
	return w.request(ctx, http.MethodPost, "actions/workflows/"+url.PathEscape(path.Base(w.File))+"/dispatches", body)
}

// Start starts one run of the workflow. The Run is zero when GitHub accepted without
// saying which run it is. Where the answer was lost, the error is an [*AmbiguousError].
//
// GitHub names the run when asked to, since February 2026; a GitHub Enterprise Server
// before 3.21 refuses the question, and with it the dispatch. Without a Memory that is then
// sent once more without the question; with one the error is a [*RepeatError], and every
// later Start leaves the question out.
// https://github.blog/changelog/2026-02-19-workflow-dispatch-api-now-returns-run-ids/
func (w Workflow) Start(ctx context.Context, inputs map[string]any) (Run, error) {
	body := dispatch{Ref: w.ref(), Inputs: inputs, ReturnRunDetails: !w.Memory.nameless()}
	run, err := w.start(ctx, body)
	if !body.ReturnRunDetails || !refusesRunDetails(err) {
		return run, err
	}
	if w.Memory != nil {
		w.Memory.forbidDetails()
		return Run{}, &RepeatError{Err: &provision.Error{Class: provision.Busy, Text: err.Error(), Err: err,
			Next: "send the same again: it goes without the question that this server refuses"}}
	}
	body.ReturnRunDetails = false
	return w.start(ctx, body)
}

func (w Workflow) start(ctx context.Context, body dispatch) (Run, error) {
	req, err := w.dispatch(ctx, body)
	if err != nil {
		return Run{}, err
	}
	var run Run
	a := w.do(ctx, req, &run)
	switch {
	case a.err != nil:
	case a.status() == http.StatusNoContent:
		return Run{}, nil
	case a.status() == http.StatusOK && run.ID > 0:
		return run, nil
	default:
		a.garbled = true
	}
	return Run{}, w.classify("start "+w.String(), a, true)
}

// String names the workflow: "owner/name provision-tenant.yml at main".
func (w Workflow) String() string { return w.Repo + " " + path.Base(w.File) + " at " + w.ref() }

func (w Workflow) ref() string { return cmp.Or(w.Ref, "main") }

// client returns a go-github client for w. It is made anew for each request: its memory
// of past limits would refuse requests in GitHub's name.
func (w Workflow) client() (*gh.Client, error) {
	if owner, name, _ := strings.Cut(w.Repo, "/"); !isName(owner) || !isName(name) {
		return nil, provision.Errorf(provision.Invalid, "repository %.100q is not like owner/name", w.Repo)
	}
	if strings.ContainsFunc(w.Ref+w.File, unicode.IsControl) {
		return nil, provision.Errorf(provision.Invalid, "ref %.100q or workflow file %.100q holds what no name does", w.Ref, w.File)
	}
	return w.api(w.http())
}

// isName reports whether s can be a name of something at GitHub that is a part of a path.
// https://docs.github.com/en/repositories/creating-and-managing-repositories/creating-a-new-repository
func isName(s string) bool {
	const signs = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	return s != "" && s != "." && s != ".." && strings.Trim(s, signs) == ""
}

// http returns a client that follows no redirect to another host, and reads no answer
// without end.
func (w Workflow) http() *http.Client {
	var h http.Client
	if w.HTTP != nil {
		h = *w.HTTP
	}
	h.CheckRedirect = sameHost
	h.Transport = bounded{h.Transport}
	return &h
}

// api returns a go-github client that sends with h.
func (w Workflow) api(h *http.Client) (*gh.Client, error) {
	base, err := url.Parse(w.base() + "/")
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" {
		return nil, provision.Errorf(provision.Invalid, "the address of GitHub's API is no http URL")
	}
	c := gh.NewClient(h)
	c.BaseURL = base
	c.UserAgent = "provision-tenant"
	return c, nil
}

func (w Workflow) base() string {
	return strings.TrimSuffix(cmp.Or(w.BaseURL, "https://api.github.com"), "/")
}

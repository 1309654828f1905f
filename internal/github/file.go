package github

import (
	"context"
	"net/http"
	"net/url"
	"path"
	"strings"

	gh "github.com/google/go-github/v60/github"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// Read returns the workflow file as it is at Ref.
func (w Workflow) Read(ctx context.Context) ([]byte, error) {
	name := w.File
	if !strings.Contains(name, "/") {
		name = path.Join(".github/workflows", name)
	}
	op := "read " + name + " of " + w.Repo + " at " + w.ref()
	req, err := w.request(ctx, http.MethodGet, "contents/"+(&url.URL{Path: name}).EscapedPath()+"?ref="+url.QueryEscape(w.ref()), nil)
	if err != nil {
		return nil, err
	}
	var content gh.RepositoryContent
	if a := w.do(ctx, req, &content); a.err != nil {
		return nil, w.classify(op, a, false)
	}
	text, err := content.GetContent()
	if err != nil || content.GetType() != "file" {
		return nil, provision.Errorf(provision.Invalid, "%s: it is no file", op)
	}
	return []byte(text), nil
}

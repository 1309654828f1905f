package github

import (
	"context"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	gh "github.com/google/go-github/v60/github"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// Read returns the workflow file as it is at Ref. With a Memory it asks whether the file
// has changed since the last time: an answer that it has not costs nothing of the limit.
// https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api#use-conditional-requests-if-appropriate
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
	last := w.Memory.recall(req.URL.String())
	if last.etag != "" {
		req.Header.Set("If-None-Match", last.etag)
	}
	var content gh.RepositoryContent
	a := w.do(ctx, req, &content)
	if a.status() == http.StatusNotModified && last.etag != "" {
		return slices.Clone(last.data), nil
	}
	if a.err != nil {
		return nil, w.classify(op, a, false)
	}
	text, err := content.GetContent()
	if err != nil || content.GetType() != "file" {
		return nil, provision.Errorf(provision.Invalid, "%s: it is no file", op)
	}
	w.Memory.keep(cached{req.URL.String(), a.resp.Header.Get("ETag"), []byte(text)})
	return []byte(text), nil
}

package github

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/pregoi/provision-tenant/internal/provision"
)

func (s *Server) getRepo(*http.Request) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return answer{status: http.StatusOK, body: s.fullRepo()}
}

// getContents answers one file as JSON, in lines of base64.
func (s *Server) getContents(r *http.Request) answer {
	name := r.PathValue("path")
	ref := r.URL.Query().Get("ref")
	if ref == "" {
		ref = s.opts.Refs[0]
	}
	if _, ok := s.ref(ref); !ok {
		return refusal(http.StatusNotFound, "No commit found for the ref %s", ref)
	}
	data, err := fs.ReadFile(s.opts.Files, name)
	if err != nil {
		return notFound()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(data), data))
	sha := hex.EncodeToString(sum[:])
	self := s.repoURL() + "/contents/" + name + "?ref=" + ref
	git := s.repoURL() + "/git/blobs/" + sha
	html := s.htmlURL() + "/blob/" + ref + "/" + name
	return answer{status: http.StatusOK, body: map[string]any{
		"type": "file", "encoding": "base64", "size": len(data), "name": path.Base(name), "path": name,
		"content": inLines(base64.StdEncoding.EncodeToString(data)), "sha": sha,
		"url": self, "git_url": git, "html_url": html,
		"download_url": s.htmlURL() + "/raw/" + ref + "/" + name,
		"_links":       map[string]any{"self": self, "git": git, "html": html},
	}}
}

// inLines breaks text after every 60 characters, as GitHub breaks base64.
func inLines(text string) string {
	var b strings.Builder
	for len(text) > 60 {
		b.WriteString(text[:60] + "\n")
		text = text[60:]
	}
	return b.String() + text + "\n"
}

func (s *Server) listWorkflows(r *http.Request) answer {
	files, err := fs.Glob(s.opts.Files, workflowDir+"/*.y*ml")
	if err != nil {
		return notFound()
	}
	slices.Sort(files)
	var list []map[string]any
	for _, file := range files {
		d, err := s.definitionOf(file)
		if d.Workflow == nil || err != nil {
			continue // GitHub lists it by its path; nobody here asks
		}
		list = append(list, s.workflow(d))
	}
	page, header := s.window(r, len(list))
	return answer{status: http.StatusOK, header: header, body: map[string]any{
		"total_count": len(list), "workflows": orEmpty(list[page.from:page.to]),
	}}
}

func (s *Server) getWorkflow(r *http.Request) answer {
	d, err := s.definitionOf(r.PathValue("workflow"))
	if err != nil {
		return notFound()
	}
	return answer{status: http.StatusOK, body: s.workflow(d)}
}

func (s *Server) getRun(r *http.Request) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	run := s.find(pathID(r))
	if run == nil {
		return notFound()
	}
	return answer{status: http.StatusOK, body: s.runBody(run)}
}

func (s *Server) listJobs(r *http.Request) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	run := s.find(pathID(r))
	if run == nil {
		return notFound()
	}
	var list []map[string]any
	for _, j := range run.attempt.jobs {
		list = append(list, s.jobBody(run, j))
	}
	page, header := s.window(r, len(list))
	return answer{status: http.StatusOK, header: header, body: map[string]any{
		"total_count": len(list), "jobs": orEmpty(list[page.from:page.to]),
	}}
}

func (s *Server) postCancel(r *http.Request) answer {
	err := s.Cancel(pathID(r))
	switch {
	case provision.ClassOf(err) == provision.NotFound:
		return notFound()
	case err != nil:
		return refusal(http.StatusConflict, "Cannot cancel a workflow run that is completed.")
	}
	return answer{status: http.StatusAccepted, body: map[string]any{}}
}

func (s *Server) postRerun(r *http.Request) answer {
	err := s.Rerun(pathID(r))
	switch {
	case provision.ClassOf(err) == provision.NotFound:
		return notFound()
	case err != nil:
		return refusal(http.StatusForbidden, "This workflow is already running")
	}
	return answer{status: http.StatusCreated, body: map[string]any{}}
}

// pathID returns the id in a request's path; 0, which no run has, if it is none.
func pathID(r *http.Request) int64 {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return 0
	}
	return id
}

package github

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// An answer is what a route says: a status, and a body to be written as JSON; nil for none.
type answer struct {
	status int
	body   any
	header http.Header
}

// refusal is GitHub's shape of an error.
func refusal(status int, format string, args ...any) answer {
	return answer{status: status, body: map[string]any{
		"message":           fmt.Sprintf(format, args...),
		"documentation_url": "https://docs.github.com/rest",
		"status":            fmt.Sprint(status),
	}}
}

func notFound() answer { return refusal(http.StatusNotFound, "Not Found") }

// The versions of the API that there are.
// https://docs.github.com/en/rest/about-the-rest-api/api-versions
const newVersion = "2026-03-10"

var versions = []string{"2022-11-28", newVersion}

// version returns the version of the API that a request names.
func version(r *http.Request) string {
	if v := r.Header.Get("X-GitHub-Api-Version"); v != "" {
		return v
	}
	return versions[0]
}

// answer writes what f says, once the request has shown that it may ask.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, f func(*http.Request) answer) {
	base := "http://" + r.Host
	if r.TLS != nil {
		base = "https://" + r.Host
	}
	s.mu.Lock()
	if s.base != base { // others read it without the lock, when they have been here
		s.base = base
	}
	s.mu.Unlock()

	now := s.opts.Now()
	a := s.admit(r, now)
	if a.status == 0 {
		a = f(r)
	}
	if a.status == http.StatusOK && r.Method == http.MethodGet && r.URL.Path != "/rate_limit" {
		a = s.conditional(r, a)
	}
	s.limits.leave()
	h := w.Header()
	for name, values := range a.header {
		h[name] = values
	}
	h.Set("Date", now.UTC().Format(http.TimeFormat))
	h.Set("X-GitHub-Request-Id", requestID())
	h.Set("X-GitHub-Api-Version-Selected", version(r))
	s.limits.mark(h, now)
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	h.Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(a.status)
	_ = json.NewEncoder(w).Encode(a.body) // a client that has gone away is its own affair
}

// conditional gives an answer its ETag, and answers 304 to who has it already, which does
// not count against the primary limit.
// https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api#use-conditional-requests-if-appropriate
func (s *Server) conditional(r *http.Request, a answer) answer {
	data, err := json.Marshal(a.body)
	if err != nil {
		return refusal(http.StatusInternalServerError, "%v", err)
	}
	tag := fmt.Sprintf(`W/"%x"`, sha256.Sum256(data))
	if a.header == nil {
		a.header = http.Header{}
	}
	a.header.Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		s.limits.refund()
		a.status, a.body = http.StatusNotModified, nil
	}
	return a
}

// admit returns a refusal, or no status where the request may go on.
func (s *Server) admit(r *http.Request, now time.Time) answer {
	s.limits.enter()
	if r.URL.Path == "/app" || strings.HasPrefix(r.URL.Path, "/app/") {
		return answer{} // for the App itself, who shows another kind of token
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	known := strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "token")
	if !known || subtle.ConstantTimeCompare([]byte(token), []byte(s.opts.Token)) != 1 && !s.apps.knows(token, now) {
		return refusal(http.StatusUnauthorized, "Bad credentials")
	}
	if v := version(r); !slices.Contains(versions, v) {
		return refusal(http.StatusBadRequest, "API version %q is not supported", v)
	}
	if a := s.limits.admit(r, now); a.status != 0 {
		return a
	}
	owner, repo := r.PathValue("owner"), r.PathValue("repo")
	if name := owner + "/" + repo; owner != "" && !strings.EqualFold(name, s.opts.Repo) {
		return s.moved(r, name)
	}
	return answer{}
}

// moved answers for a repository of another name: 404, or where it is now.
func (s *Server) moved(r *http.Request, name string) answer {
	if !slices.ContainsFunc(s.opts.OldNames, func(old string) bool { return strings.EqualFold(old, name) }) {
		return notFound()
	}
	status, message := http.StatusMovedPermanently, "Moved Permanently"
	if r.Method != http.MethodGet {
		status, message = http.StatusTemporaryRedirect, "Temporary Redirect"
	}
	to := *r.URL
	to.Path = "/repositories/" + repoID + strings.TrimPrefix(to.Path, "/repos/"+name)
	s.mu.Lock()
	address := s.base + to.RequestURI()
	s.mu.Unlock()
	a := refusal(status, "%s", message)
	a.body.(map[string]any)["url"] = address
	a.header = http.Header{"Location": {address}}
	return a
}

// said is an error in GitHub's own words, which are written as sentences.
type said string

func (s said) Error() string { return string(s) }

func sayf(format string, args ...any) error { return said(fmt.Sprintf(format, args...)) }

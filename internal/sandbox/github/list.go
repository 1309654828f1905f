package github

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// listRuns answers the runs of the repository, or of one workflow, the newest first.
func (s *Server) listRuns(r *http.Request) answer {
	var file string
	if name := r.PathValue("workflow"); name != "" {
		d, err := s.definitionOf(name)
		if err != nil {
			return notFound()
		}
		file = d.path
	}
	f, err := parseFilter(r.URL.Query())
	if err != nil {
		return refusal(http.StatusUnprocessableEntity, "%v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*run
	for _, run := range slices.Backward(s.runs) {
		if run == nil || file != "" && run.def.path != file {
			continue
		}
		if run.created.Truncate(time.Second).Before(f.from) {
			break // as all are before it
		}
		if f.takes(run, s.sha) {
			found = append(found, run)
		}
	}
	shown := len(found)
	if f.any {
		shown = min(shown, maxListed)
	}
	page, header := s.window(r, shown)
	list := []map[string]any{}
	for _, run := range found[page.from:page.to] {
		list = append(list, s.runBody(run))
	}
	return answer{status: http.StatusOK, header: header, body: map[string]any{"total_count": len(found), "workflow_runs": list}}
}

// maxListed is how many runs a list shows that was asked for by some property.
// https://docs.github.com/en/rest/actions/workflow-runs#list-workflow-runs-for-a-workflow
const maxListed = 1000

func orEmpty(list []map[string]any) []map[string]any {
	if list == nil {
		return []map[string]any{}
	}
	return list
}

// A window is the part of a list that a page shows.
type window struct{ from, to int }

// window returns what per_page and page ask for, and the Link header that leads on.
func (s *Server) window(r *http.Request, n int) (window, http.Header) {
	q := r.URL.Query()
	number := func(name string, otherwise, most int) int {
		v, err := strconv.Atoi(q.Get(name))
		if err != nil || v < 1 {
			return otherwise
		}
		return min(v, most)
	}
	size, page := number("per_page", 30, 100), number("page", 1, 1<<20)
	last := max(1, (n+size-1)/size)
	w := window{min(n, (page-1)*size), min(n, page*size)}
	var links []string
	link := func(to int, rel string) {
		u := *r.URL
		q.Set("page", strconv.Itoa(to))
		u.RawQuery = q.Encode()
		links = append(links, fmt.Sprintf("<http://%s%s>; rel=%q", r.Host, u.RequestURI(), rel))
	}
	if page > 1 {
		link(page-1, "prev")
		link(1, "first")
	}
	if page < last {
		link(page+1, "next")
		link(last, "last")
	}
	if links == nil {
		return w, nil
	}
	return w, http.Header{"Link": {strings.Join(links, ", ")}}
}

// A filter is what a list of runs is asked for.
type filter struct {
	event, status, branch, sha string
	from, to                   time.Time // of creation, both included; zero for no bound
	any                        bool      // some property is asked for
}

func parseFilter(q map[string][]string) (filter, error) {
	get := func(name string) string {
		if v := q[name]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	f := filter{event: get("event"), status: get("status"), branch: get("branch"), sha: get("head_sha")}
	created := get("created")
	f.any = f.event != "" || f.status != "" || f.branch != "" || f.sha != "" || created != ""
	if created == "" {
		return f, nil
	}
	var err error
	day := 24*time.Hour - time.Nanosecond
	one := func(text string, whole time.Duration) time.Time {
		t, e := time.Parse(time.RFC3339, text)
		if e == nil {
			return t
		}
		if t, e = time.Parse(time.DateOnly, text); e != nil {
			err = said("Invalid date in created: " + text)
		}
		return t.Add(whole)
	}
	if from, to, ok := strings.Cut(created, ".."); ok {
		if from != "*" {
			f.from = one(from, 0)
		}
		if to != "*" {
			f.to = one(to, day)
		}
		return f, err
	}
	switch rest := strings.TrimLeft(created, "<>="); created[:len(created)-len(rest)] {
	case ">=":
		f.from = one(rest, 0)
	case ">":
		f.from = one(rest, day).Add(1)
	case "<=":
		f.to = one(rest, day)
	case "<":
		f.to = one(rest, 0).Add(-1)
	case "":
		f.from, f.to = one(rest, 0), one(rest, day)
	default:
		err = said("Invalid operator in created: " + created)
	}
	return f, err
}

func (f filter) takes(r *run, sha func(ref string) string) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	created := r.created.Truncate(time.Second) // as it is shown
	return is(f.event, "workflow_dispatch") && is(f.branch, r.ref) && (f.sha == "" || f.sha == sha(r.ref)) &&
		(is(f.status, r.attempt.status) || f.status == r.attempt.conclusion) &&
		(f.from.IsZero() || !created.Before(f.from)) && (f.to.IsZero() || !created.After(f.to))
}

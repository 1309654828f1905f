package github

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	gh "github.com/google/go-github/v60/github"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// clocks is how far GitHub's clock and ours may differ, and then some.
const clocks = 5 * time.Minute

// maxPages bounds a list of runs: GitHub lists a thousand that match, and no more.
const maxPages = 10

// Find returns the run that a dispatch has started since then, with an id greater than after,
// by a word in its name, such as a job_id. It answers false when it has seen all runs and none has it. Of several it
// returns the oldest.
//
// A word is all that stands between spaces, brackets and whatever else cannot be part of a
// job_id; "job-1" is no word of "provision job-12".
func (w Workflow) Find(ctx context.Context, word string, after int64, since time.Time) (Run, bool, error) {
	var found Run
	for page := 1; page <= maxPages; page++ {
		list, more, err := w.runs(ctx, since, page)
		if err != nil {
			return Run{}, false, err
		}
		for _, r := range list { // the newest first
			if r.GetID() > max(0, after) && names(r.GetDisplayTitle(), word) {
				found = Run{ID: r.GetID(), URL: r.GetURL(), HTMLURL: r.GetHTMLURL()}
			}
		}
		if !more {
			return found, found.ID > 0, nil
		}
	}
	if found.ID > 0 {
		return found, true, nil
	}
	return Run{}, false, provision.Errorf(provision.Busy, "find a run of %s: there are more than %d since %s, and GitHub lists no more",
		w, 100*maxPages, since.UTC().Format(time.RFC3339))
}

// runs returns one page of the runs that dispatches have started since then, and whether
// there is another.
func (w Workflow) runs(ctx context.Context, since time.Time, page int) ([]*gh.WorkflowRun, bool, error) {
	query := url.Values{
		"event":    {"workflow_dispatch"},
		"created":  {">=" + since.Add(-clocks).UTC().Format(time.RFC3339)},
		"per_page": {"100"},
		"page":     {fmt.Sprint(page)},
	}
	req, err := w.request(ctx, http.MethodGet, "actions/workflows/"+url.PathEscape(path.Base(w.File))+"/runs?"+query.Encode(), nil)
	if err != nil {
		return nil, false, err
	}
	var list gh.WorkflowRuns
	a := w.do(ctx, req, &list)
	// An answer without a count is no list, and must not pass for an empty one.
	if a.err == nil && list.TotalCount == nil {
		a.garbled = true
	}
	if a.err != nil || a.garbled {
		return nil, false, w.classify("list the runs of "+w.String(), a, false)
	}
	return list.WorkflowRuns, a.resp.NextPage > page, nil
}

// names reports whether title has word in it.
func names(title, word string) bool {
	return slices.Contains(strings.FieldsFunc(title, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._~@:+-", r)
	}), word)
}

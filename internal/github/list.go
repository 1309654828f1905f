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
)

// pageSize is how many runs a page of their list has at most.
const pageSize = 100

// scarceTime is from one list to the next when less than half is left of the requests that
// GitHub allows in an hour: those are for who starts runs. GITHUB_TOKEN has 1,000.
// https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#primary-rate-limit-for-github_token-in-github-actions
const scarceTime = time.Minute

// A listed is what the list says of a run. It says much more, of the repository and of the
// commit, which would be most of what we hold.
type listed struct {
	ID      int64     `json:"id"`
	Event   string    `json:"event"`
	Title   string    `json:"display_title"`
	URL     string    `json:"url"`
	HTMLURL string    `json:"html_url"`
	Created time.Time `json:"created_at"`
	Started time.Time `json:"run_started_at"` // the last attempt
}

// before reports whether r, and each attempt of it, was begun before that.
func (r listed) before(t time.Time) bool {
	return !r.Created.IsZero() && r.Created.Before(t) && r.Started.Before(t)
}

// A runPage is a page of the list of runs.
type runPage struct {
	runs   []listed
	total  int           // of all pages
	more   bool          // there is another page
	behind time.Duration // how far GitHub's clock is behind ours; 0 where it is not
	scarce bool          // less than half is left of what may be asked
}

func (f *Finder) page(ctx context.Context, n int) (p runPage, err error) {
	send := func(ctx context.Context) (err error) {
		p, err = f.w.runs(ctx, n)
		if was := !f.free.IsZero(); p.scarce || err != nil && was {
			f.free = time.Now().Add(scarceTime)
		} else {
			f.free = time.Time{}
		}
		return err
	}
	if f.Page == nil {
		err = send(ctx)
	} else {
		err = f.Page(ctx, send)
	}
	return p, err
}

// runs returns one page of the workflow's runs. It asks for no event and no time: a list
// that is asked for by them is a search, which ends at the thousandth run, and whose index
// may be behind and miss runs that there are.
// https://docs.github.com/en/rest/actions/workflow-runs#list-workflow-runs-for-a-workflow
// https://github.com/dawidd6/action-download-artifact/issues/56
// https://github.com/max-sixty/tend/pull/348
func (w Workflow) runs(ctx context.Context, page int) (runPage, error) {
	file := url.PathEscape(path.Base(w.File))
	req, err := w.request(ctx, http.MethodGet, fmt.Sprintf("actions/workflows/%s/runs?per_page=%d&page=%d", file, pageSize, page), nil)
	if err != nil {
		return runPage{}, err
	}
	var list struct {
		Total *int     `json:"total_count"`
		Runs  []listed `json:"workflow_runs"`
	}
	a := w.do(ctx, req, &list)
	// An answer without a count is no list, and must not pass for an empty one.
	if a.err == nil && list.Total == nil {
		a.garbled = true
	}
	if a.err != nil || a.garbled {
		return runPage{}, w.classify("list the runs of "+w.String(), a, false)
	}
	now := time.Now()
	return runPage{runs: list.Runs, total: *list.Total, more: a.resp.NextPage > page || page*pageSize < *list.Total,
		behind: max(0, now.Sub(serverTime(a.resp.Header, now))), scarce: 2*a.resp.Rate.Remaining < a.resp.Rate.Limit}, nil
}

// names returns what stands in title between spaces and other signs, each once.
func names(title string) []string {
	list := strings.FieldsFunc(title, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._~@:+-", r)
	})
	slices.Sort(list)
	return slices.Compact(list)
}

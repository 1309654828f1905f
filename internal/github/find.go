package github

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	gh "github.com/google/go-github/v60/github"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// clocks is how far GitHub's clock and ours may differ, and then some.
const clocks = 5 * time.Minute

// GitHub lists a thousand of the runs that match, and no more; those before them are asked
// for by their date. A finder asks for so many thousands.
// https://docs.github.com/en/rest/actions/workflow-runs#list-workflow-runs-for-a-workflow
const (
	pageSize = 100
	maxPages = 10
	maxLists = 10
)

// A Finder looks for runs of a workflow by their names. However many look at once, as after
// a crash, one reads the list of runs for all who have asked before it began, so that they
// take no more of GitHub's limits than one. It is safe for concurrent use.
type Finder struct {
	w    Workflow
	turn chan struct{} // holds who reads the list
	mu   sync.Mutex
	asks []*ask // that nobody is reading the list for yet
}

// An ask is one call of Find.
type ask struct {
	word  string
	after int64
	since time.Time
	told  chan struct{} // closed when run and err are set
	run   Run
	err   error
}

// NewFinder returns a Finder of w's runs.
func NewFinder(w Workflow) *Finder { return &Finder{w: w, turn: make(chan struct{}, 1)} }

// Find returns the run that a dispatch has started since then, with an id greater than after,
// by a word in its name, such as a job_id. It answers false when all runs that there were when
// it was called have been seen and none has it. Of several it returns the oldest.
//
// A word is all that stands between spaces, brackets and whatever else cannot be part of a
// job_id; "job-1" is no word of "provision job-12".
func (f *Finder) Find(ctx context.Context, word string, after int64, since time.Time) (Run, bool, error) {
	a := &ask{word: word, after: max(0, after), since: since.Add(-clocks), told: make(chan struct{})}
	f.put(a)
	defer f.drop(a)
	select {
	case <-a.told:
	case f.turn <- struct{}{}:
		f.answer(ctx, a)
		<-f.turn
	case <-ctx.Done(): // a is its reader's
		return Run{}, false, f.w.classify("list the runs of "+f.w.String(), answer{err: ctx.Err()}, false)
	}
	return a.run, a.run.ID > 0, a.err
}

// answer reads the list of runs for all who have asked, of whom mine is one unless it was
// answered while it waited for its turn. When ctx ends the others go on by themselves.
func (f *Finder) answer(ctx context.Context, mine *ask) {
	asks := f.take()
	if !slices.Contains(asks, mine) {
		f.put(asks...)
		return
	}
	err := f.read(ctx, asks)
	if err != nil && ctx.Err() != nil {
		mine.run, mine.err = Run{}, err
		f.put(asks...)
		return
	}
	for _, a := range asks {
		if a.run.ID == 0 { // what was found is there, whatever came after it
			a.err = err
		}
		close(a.told)
	}
}

func (f *Finder) put(asks ...*ask) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asks = append(f.asks, asks...)
}

func (f *Finder) take() []*ask {
	f.mu.Lock()
	defer f.mu.Unlock()
	asks := f.asks
	f.asks = nil
	return asks
}

func (f *Finder) drop(a *ask) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asks = slices.DeleteFunc(f.asks, func(other *ask) bool { return other == a })
}

// read goes through the list of runs, the newest first, until all are seen.
func (f *Finder) read(ctx context.Context, asks []*ask) error {
	byWord := map[string][]*ask{}
	since := asks[0].since
	for _, a := range asks {
		a.run = Run{}
		byWord[a.word] = append(byWord[a.word], a)
		if a.since.Before(since) {
			since = a.since
		}
	}
	var until time.Time
	for range maxLists {
		last := until
		for page := 1; page <= maxPages; page++ {
			list, more, err := f.w.runs(ctx, since, until, page)
			if err != nil {
				return err
			}
			for _, r := range list {
				last = r.GetCreatedAt().Time
				for _, word := range names(r.GetDisplayTitle()) {
					for _, a := range byWord[word] {
						a.see(r)
					}
				}
			}
			if !more && (page < maxPages || len(list) < pageSize) {
				return nil
			}
		}
		if last.IsZero() || last.Equal(until) {
			break // a whole thousand in one second
		}
		until = last // and that second once more
	}
	return provision.Errorf(provision.Busy, "list the runs of %s: there are too many since %s", f.w, since.UTC().Format(time.RFC3339))
}

// see takes r for the run that is asked for, if it may be.
func (a *ask) see(r *gh.WorkflowRun) {
	if r.GetID() > a.after && (r.CreatedAt == nil || !r.CreatedAt.Before(a.since)) {
		a.run = Run{ID: r.GetID(), URL: r.GetURL(), HTMLURL: r.GetHTMLURL()}
	}
}

// runs returns one page of the runs that dispatches have started since then, and until then
// unless that is zero, and whether there is another.
func (w Workflow) runs(ctx context.Context, since, until time.Time, page int) ([]*gh.WorkflowRun, bool, error) {
	created := ">=" + since.UTC().Format(time.RFC3339)
	if !until.IsZero() {
		created = since.UTC().Format(time.RFC3339) + ".." + until.UTC().Format(time.RFC3339)
	}
	query := url.Values{
		"event":    {"workflow_dispatch"},
		"created":  {created},
		"per_page": {fmt.Sprint(pageSize)},
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

// names returns what stands in title between spaces and other signs, each once.
func names(title string) []string {
	list := strings.FieldsFunc(title, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._~@:+-", r)
	})
	slices.Sort(list)
	return slices.Compact(list)
}

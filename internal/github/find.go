package github

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// clocks is how far GitHub's clock and ours may differ, where GitHub does not tell its time,
// and then some.
const clocks = 5 * time.Minute

// maxPages is how many pages of the list are read at most.
const maxPages = 100

// A Finder looks for runs of a workflow by their names. However many look at once, as after
// a crash, one reads the list of runs for all who have asked before it began, so that they
// take no more of GitHub's limits than one. It is safe for concurrent use.
type Finder struct {
	// Page sends the request for a page of the list, which is what it is called with, or says
	// why it is not to be sent now; nil for one that sends it. It is set before the first Find.
	Page func(ctx context.Context, send func(context.Context) error) error

	w    Workflow
	turn chan struct{} // holds who reads the list
	free time.Time     // when requests are scarce, when the next list begins; of who has the turn
	mu   sync.Mutex
	asks []*ask // that nobody is reading the list for yet
}

// An ask is one call of Find.
type ask struct {
	word  string
	after int64
	since time.Time
	told  chan struct{} // closed when run and err are set
	gone  bool          // nobody waits for it
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
		err := f.answer(ctx, a)
		<-f.turn
		if err != nil {
			return Run{}, false, err
		}
	case <-ctx.Done(): // a is its reader's
		return Run{}, false, f.cut(ctx)
	}
	return a.run, a.run.ID > 0, a.err
}

func (f *Finder) cut(ctx context.Context) error {
	return f.w.classify("list the runs of "+f.w.String(), answer{err: ctx.Err()}, false)
}

// answer reads the list of runs for all who have asked, of whom mine is one unless it was
// answered while it waited for its turn. When ctx ends the others go on by themselves.
func (f *Finder) answer(ctx context.Context, mine *ask) error {
	select {
	case <-mine.told:
		return nil
	default:
	}
	if sleep(ctx, time.Until(f.free)) != nil {
		return f.cut(ctx)
	}
	asks := f.take()
	err := f.read(ctx, asks)
	if err != nil && ctx.Err() != nil {
		f.put(asks...)
		return err
	}
	for _, a := range asks {
		if a.run.ID == 0 { // what was found is there, whatever came after it
			a.err = err
		}
		close(a.told)
	}
	return nil
}

func (f *Finder) put(asks ...*ask) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asks = append(f.asks, slices.DeleteFunc(asks, func(a *ask) bool { return a.gone })...)
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
	a.gone = true
	f.asks = slices.DeleteFunc(f.asks, func(other *ask) bool { return other == a })
}

// read goes through the list of runs, the newest first, until all are seen that there have
// been since the earliest time that is asked for. Runs that begin meanwhile move others to a
// later page, where they are seen again; runs that are deleted move others to an earlier one.
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
	total := 0
	for page := 1; page <= maxPages; page++ {
		p, err := f.page(ctx, page)
		if err != nil {
			return err
		}
		if p.total < total {
			return provision.Errorf(provision.Busy, "list the runs of %s: some were deleted while they were read", f.w)
		}
		total = p.total
		for _, r := range p.runs {
			for _, word := range names(r.Title) {
				for _, a := range byWord[word] {
					a.see(r, p.behind)
				}
			}
		}
		if n := len(p.runs); n > 0 && p.runs[n-1].before(since.Add(-p.behind)) {
			return nil
		}
		if seen := (page-1)*pageSize + len(p.runs); !p.more || len(p.runs) == 0 {
			if seen < total {
				return provision.Errorf(provision.Busy, "list the runs of %s: GitHub counts %d and lists %d", f.w, total, seen)
			}
			return nil
		}
	}
	return provision.Errorf(provision.Busy, "list the runs of %s: there are too many since %s", f.w, since.UTC().Format(time.RFC3339))
}

// see takes r for the run that is asked for, if it may be. GitHub's clock is behind ours by so much.
func (a *ask) see(r listed, behind time.Duration) {
	if r.ID > a.after && r.Event == "workflow_dispatch" && (r.Created.IsZero() || !r.Created.Before(a.since.Add(-behind))) {
		a.run = Run{ID: r.ID, URL: r.URL, HTMLURL: r.HTMLURL}
	}
}

package github_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A listing answers the list of runs of a workflow, as GitHub does: by pages, the newest
// first. A run is named by its id: "job-7".
type listing struct {
	clock   func() time.Time // GitHub's
	ids     []int64          // the newest first
	created map[int64]time.Time
	message string    // of the commit
	then    func(int) // called after so many pages
	limit   int       // requests in an hour; 0 for none
	asked   int
}

func (l *listing) begin(n int) {
	if l.created == nil {
		l.created = map[int64]time.Time{}
	}
	for range n {
		id := int64(len(l.created) + 1)
		l.ids, l.created[id] = slices.Insert(l.ids, 0, id), l.clock()
	}
}

func (l *listing) remove(id int64) {
	l.ids = slices.DeleteFunc(l.ids, func(o int64) bool { return o == id })
}

func (l *listing) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	l.asked++
	page, _ := strconv.Atoi(r.URL.Query().Get("page"))
	from := min(len(l.ids), (page-1)*100)
	to := min(len(l.ids), page*100)
	var runs []string
	for _, id := range l.ids[from:to] {
		runs = append(runs, fmt.Sprintf(`{"id":%d,"event":"workflow_dispatch","display_title":"job-%d","created_at":%q,"run_started_at":%q,"head_commit":{"message":%q}}`,
			id, id, l.created[id].UTC().Format(time.RFC3339), l.created[id].UTC().Format(time.RFC3339), l.message))
	}
	if to < len(l.ids) {
		rw.Header().Set("Link", fmt.Sprintf("<http://%s%s?page=%d>; rel=\"next\"", r.Host, r.URL.Path, page+1))
	}
	if l.limit > 0 {
		rw.Header().Set("X-RateLimit-Limit", fmt.Sprint(l.limit))
		rw.Header().Set("X-RateLimit-Remaining", fmt.Sprint(l.limit-l.asked))
	}
	rw.Header().Set("Date", l.clock().UTC().Format(http.TimeFormat))
	_, _ = fmt.Fprintf(rw, `{"total_count":%d,"workflow_runs":[%s]}`, len(l.ids), strings.Join(runs, ","))
	if l.then != nil {
		l.then(l.asked)
	}
}

func (l *listing) finder() *github.Finder {
	w := inMemory(l, nil)
	w.Token = "t0k3n"
	return github.NewFinder(w)
}

// A run that is deleted while the list is read moves those after it to an earlier page,
// which has been read. That one of them was not seen says nothing.
func TestFindWhileOthersGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &listing{clock: time.Now}
		began := time.Now()
		l.begin(250)
		l.then = func(asked int) {
			if asked == 1 {
				l.remove(200)
			}
		}
		if run, ok, err := l.finder().Find(t.Context(), "job-150", 0, began); ok || provision.ClassOf(err) != provision.Busy {
			t.Errorf("Find = %+v, %t, %v", run, ok, err)
		}
		if run, ok, err := l.finder().Find(t.Context(), "job-150", 0, began); !ok || err != nil || run.ID != 150 {
			t.Errorf("and again: %+v, %t, %v", run, ok, err)
		}
		// Those that begin do no harm.
		l.then = func(int) { l.begin(30) }
		if run, ok, err := l.finder().Find(t.Context(), "job-1", 0, began); !ok || err != nil || run.ID != 1 {
			t.Errorf("while others begin: %+v, %t, %v", run, ok, err)
		}
		if run, ok, err := l.finder().Find(t.Context(), "job", 0, began); ok || err != nil {
			t.Errorf("none, while others begin: %+v, %t, %v", run, ok, err)
		}
	})
}

// When GitHub's clock is far behind ours, a run is still none of those before the dispatch.
func TestFindByTheirClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, ahead := range []time.Duration{-time.Hour, 0, time.Hour} { // of us
			l := &listing{clock: func() time.Time { return time.Now().Add(ahead) }}
			l.begin(300)
			time.Sleep(24 * time.Hour)
			began := time.Now()
			l.begin(1)
			time.Sleep(time.Minute)
			if run, ok, err := l.finder().Find(t.Context(), "job-301", 0, began); !ok || err != nil || run.ID != 301 {
				t.Errorf("%s ahead: %+v, %t, %v", ahead, run, ok, err)
			}
			if run, ok, err := l.finder().Find(t.Context(), "job-1", 0, began); ok || err != nil || l.asked != 2 {
				t.Errorf("%s ahead: %+v, %t, %v after %d pages", ahead, run, ok, err, l.asked)
			}
		}
	})
}

// What GitHub says of a hundred runs has their commits' messages in it.
func TestFindLongList(t *testing.T) {
	t.Parallel()
	l := &listing{clock: time.Now, message: strings.Repeat("squashed ", 5000)}
	began := time.Now()
	l.begin(101)
	if run, ok, err := l.finder().Find(t.Context(), "job-1", 0, began); !ok || err != nil || run.ID != 1 {
		t.Errorf("Find = %+v, %t, %v", run, ok, err)
	}
}

// Each page is asked for by itself: none when GitHub has asked for quiet meanwhile.
func TestFindQuiet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &listing{clock: time.Now}
		began := time.Now()
		l.begin(250)
		quiet := errors.New("quiet")
		f := l.finder()
		f.Page = func(ctx context.Context, send func(context.Context) error) error {
			if l.asked == 2 {
				return quiet
			}
			return send(ctx)
		}
		if _, ok, err := f.Find(t.Context(), "job", 0, began); ok || !errors.Is(err, quiet) || l.asked != 2 {
			t.Errorf("Find = %t, %v after %d pages", ok, err, l.asked)
		}
	})
}

// However many look, and however often, half of what GITHUB_TOKEN may ask is left for those
// who start runs.
func TestFindSparingly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &listing{clock: time.Now, limit: 1000, then: func(int) { time.Sleep(300 * time.Millisecond) }}
		began, f := time.Now(), l.finder()
		hour, end := context.WithTimeout(t.Context(), time.Hour)
		defer end()
		var answers atomic.Int32
		var all sync.WaitGroup
		for n := range 20 {
			all.Go(func() {
				for hour.Err() == nil {
					ctx, cancel := context.WithTimeout(hour, time.Duration(n+10)*time.Second)
					if _, ok, err := f.Find(ctx, "job-0", 0, began); !ok && err == nil {
						answers.Add(1)
					} else if ctx.Err() == nil {
						t.Errorf("Find = %t, %v", ok, err)
					}
					cancel()
				}
			})
		}
		all.Wait()
		if n := answers.Load(); l.asked < 500 || l.asked > 570 || n < 10*500 {
			t.Errorf("%d lists were read for %d answers", l.asked, n)
		}
	})
}

// One who has gone while another read for him, and was cut short, is looked for no more.
func TestFindForNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &listing{clock: time.Now, then: func(int) { time.Sleep(time.Second) }}
		l.begin(300)
		old := time.Now()
		time.Sleep(24 * time.Hour)
		l.begin(1)
		began, f := time.Now(), l.finder()
		var all sync.WaitGroup
		for _, who := range []struct {
			since time.Time
			stays time.Duration
		}{{began, time.Minute}, {began, 1500 * time.Millisecond}, {old, 1200 * time.Millisecond}} {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), who.stays)
				defer cancel()
				if _, ok, err := f.Find(ctx, "job-0", 0, who.since); ok || (err == nil) != (who.stays == time.Minute) {
					t.Errorf("%s: %t, %v", who.stays, ok, err)
				}
			})
			synctest.Wait()
		}
		all.Wait()
		l.asked = 0
		if _, ok, err := f.Find(t.Context(), "job-0", 0, began); ok || err != nil || l.asked != 1 {
			t.Errorf("Find = %t, %v after %d pages", ok, err, l.asked)
		}
	})
}

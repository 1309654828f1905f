package github_test

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pregoi/provision-tenant/internal/sandbox/github"
)

// How many dispatches and reads get through before a limit says no, in which words, and
// when it lets the next one through.
func TestEachLimit(t *testing.T) {
	t.Parallel()
	unlimited := github.Unlimited()
	with := func(f func(*github.Limits)) github.Limits { l := unlimited; f(&l); return l }
	for _, test := range []struct {
		name         string
		limits       github.Limits
		reads        bool // or dispatches
		through      int
		status       int
		text         string
		retry, after string // Retry-After, and X-RateLimit-Remaining
		wait         time.Duration
	}{
		{"primary", with(func(l *github.Limits) { l.PerHour = 7 }), true, 7, 403, "API rate limit exceeded", "", "0", time.Hour},
		{"primary, 429", with(func(l *github.Limits) { l.PerHour, l.Status429 = 7, true }), true, 7, 429, "API rate limit exceeded", "", "0", time.Hour},
		{"a minute's writes, GitHub's own", with(func(l *github.Limits) { l.WritesPerMinute = 80 }), false, 80, 403, "secondary rate limit", "61", "5000", time.Minute},
		{"an hour's writes", with(func(l *github.Limits) { l.WritesPerHour = 5 }), false, 5, 403, "secondary rate limit", "3601", "5000", time.Hour},
		{"points of reads", with(func(l *github.Limits) { l.PointsPerMinute = 10 }), true, 10, 403, "secondary rate limit", "61", "5000", time.Minute},
		{"points of writes", with(func(l *github.Limits) { l.PointsPerMinute = 12 }), false, 2, 403, "secondary rate limit", "61", "5000", time.Minute},
		{"without Retry-After", with(func(l *github.Limits) { l.WritesPerMinute, l.HideRetryAfter, l.Status429 = 3, true, true }), false, 3, 429, "secondary rate limit", "", "5000", time.Minute},
		{"GitHub's own", github.Limits{QueuedIn10s: -1, WritesPerMinute: -1, WritesPerHour: -1}, true, 900, 403, "secondary rate limit", "61", "4099", time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := away(github.Options{Limits: test.limits, Runner: github.RunnerInstant})
				ask := func() (int, string, string, string) {
					method, path, body := "POST", ours+"/dispatches", job("j")
					if test.reads {
						method, path, body = "GET", "/repos/o/r", ""
					}
					status, answer, header := ask(t, s, method, path, body)
					return status, fmt.Sprint(answer["message"]), header.Get("Retry-After"), header.Get("X-RateLimit-Remaining")
				}
				for i := range test.through {
					if status, text, _, _ := ask(); status != 200 {
						t.Fatalf("request %d: %d %s", i+1, status, text)
					}
				}
				status, text, retry, remaining := ask()
				if status != test.status || !strings.Contains(text, test.text) || retry != test.retry || remaining != test.after {
					t.Errorf("then: %d %s, Retry-After %q, %s remaining; want %d %s, %q, %s", status, text, retry, remaining, test.status, test.text, test.retry, test.after)
				}
				ask()
				if got, want := s.LimitStats(), (github.LimitStats{Answers: 2, Early: 1}); got != want {
					t.Errorf("LimitStats = %+v, want %+v", got, want)
				}
				time.Sleep(test.wait + time.Second) // virtual
				if status, text, _, _ := ask(); status != 200 {
					t.Errorf("after %s: %d %s", test.wait, status, text)
				}
				if got := s.LimitStats().Early; got != 1 {
					t.Errorf("%d requests were early, want 1", got)
				}
			})
		})
	}
}

// More than a hundred requests at once are too many.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	limits := github.Unlimited()
	limits.AtOnce = 1
	files := slow{os.DirFS("../../.."), make(chan struct{}), make(chan struct{})}
	s := away(github.Options{Limits: limits, Files: files})
	first := make(chan int)
	go func() {
		status, _, _ := ask(t, s, "GET", "/repos/o/r/contents/action.yml", "")
		first <- status
	}()
	<-files.opened
	status, body, header := ask(t, s, "GET", "/repos/o/r", "")
	if status != 403 || !strings.Contains(fmt.Sprint(body["message"]), "secondary rate limit") || header.Get("Retry-After") != "61" {
		t.Errorf("the second at once: %d %v", status, body["message"])
	}
	close(files.open)
	if status := <-first; status != 200 {
		t.Errorf("the first: %d", status)
	}
	for range 3 {
		if status, _, _ := ask(t, s, "GET", "/repos/o/r", ""); status != 200 {
			t.Errorf("one request after another: %d", status)
		}
	}
}

// Slow is a repository whose files take until open is closed, and says when one is asked for.
type slow struct {
	fs.FS
	opened, open chan struct{}
}

func (f slow) Open(name string) (fs.File, error) {
	close(f.opened)
	<-f.open
	return f.FS.Open(name)
}

// What is more than 500 runs in ten seconds is accepted, and nobody hears of it again.
func TestDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limits := github.Unlimited()
		limits.QueuedIn10s = 0 // GitHub's own
		s := away(github.Options{Limits: limits, Runner: github.RunnerInstant})
		var last float64
		for i := range 503 {
			status, body, _ := ask(t, s, "POST", ours+"/dispatches", job(fmt.Sprint("job-", i)))
			if status != 200 {
				t.Fatalf("dispatch %d: %d", i, status)
			}
			last = body["workflow_run_id"].(float64)
		}
		if n := len(s.Runs()); n != 500 || s.LimitStats().Dropped != 3 || s.LimitStats().Answers != 0 {
			t.Errorf("%d runs, %+v", n, s.LimitStats())
		}
		if status, _, _ := ask(t, s, "GET", fmt.Sprintf("/repos/o/r/actions/runs/%.0f", last), ""); status != 404 {
			t.Errorf("the run that was dropped: %d", status)
		}
		_, body, _ := ask(t, s, "GET", ours+"/runs", "")
		if body["total_count"] != 500.0 {
			t.Errorf("%v runs are listed", body["total_count"])
		}
		time.Sleep(10 * time.Second) // virtual
		_, body, _ = ask(t, s, "POST", ours+"/dispatches", job("later"))
		if r, err := s.Run(int64(body["workflow_run_id"].(float64))); err != nil || r.Name != "provision later (acme-1, sg)" {
			t.Errorf("ten seconds later: %+v, %v", r, err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Who has the answer already is told so, and it costs nothing of the primary limit.
func TestConditional(t *testing.T) {
	t.Parallel()
	limits := github.Unlimited()
	limits.PerHour = 100
	s := away(github.Options{Limits: limits})
	_, body, _ := ask(t, s, "POST", ours+"/dispatches", job("j"))
	id := int64(body["workflow_run_id"].(float64))
	for _, path := range []string{"/repos/o/r/contents/action.yml", fmt.Sprintf("/repos/o/r/actions/runs/%d", id), ours + "/runs"} {
		status, _, header := ask(t, s, "GET", path, "")
		tag, before := header.Get("ETag"), header.Get("X-RateLimit-Remaining")
		if status != 200 || tag == "" {
			t.Fatalf("%s: %d with ETag %q", path, status, tag)
		}
		status, body, header := ask(t, s, "GET", path, "", "If-None-Match", tag)
		if status != 304 || body != nil || header.Get("ETag") != tag || header.Get("X-RateLimit-Remaining") != before {
			t.Errorf("%s: %d %v, ETag %q, %s remaining; want 304, %s", path, status, body, header.Get("ETag"), header.Get("X-RateLimit-Remaining"), before)
		}
		if status, _, _ := ask(t, s, "GET", path, "", "If-None-Match", `W/"other"`); status != 200 {
			t.Errorf("%s with another ETag: %d", path, status)
		}
	}
	run := fmt.Sprintf("/repos/o/r/actions/runs/%d", id)
	_, _, header := ask(t, s, "GET", run, "")
	if err := s.Steer(id, "in_progress", ""); err != nil {
		t.Fatal(err)
	}
	if status, body, _ := ask(t, s, "GET", run, "", "If-None-Match", header.Get("ETag")); status != 200 || body["status"] != "in_progress" {
		t.Errorf("a run that has moved: %d %v", status, body["status"])
	}
}

// A repository that was renamed says where it is now, and a disabled workflow says no.
func TestMovedAndDisabled(t *testing.T) {
	t.Parallel()
	s := away(github.Options{OldNames: []string{"o/old"}})
	for method, want := range map[string]int{"GET": 301, "POST": 307} {
		path := "/actions/workflows/provision-tenant.yml"
		body := ""
		if method == "POST" {
			path, body = path+"/dispatches", job("j")
		}
		status, _, header := ask(t, s, method, "/repos/o/old"+path, body)
		if status != want || header.Get("Location") != "http://example.com/repositories/1296269"+path {
			t.Errorf("%s: %d to %s", method, status, header.Get("Location"))
		}
		if status, _, _ := ask(t, s, method, "/repositories/1296269"+path, body); status != 200 {
			t.Errorf("%s where it leads: %d", method, status)
		}
	}
	s = away(github.Options{Disabled: []string{"provision-tenant.yml"}})
	status, body, _ := ask(t, s, "POST", ours+"/dispatches", job("j"))
	if status != 422 || body["message"] != "Cannot trigger a 'workflow_dispatch' on a disabled workflow" || len(s.Runs()) > 0 {
		t.Errorf("disabled: %d %v", status, body)
	}
}

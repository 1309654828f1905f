package github_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/contract"
	sandbox "github.com/pregoi/provision-tenant/internal/sandbox/github"
)

var since = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

// pages answers lists of runs with these names, a page for each list, and counts requests.
func pages(t *testing.T, asked *int, lists ...[]string) github.Workflow {
	return serve(t, func(rw http.ResponseWriter, r *http.Request) {
		*asked++
		q := r.URL.Query()
		if want := fmt.Sprint(*asked); r.Method != "GET" || r.URL.Path != "/repos/o/r/actions/workflows/w.yml/runs" ||
			len(q) != 2 || q.Get("per_page") != "100" || q.Get("page") != want {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		if *asked < len(lists) {
			rw.Header().Set("Link", fmt.Sprintf("<http://%s%s?page=%d>; rel=\"next\"", r.Host, r.URL.Path, *asked+1))
		}
		var runs []string
		for i, name := range lists[*asked-1] {
			id := 1000*(100-*asked) - i
			runs = append(runs, fmt.Sprintf(`{"id":%d,"event":"workflow_dispatch","display_title":%q,"url":"u%d","html_url":"h%d"}`, id, name, id, id))
		}
		_, _ = fmt.Fprintf(rw, `{"total_count":%d,"workflow_runs":[%s]}`, len(runs), strings.Join(runs, ","))
	})
}

func TestFind(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		lists [][]string
		id    int64
		asked int
	}{
		{"none", [][]string{{}}, 0, 1},
		{"others", [][]string{{"provision job-12 (t)", "xjob-1", "job-1-2", "job-1.", "JOB-1", "job", "a:job-1"}}, 0, 1},
		{"one", [][]string{{"provision job-2 (t)", "provision job-1 (t)"}}, 98999, 1},
		{"in brackets", [][]string{{"[job-1]"}}, 99000, 1},
		{"on the last page", [][]string{{"a"}, {"b"}, {"c", "job-1"}}, 96999, 3},
		{"twins: the oldest", [][]string{{"job-1", "job-1"}, {"job-1", "job-3"}}, 98000, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked := 0
			run, ok, err := github.NewFinder(pages(t, &asked, test.lists...)).Find(t.Context(), "job-1", 0, since)
			want := github.Run{}
			if test.id > 0 {
				want = github.Run{ID: test.id, URL: fmt.Sprint("u", test.id), HTMLURL: fmt.Sprint("h", test.id)}
			}
			if err != nil || ok != (test.id > 0) || run != want || asked != test.asked {
				t.Errorf("Find = %+v, %t, %v after %d requests; want %+v after %d", run, ok, err, asked, want, test.asked)
			}
		})
	}
}

// Nothing that is not the whole list says that there is no run.
func TestFindUnknown(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]http.HandlerFunc{
		"no list":   answer(200, `{}`),
		"empty":     answer(200, ``),
		"html":      answer(200, `<html>`),
		"truncated": answer(200, `{"total_count":0,"workflow_runs":[`, "Content-Length", "100"),
		"none of 5": answer(200, `{"total_count":5,"workflow_runs":[]}`),
		"null of 5": answer(200, `{"total_count":5}`),
		"1 of 5":    answer(200, `{"total_count":5,"workflow_runs":[{"id":1,"event":"workflow_dispatch"}]}`),
		"502":       answer(502, ``),
		"reset":     func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		if _, ok, err := github.NewFinder(serve(t, f)).Find(t.Context(), "job-1", 0, since); ok || provision.ClassOf(err) != provision.Busy {
			t.Errorf("%s: %t, %v", name, ok, err)
		}
	}
	asked := 0
	if _, ok, err := github.NewFinder(pages(t, &asked, slices.Repeat([][]string{{"x"}}, 102)...)).Find(t.Context(), "job-1", 0, since); ok || provision.ClassOf(err) != provision.Busy || asked != 100 {
		t.Errorf("too many runs: %t, %v after %d requests", ok, err, asked)
	}
	if _, _, err := github.NewFinder(serve(t, answer(404, said("Not Found")))).Find(t.Context(), "job-1", 0, since); provision.ClassOf(err) != provision.NotFound {
		t.Errorf("404: %v", err)
	}
}

// When a limit ends, by the server's own clock.
func TestLimit(t *testing.T) {
	t.Parallel()
	date := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) // far from ours
	reset := fmt.Sprint(date.Unix() + 100)
	for _, test := range []struct {
		name   string
		header []string
		want   time.Duration // from now; 0 for not told
	}{
		{"seconds", []string{"Retry-After", "17"}, 17 * time.Second},
		{"both", []string{"Retry-After", "17", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", reset}, 17 * time.Second},
		{"a date", []string{"Retry-After", date.Add(40 * time.Second).Format(http.TimeFormat)}, 40 * time.Second},
		{"reset", []string{"X-RateLimit-Remaining", "0", "X-RateLimit-Reset", reset}, 101 * time.Second},
		{"reset, but some left", []string{"X-RateLimit-Remaining", "3", "X-RateLimit-Reset", reset}, 0},
		{"blank", []string{"Retry-After", ""}, 0},
		{"negative", []string{"Retry-After", "-5"}, 0},
		{"garbage", []string{"Retry-After", "soon"}, 0},
		{"zero", []string{"Retry-After", "0"}, time.Second},
		{"for ever", []string{"Retry-After", "1000000000"}, 24 * time.Hour},
		{"long past", []string{"X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "1"}, time.Second},
		{"nothing", nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			now := time.Now()
			header := append([]string{"Date", date.Format(http.TimeFormat)}, test.header...)
			_, err := serve(t, answer(429, said("slow down"), header...)).Start(t.Context(), nil)
			var l *github.LimitError
			if !errors.As(err, &l) || provision.ClassOf(err) != provision.Busy {
				t.Fatalf("err = %v", err)
			}
			if l.NotBefore().IsZero() != (test.want == 0) {
				t.Fatalf("not before %s", l.NotBefore())
			}
			if d := l.NotBefore().Sub(now); test.want > 0 && (d < test.want || d > test.want+5*time.Second) {
				t.Errorf("in %s, want %s", d, test.want)
			}
		})
	}
}

// What is asked for, and what the stand-in answers, is as GitHub describes it.
func TestFindContract(t *testing.T) {
	s := sandbox.New(sandbox.Options{Repo: "o/r", Token: "t0k3n", Files: os.DirFS("../.."), Action: os.Args[0],
		Env: []string{"GO_TEST_NOTHING=1", "GORACE=atexit_sleep_ms=0"}, Dir: t.TempDir()})
	h := httptest.NewServer(contract.Handler(t, "github.json", "", s.Handler()))
	t.Cleanup(func() {
		h.Close()
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	w := github.Workflow{BaseURL: h.URL, Repo: "o/r", File: "provision-tenant.yml", Token: "t0k3n"}
	began := time.Now()
	want, err := w.Start(t.Context(), map[string]any{"job_id": "j", "tenant_id": "t", "region": "sg", "create_new_server": true,
		"subdomain_slug": "s", "canonical_hostname": "s.pregoi.com"})
	if err != nil {
		t.Fatal(err)
	}
	if run, ok, err := github.NewFinder(w).Find(t.Context(), "j", 0, began); err != nil || !ok || run != want {
		t.Errorf("Find = %+v, %t, %v; want %+v", run, ok, err, want)
	}
	for word, since := range map[string]time.Time{"other": began, "j": began.Add(time.Hour)} {
		if run, ok, err := github.NewFinder(w).Find(t.Context(), word, 0, since); err != nil || ok {
			t.Errorf("Find(%q) = %+v, %t, %v", word, run, ok, err)
		}
	}
}

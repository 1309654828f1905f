package github_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/contract"
	sandbox "github.com/pregoi/provision-tenant/internal/sandbox/github"
	"github.com/pregoi/provision-tenant/internal/sandbox/standin"
)

// started returns a stand-in with one run, and a workflow that asks it.
func started(t *testing.T, o sandbox.Options) (*sandbox.Server, github.Workflow, github.Run) {
	t.Helper()
	s := github7(o, sandbox.App{})
	w := inMemory(s.Handler(), nil)
	w.Token = "t0k3n"
	run, err := w.Start(t.Context(), inputs("j"))
	if err != nil {
		t.Fatal(err)
	}
	return s, w, run
}

// every returns what is called with each progress, and what it has noted.
func every(list *[]string) func(github.Progress) {
	return func(p github.Progress) { *list = append(*list, strings.TrimSpace(p.Status+" "+p.Conclusion)) }
}

// A run is followed through every status to every conclusion.
func TestFollow(t *testing.T) {
	t.Parallel()
	for _, conclusion := range []string{"action_required", "cancelled", "failure", "neutral", "skipped", "stale", "success", "timed_out", "startup_failure"} {
		synctest.Test(t, func(t *testing.T) {
			s, w, run := started(t, sandbox.Options{})
			statuses := []string{"requested", "waiting", "pending", "queued", "in_progress", "completed"}
			go func() {
				for _, status := range statuses {
					time.Sleep(time.Minute) // virtual
					if err := s.Steer(run.ID, status, conclusion); err != nil {
						t.Error(err)
					}
				}
			}()
			var got []string
			began := time.Now()
			p, err := w.Follow(t.Context(), run.ID, every(&got))
			want := github.Progress{Run: run, Name: "provision j (t, sg)", Attempt: 1, Status: "completed", Conclusion: conclusion}
			if diff := cmp.Diff(want, p); err != nil || diff != "" {
				t.Errorf("%s: %v; Follow (-want +got):\n%s", conclusion, err, diff)
			}
			if diff := cmp.Diff([]string{"queued", "requested", "waiting", "pending", "queued", "in_progress", "completed " + conclusion}, got); diff != "" {
				t.Errorf("%s: changes (-want +got):\n%s", conclusion, diff)
			}
			if late := time.Since(began) - 6*time.Minute; late < 0 || late > 20*time.Second {
				t.Errorf("%s: the end was seen %s after it", conclusion, late)
			}
		})
	}
}

// Looking at what does not change costs nothing of the primary limit.
func TestFollowIsFree(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limits := sandbox.Unlimited()
		limits.PerHour = 4 // the dispatch, and three answers that are news
		s, w, run := started(t, sandbox.Options{Limits: limits})
		go func() {
			time.Sleep(30 * time.Minute) // virtual
			s.Steer(run.ID, "in_progress", "")
			time.Sleep(20 * time.Minute)
			s.Steer(run.ID, "completed", "success")
		}()
		looks := 0
		s.Faults.Set(func(*http.Request) standin.Action { looks++; return standin.Action{} })
		if p, err := w.Follow(t.Context(), run.ID, nil); err != nil || p.Conclusion != "success" {
			t.Errorf("Follow = %+v, %v", p, err)
		}
		if looks < 100 || looks > 250 || s.LimitStats().Answers > 0 {
			t.Errorf("%d looks in 50 minutes, %+v", looks, s.LimitStats())
		}
	})
}

// A run that waited and was cancelled for a newer one is told from one that somebody has
// cancelled while it was under way.
func TestFollowSuperseded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := sandbox.New(sandbox.Options{Repo: "o/r", Token: "t0k3n", Runner: sandbox.RunnerAway, Limits: sandbox.Unlimited(), Files: fstest.MapFS{
			".github/workflows/w.yml": {Data: []byte("on: workflow_dispatch\nconcurrency: g\njobs: {a: {runs-on: x, steps: [{uses: ./}]}}")},
		}})
		w := inMemory(s.Handler(), nil)
		w.Token, w.File = "t0k3n", "w.yml"
		var runs []github.Run
		for range 3 {
			run, err := w.Start(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			runs = append(runs, run)
		}
		if err := s.Steer(runs[0].ID, "in_progress", ""); err != nil {
			t.Fatal(err)
		}
		if err := s.Cancel(runs[0].ID); err != nil {
			t.Fatal(err)
		}
		for i, want := range []bool{false, true} {
			p, err := w.Follow(t.Context(), runs[i].ID, nil)
			if err != nil || p.Conclusion != "cancelled" || p.Superseded != want {
				t.Errorf("run %d: %+v, %v; want superseded %t", i, p, err, want)
			}
		}
		if p, err := w.Progress(t.Context(), runs[2].ID); err != nil || p.Status != "queued" || p.Completed() {
			t.Errorf("the newest: %+v, %v", p, err)
		}
	})
}

// A run that is run again while it is followed, also between two looks, is followed to the
// end of its last attempt.
func TestFollowAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, w, run := started(t, sandbox.Options{})
		go func() {
			time.Sleep(5 * time.Minute)
			if err := errors.Join(s.Steer(run.ID, "in_progress", ""), s.Steer(run.ID, "completed", "failure"), s.Rerun(run.ID)); err != nil {
				t.Error(err)
			}
			time.Sleep(5 * time.Minute)
			if err := s.Steer(run.ID, "completed", "success"); err != nil {
				t.Error(err)
			}
		}()
		var seen []string
		p, err := w.Follow(t.Context(), run.ID, func(p github.Progress) { seen = append(seen, fmt.Sprint(p.Attempt, " ", p.Status)) })
		if err != nil || p.Attempt != 2 || p.Conclusion != "success" {
			t.Errorf("Follow = %+v, %v", p, err)
		}
		if want := []string{"1 queued", "2 queued", "2 completed"}; !slices.Equal(seen, want) {
			t.Errorf("seen: %q, want %q", seen, want)
		}
	})
}

// What is in the way of following, and how long it is borne.
func TestFollowTroubles(t *testing.T) {
	t.Parallel()
	secondary := standin.Action{Status: 403, Body: said("secondary rate limit"), Header: http.Header{"Retry-After": {"900"}}}
	for _, test := range []struct {
		name  string
		fault standin.Action
		lasts time.Duration // of the fault, from the start
		class provision.Class
		until time.Duration // when Follow ends, at the earliest; and half a minute later at the latest
		looks int           // at most
	}{
		{"a limit", secondary, 10 * time.Minute, "", 15 * time.Minute, 4},
		{"a limit that says no time", standin.Action{Status: 429, Body: said("no")}, 6 * time.Minute, "", 7 * time.Minute, 8},
		{"unavailable", standin.Action{Status: 502}, 9 * time.Minute, "", 9 * time.Minute, 80},
		{"unavailable for long", standin.Action{Status: 502}, time.Hour, provision.Busy, 10 * time.Minute, 80},
		{"garbled", standin.Action{Status: 200, Body: `{}`}, time.Minute, "", time.Minute, 20},
		{"another run", standin.Action{Status: 200, Body: `{"id":1,"status":"completed"}`}, time.Minute, "", time.Minute, 20},
		{"not yet known", standin.Action{Status: 404, Body: said("Not Found")}, 30 * time.Second, "", 30 * time.Second, 20},
		{"unknown", standin.Action{Status: 404, Body: said("Not Found")}, time.Hour, provision.NotFound, time.Minute, 20},
		{"denied", standin.Action{Status: 401, Body: said("Bad credentials")}, time.Hour, provision.Denied, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, w, run := started(t, sandbox.Options{})
				if err := s.Steer(run.ID, "completed", "success"); err != nil {
					t.Fatal(err)
				}
				began, looks := time.Now(), 0
				s.Faults.Set(func(*http.Request) standin.Action {
					if looks++; time.Since(began) < test.lasts {
						return test.fault
					}
					return standin.Action{}
				})
				_, err := w.Follow(t.Context(), run.ID, nil)
				took := time.Since(began)
				if provision.ClassOf(err) != test.class || took < test.until || took > test.until*5/4+30*time.Second || looks > test.looks {
					t.Errorf("Follow ended after %s and %d looks: %v", took, looks, err)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		_, w, run := started(t, sandbox.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		p, err := w.Follow(ctx, run.ID, nil)
		if !errors.Is(err, context.DeadlineExceeded) || p.Status != "queued" {
			t.Errorf("until the deadline: %+v, %v", p, err)
		}
	})
}

// What is asked, and what the stand-in answers, is as GitHub describes it.
func TestFollowContract(t *testing.T) {
	s := github7(sandbox.Options{}, sandbox.App{})
	h := httptest.NewServer(contract.Handler(t, "github.json", "", s.Handler()))
	defer h.Close()
	w := github.Workflow{BaseURL: h.URL, Repo: "o/r", File: "provision-tenant.yml", Token: "t0k3n"}
	run, err := w.Start(t.Context(), inputs("j"))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"in_progress", "completed"} {
		if err := s.Steer(run.ID, step, "cancelled"); err != nil {
			t.Fatal(err)
		}
		p, err := w.Progress(t.Context(), run.ID)
		if err != nil || p.Status != step || p.Run != run || p.Superseded {
			t.Errorf("Progress = %+v, %v", p, err)
		}
	}
	// That there may be no such run is in no description.
	w.BaseURL, w.HTTP = "", &http.Client{Transport: standin.Transport{Handler: s.Handler()}}
	_, err = w.Progress(t.Context(), run.ID+1)
	if want := fmt.Sprintf("read run %d of o/r: 404 Not Found", run.ID+1); provision.ClassOf(err) != provision.NotFound || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("a run that there is not: %v", err)
	}
}

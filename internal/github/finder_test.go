package github_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pregoi/provision-tenant/internal/github"
	"github.com/pregoi/provision-tenant/internal/provision"
	sandbox "github.com/pregoi/provision-tenant/internal/sandbox/github"
)

// GitHub lists a thousand runs of those that match. That a run is not among them says nothing.
func TestFindAmongThousands(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := inMemory(github7(sandbox.Options{}, sandbox.App{}).Handler(), nil)
		w.Token = "t0k3n"
		began := time.Now()
		var first github.Run
		for n := range 1050 {
			in := inputs(fmt.Sprint("job-", n))
			in["tenant_id"] = fmt.Sprint("t-", n)
			run, err := w.Start(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				first = run
			}
			time.Sleep(600 * time.Millisecond)
		}
		f := github.NewFinder(w)
		if run, ok, err := f.Find(t.Context(), "job-0", 0, began); err != nil || !ok || run != first {
			t.Errorf("Find = %+v, %t, %v; want %+v", run, ok, err, first)
		}
		if run, ok, err := f.Find(t.Context(), "job-0", first.ID, began); err != nil || ok {
			t.Errorf("after it: %+v, %t, %v", run, ok, err)
		}
		if run, ok, err := f.Find(t.Context(), "job-0", 0, began.Add(6*time.Minute)); err != nil || ok {
			t.Errorf("since later: %+v, %t, %v", run, ok, err)
		}
	})
}

// Many who look at once are answered from one list, which began after they had asked; also
// when the one who reads it goes away.
func TestFindTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := github7(sandbox.Options{}, sandbox.App{}).Handler()
		var lists atomic.Int32
		w := inMemory(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				lists.Add(1)
				time.Sleep(time.Second)
			}
			s.ServeHTTP(rw, r)
		}), nil)
		w.Token = "t0k3n"
		began := time.Now()
		f := github.NewFinder(w)
		leaves, leave := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer leave()
		var all sync.WaitGroup
		all.Go(func() {
			if _, ok, err := f.Find(leaves, "job-0", 0, began); ok || provision.ClassOf(err) != provision.Busy {
				t.Errorf("who has left: %t, %v", ok, err)
			}
		})
		synctest.Wait()
		for n := range 20 {
			word := fmt.Sprint("job-", n)
			want, err := w.Start(t.Context(), inputs(word))
			if err != nil {
				t.Fatal(err)
			}
			all.Go(func() {
				if run, ok, err := f.Find(t.Context(), word, 0, began); err != nil || !ok || run != want {
					t.Errorf("Find(%s) = %+v, %t, %v; want %+v", word, run, ok, err, want)
				}
				if run, ok, err := f.Find(t.Context(), word, want.ID, began); err != nil || ok {
					t.Errorf("Find(%s) = %+v, %t, %v after its only run", word, run, ok, err)
				}
			})
		}
		all.Wait()
		// One that was left, one for all, and for their second looks one or two.
		if n := lists.Load(); n > 4 {
			t.Errorf("%d lists were read", n)
		}
	})
}

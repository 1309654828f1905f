package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pregoi/provision-tenant/internal/pipeline"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// asks returns a step whose check is ask.
func (d *diary) asks(name string, ask func(context.Context) error) pipeline.Step {
	return d.step(name, func(s *pipeline.Step) {
		s.Check = func(ctx context.Context, _ *pipeline.Run) error { return ask(ctx) }
	})
}

// TestChecksSideBySide has three checks of five seconds each, which wait for each other.
func TestChecksSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var did diary
		var together sync.WaitGroup
		together.Add(3)
		slow := func(context.Context) error {
			together.Done()
			together.Wait()
			<-time.After(5 * time.Second)
			return nil
		}
		start := time.Now()
		err := pipeline.Execute(t.Context(), newRun(shared()), pipeline.Options{}, new(trace), did.asks("a", slow), did.asks("b", slow), did.asks("c", slow))
		if err != nil || time.Since(start) != 5*time.Second || len(did) != 3 {
			t.Errorf("%v after %v, done %q; want all of them after 5 s", err, time.Since(start), did)
		}
	})
}

// TestChecksAskAgain while the remote does not answer, and not once it has said no.
func TestChecksAskAgain(t *testing.T) {
	busy := provision.Errorf(provision.Busy, "no answer")
	for name, test := range map[string]struct {
		answers []error // the last one again and again
		asked   int
		took    time.Duration
		class   provision.Class
		text    string
	}{
		"back after a moment": {[]error{busy, busy, nil}, 3, 1500 * time.Millisecond, "", ""},
		"down":                {[]error{busy}, 6, 15500 * time.Millisecond, provision.Busy, "a: no answer"},
		"refused":             {[]error{provision.Errorf(provision.Denied, "no")}, 1, 0, provision.Denied, "a: no"},
		"refused when back":   {[]error{busy, provision.Errorf(provision.Conflict, "taken")}, 2, 500 * time.Millisecond, provision.Conflict, "a: taken"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var did diary
				asked := 0
				start := time.Now()
				err := pipeline.Execute(t.Context(), newRun(shared()), pipeline.Options{}, new(trace), did.asks("a", func(context.Context) error {
					asked++
					return test.answers[min(asked, len(test.answers))-1]
				}))
				wantError(t, err, test.class, test.text)
				if asked != test.asked || time.Since(start) != test.took {
					t.Errorf("asked %d times in %v, want %d in %v", asked, time.Since(start), test.asked, test.took)
				}
				if (err == nil) != (len(did) == 1) {
					t.Errorf("done %q after %v", did, err)
				}
			})
		})
	}
}

// TestChecksEnd after 20 seconds, whatever a remote does, and name what did not answer.
func TestChecksEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var did diary
		start := time.Now()
		err := pipeline.Execute(t.Context(), newRun(shared()), pipeline.Options{}, new(trace),
			did.asks("a", func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("read zone x: %w", ctx.Err()) }),
			did.asks("b", func(context.Context) error { return provision.Errorf(provision.Denied, "no") }))
		wantError(t, err, provision.Denied, "a: not answered within 20s: read zone x", "b: no")
		if time.Since(start) != 20*time.Second || did != nil {
			t.Errorf("ended after %v, done %q", time.Since(start), did)
		}
	})
}

// TestChecksCancelled end at once, with one word about it.
func TestChecksCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		var did diary
		wait := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		lost := func(ctx context.Context) error {
			<-ctx.Done()
			return provision.Errorf(provision.Busy, "no answer: %w", ctx.Err())
		}
		start := time.Now()
		err := pipeline.Execute(ctx, newRun(shared()), pipeline.Options{}, new(trace), did.asks("a", lost), did.asks("b", wait))
		if provision.ClassOf(err) != provision.Cancelled || !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "things are wrong") {
			t.Errorf("%v (%s), want it cancelled", err, provision.ClassOf(err))
		}
		if time.Since(start) != time.Second || did != nil {
			t.Errorf("ended after %v, done %q", time.Since(start), did)
		}
	})
}

package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pregoi/provision-tenant/internal/pipeline"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A trace collects the events of a run.
type trace []provision.Event

func (t *trace) Emit(e provision.Event) { *t = append(*t, e) }

// lines tells the events in a word or two each.
func (t trace) lines() []string {
	var list []string
	for _, e := range t {
		list = append(list, e.Stage+" "+string(e.Status))
	}
	return list
}

// A diary is what the steps of a test did, in order.
type diary []string

func (d *diary) write(format string, args ...any) { *d = append(*d, fmt.Sprintf(format, args...)) }

// step returns a step that writes into d what is done to it.
func (d *diary) step(name string, change ...func(*pipeline.Step)) pipeline.Step {
	s := pipeline.Step{
		Name: name,
		Plan: func(context.Context, *pipeline.Run) (string, error) { d.write("plan %s", name); return "", nil },
		Do: func(context.Context, *pipeline.Run) (string, error) {
			d.write("do %s", name)
			return "did " + name, nil
		},
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

func always(s *pipeline.Step)    { s.Always = true }
func alone(s *pipeline.Step)     { s.Alone = true }
func onlyLooks(s *pipeline.Step) { s.Plan = nil }
func skipped(s *pipeline.Step)   { s.Skip = func(*pipeline.Run) string { return "nothing to do" } }

// undone is a step that Do has still to do.
func undone(s *pipeline.Step) {
	plan := s.Plan
	s.Plan = func(ctx context.Context, r *pipeline.Run) (string, error) {
		_, err := plan(ctx, r)
		return "make " + s.Name, err
	}
}

// fails makes a step end with err, planned or done.
func fails(err error) func(*pipeline.Step) {
	return func(s *pipeline.Step) {
		plan, do := s.Plan, s.Do
		s.Plan = func(ctx context.Context, r *pipeline.Run) (string, error) { plan(ctx, r); return "", err }
		s.Do = func(ctx context.Context, r *pipeline.Run) (string, error) { do(ctx, r); return "", err }
	}
}

// checked is a step that is checked first, with err. Checks are made side by side, and
// written down in the order of their names.
func (d *diary) checked(err error) func(*pipeline.Step) {
	return func(s *pipeline.Step) {
		s.Check = func(context.Context, *pipeline.Run) error {
			checking.Lock()
			defer checking.Unlock()
			d.write("check %s", s.Name)
			slices.Sort(*d)
			return err
		}
	}
}

var checking sync.Mutex // of the diaries

// shared is a job that asks for a new shared server; placed, for a node that exists;
// enterprise, for servers of its own.
func shared() provision.Job {
	return provision.Job{
		ID: "job-1", TenantID: "acme-1", Region: placement.SG, CreateNewServer: true,
		SubdomainSlug: "acme", CanonicalHostname: "acme.pregoi.com", TraceID: "trace_1",
	}
}

func placed() provision.Job {
	j := shared()
	j.CreateNewServer, j.TargetServerID = false, "hz-sg-7"
	return j
}

func enterprise() provision.Job {
	j := shared()
	j.Dedicated = true
	return j
}

func newRun(j provision.Job) *pipeline.Run {
	return &pipeline.Run{Job: j, Attempt: pipeline.Attempt{Run: "4711", Number: 1, URL: "https://github.example/runs/4711"}}
}

// wantError checks that err is of class and says every one of texts; class "" is for nil.
func wantError(t *testing.T, err error, class provision.Class, texts ...string) {
	t.Helper()
	if got := provision.ClassOf(err); got != class {
		t.Errorf("the error %v is of class %q, want %q", err, got, class)
	}
	for _, text := range texts {
		if text != "" && (err == nil || !strings.Contains(err.Error(), text)) {
			t.Errorf("the error is %v, want %q in it", err, text)
		}
	}
}

func TestExecute(t *testing.T) {
	refusal := provision.Errorf(provision.Conflict, "zone: taken")
	for _, test := range []struct {
		name    string
		options pipeline.Options
		steps   func(*diary) []pipeline.Step
		did     diary
		events  []string
		err     string
		class   provision.Class
	}{
		{
			name:   "every step in order",
			steps:  func(d *diary) []pipeline.Step { return []pipeline.Step{d.step("a"), d.step("b"), d.step("z", always)} },
			did:    diary{"do a", "do b", "do z"},
			events: []string{"a started", "a succeeded", "b started", "b succeeded", "z started", "z succeeded"},
		}, {
			name:   "what is skipped is told, and not done",
			steps:  func(d *diary) []pipeline.Step { return []pipeline.Step{d.step("a", skipped), d.step("b")} },
			did:    diary{"do b"},
			events: []string{"a skipped", "b started", "b succeeded"},
		}, {
			name: "a failure stops all but what always runs",
			steps: func(d *diary) []pipeline.Step {
				return []pipeline.Step{d.step("a", fails(refusal)), d.step("b"), d.step("c", skipped), d.step("z", always)}
			},
			did:    diary{"do a", "do z"},
			events: []string{"a started", "a failed", "z started", "z succeeded"},
			err:    "a: zone: taken", class: provision.Conflict,
		}, {
			name: "the first failure is the one that is told",
			steps: func(d *diary) []pipeline.Step {
				return []pipeline.Step{d.step("a", fails(refusal)), d.step("z", always, fails(provision.Errorf(provision.Busy, "down")))}
			},
			did:    diary{"do a", "do z"},
			events: []string{"a started", "a failed", "z started", "z failed"},
			err:    "a: zone: taken", class: provision.Conflict,
		}, {
			name: "the failure of a step that always runs fails the run",
			steps: func(d *diary) []pipeline.Step {
				return []pipeline.Step{d.step("a"), d.step("z", always, fails(provision.Errorf(provision.Busy, "down")))}
			},
			did:    diary{"do a", "do z"},
			events: []string{"a started", "a succeeded", "z started", "z failed"},
			err:    "z: down", class: provision.Busy,
		}, {
			name:    "a plan does nothing that changes",
			options: pipeline.Options{Plan: true},
			steps: func(d *diary) []pipeline.Step {
				return []pipeline.Step{d.step("look", onlyLooks), d.step("a", undone), d.step("b", undone), d.step("z", always, undone)}
			},
			did: diary{"do look", "plan a", "plan b", "plan z"},
			events: []string{"look started", "look succeeded", "a started", "a succeeded", "b started", "b succeeded",
				"z started", "z succeeded"},
		}, {
			name:    "one step, the ones before it looked at",
			options: pipeline.Options{Only: "b"},
			steps: func(d *diary) []pipeline.Step {
				return []pipeline.Step{d.step("look", onlyLooks), d.step("a"), d.step("b"), d.step("c"), d.step("z", always)}
			},
			did:    diary{"do look", "plan a", "do b"},
			events: []string{"look started", "look succeeded", "a started", "a succeeded", "b started", "b succeeded"},
		}, {
			name:    "one step that needs nothing before it",
			options: pipeline.Options{Only: "b"},
			steps: func(d *diary) []pipeline.Step {
				return []pipeline.Step{d.step("a", undone), d.step("b", alone), d.step("c"), d.step("z", always)}
			},
			did:    diary{"do b"},
			events: []string{"b started", "b succeeded"},
		}, {
			name:    "one step that cannot be done yet",
			options: pipeline.Options{Only: "b"},
			steps: func(d *diary) []pipeline.Step {
				return []pipeline.Step{d.step("a", undone), d.step("b"), d.step("z", always)}
			},
			did:    diary{"plan a"},
			events: []string{"a started", "a succeeded"},
			err:    "step b alone cannot be done yet: a is missing (make a)", class: provision.Invalid,
		}, {
			name:    "the last step alone does not call a job failed that is only not done yet",
			options: pipeline.Options{Only: "z"},
			steps:   func(d *diary) []pipeline.Step { return []pipeline.Step{d.step("a", undone), d.step("z", always)} },
			did:     diary{"plan a"},
			events:  []string{"a started", "a succeeded"},
			err:     "step z alone cannot be done yet", class: provision.Invalid,
		}, {
			name:    "one step after another that is refused",
			options: pipeline.Options{Only: "b"},
			steps: func(d *diary) []pipeline.Step {
				return []pipeline.Step{d.step("a", fails(refusal)), d.step("b"), d.step("z", always)}
			},
			did:    diary{"plan a"},
			events: []string{"a started", "a failed"},
			err:    "a: zone: taken", class: provision.Conflict,
		}, {
			name:    "the plan of one step",
			options: pipeline.Options{Plan: true, Only: "b"},
			steps: func(d *diary) []pipeline.Step {
				return []pipeline.Step{d.step("a", undone), d.step("b", undone), d.step("c"), d.step("z", always)}
			},
			did:    diary{"plan a", "plan b"},
			events: []string{"a started", "a succeeded", "b started", "b succeeded"},
		}, {
			name: "all is checked before anything is done",
			steps: func(d *diary) []pipeline.Step {
				return []pipeline.Step{d.step("a"), d.step("b", d.checked(nil)), d.step("z", always, d.checked(nil))}
			},
			did:    diary{"check b", "check z", "do a", "do b", "do z"},
			events: []string{"a started", "a succeeded", "b started", "b succeeded", "z started", "z succeeded"},
		}, {
			name: "nothing is done after a refusal, but what always runs",
			steps: func(d *diary) []pipeline.Step {
				return []pipeline.Step{d.step("a", d.checked(nil)), d.step("b", d.checked(refusal)), d.step("c", d.checked(nil)), d.step("z", always)}
			},
			did:    diary{"check a", "check b", "check c", "do z"},
			events: []string{"b started", "b failed", "z started", "z succeeded"},
			err:    "b: zone: taken", class: provision.Conflict,
		}, {
			name: "all that is wrong is told at once",
			steps: func(d *diary) []pipeline.Step {
				return []pipeline.Step{d.step("a", d.checked(provision.Join(provision.Errorf(provision.Busy, "down"), provision.Errorf(provision.NoCapacity, "full")))),
					d.step("b", d.checked(nil)), d.step("c", d.checked(refusal)), d.step("z", always)}
			},
			did:    diary{"check a", "check b", "check c", "do z"},
			events: []string{"a started", "a failed", "c started", "c failed", "z started", "z succeeded"},
			err:    "3 things are wrong: (1) a: down; (2) a: full; (3) c: zone: taken", class: provision.Conflict,
		}, {
			name:    "a plan is checked",
			options: pipeline.Options{Plan: true},
			steps: func(d *diary) []pipeline.Step {
				return []pipeline.Step{d.step("a"), d.step("b", d.checked(refusal)), d.step("z", always)}
			},
			did:    diary{"check b", "plan z"},
			events: []string{"b started", "b failed", "z started", "z succeeded"},
			err:    "b: zone: taken", class: provision.Conflict,
		}, {
			name:    "one step, the others unchecked",
			options: pipeline.Options{Only: "b"},
			steps: func(d *diary) []pipeline.Step {
				return []pipeline.Step{d.step("a", d.checked(refusal)), d.step("b", d.checked(nil)), d.step("z", always, d.checked(refusal))}
			},
			did:    diary{"check b", "plan a", "do b"},
			events: []string{"a started", "a succeeded", "b started", "b succeeded"},
		}, {
			name:    "one step that is refused",
			options: pipeline.Options{Only: "b"},
			steps: func(d *diary) []pipeline.Step {
				return []pipeline.Step{d.step("a"), d.step("b", d.checked(refusal)), d.step("z", always)}
			},
			did:    diary{"check b"},
			events: []string{"b started", "b failed"},
			err:    "b: zone: taken", class: provision.Conflict,
		}, {
			name:    "a step that there is not",
			options: pipeline.Options{Only: "nope"},
			steps:   func(d *diary) []pipeline.Step { return []pipeline.Step{d.step("a"), d.step("z", always)} },
			err:     `there is no step "nope"`, class: provision.Invalid,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var did diary
			var told trace
			r := newRun(shared())
			err := pipeline.Execute(t.Context(), r, test.options, &told, test.steps(&did)...)
			wantError(t, err, test.class, test.err)
			if !errors.Is(err, r.Err) {
				t.Errorf("the run says %v, Execute %v", r.Err, err)
			}
			if diff := cmp.Diff(test.did, did); diff != "" {
				t.Errorf("did (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(test.events, told.lines()); diff != "" {
				t.Errorf("told (-want +got)\n%s", diff)
			}
		})
	}
}

// A run that failed before it began is only told.
func TestExecuteFailedBefore(t *testing.T) {
	var did diary
	var told trace
	r := newRun(shared())
	r.Err = provision.Errorf(provision.Invalid, "region: missing")
	tell := func(s *pipeline.Step) {
		s.Do = func(_ context.Context, r *pipeline.Run) (string, error) { did.write("tell %v", r.Err); return "", nil }
	}
	err := pipeline.Execute(t.Context(), r, pipeline.Options{}, &told,
		did.step("a", did.checked(nil)), did.step("b", skipped), did.step("z", always, did.checked(nil), tell))
	wantError(t, err, provision.Invalid, "region: missing")
	if diff := cmp.Diff(diary{"tell region: missing"}, did); diff != "" {
		t.Errorf("did (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"z started", "z succeeded"}, told.lines()); diff != "" {
		t.Errorf("told (-want +got)\n%s", diff)
	}
}

func TestExecuteTellsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var did diary
		var told trace
		slow := func(s *pipeline.Step) {
			s.Do = func(context.Context, *pipeline.Run) (string, error) {
				<-time.After(1500 * time.Millisecond)
				return "did it", nil
			}
		}
		start := time.Now().UTC()
		r := newRun(shared())
		err := pipeline.Execute(t.Context(), r, pipeline.Options{}, &told,
			did.step("a", skipped), did.step("b", slow), did.step("c", fails(provision.Errorf(provision.Busy, "locked"))))
		wantError(t, err, provision.Busy)

		end := start.Add(1500 * time.Millisecond)
		event := func(stage string, status provision.Status, text string, at time.Time, ms int64) provision.Event {
			return provision.Event{
				ID: "job-1/4711/1/" + stage + "/" + string(status), TraceID: "trace_1", JobID: "job-1", TenantID: "acme-1",
				Stage: stage, Status: status, Message: text, Attempt: 1, At: at, DurationMS: ms, RunURL: "https://github.example/runs/4711",
			}
		}
		if diff := cmp.Diff(trace{
			event("a", provision.Skipped, "nothing to do", start, 0),
			event("b", provision.Started, "", start, 0),
			event("b", provision.Succeeded, "did it", end, 1500),
			event("c", provision.Started, "", end, 0),
			event("c", provision.Failed, "locked", end, 0),
		}, told); diff != "" {
			t.Errorf("told (-want +got)\n%s", diff)
		}
		if diff := cmp.Diff([]pipeline.Result{
			{Step: "a", Status: provision.Skipped, Detail: "nothing to do"},
			{Step: "b", Status: provision.Succeeded, Detail: "did it", Duration: 1500 * time.Millisecond, Seconds: 1.5},
			{Step: "c", Status: provision.Failed, Detail: "locked"},
		}, r.Results); diff != "" {
			t.Errorf("results (-want +got)\n%s", diff)
		}
	})
}

// The same attempt, run twice, tells the same events; another attempt tells others.
func TestEventIDsOfAttempts(t *testing.T) {
	ids := func(number int) []string {
		var did diary
		var told trace
		r := newRun(shared())
		r.Attempt.Number = number
		if err := pipeline.Execute(t.Context(), r, pipeline.Options{}, &told, did.step("a", skipped), did.step("b"), did.step("z", always)); err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, e := range told {
			list = append(list, e.ID)
		}
		return list
	}
	first := ids(1)
	if diff := cmp.Diff(first, ids(1)); diff != "" {
		t.Errorf("the same attempt (-first +second)\n%s", diff)
	}
	for _, id := range ids(2) {
		if slices.Contains(first, id) {
			t.Errorf("the second attempt tells the first one's event %s", id)
		}
	}
	slices.Sort(first)
	if n := len(slices.Compact(first)); n != 5 {
		t.Errorf("an attempt tells %d different events, want 5", n)
	}
}

func TestExecuteCancelled(t *testing.T) {
	t.Run("before a step", func(t *testing.T) {
		var did diary
		var told trace
		ctx, cancel := context.WithCancel(t.Context())
		stop := func(s *pipeline.Step) {
			s.Do = func(context.Context, *pipeline.Run) (string, error) { cancel(); return "", nil }
		}
		record := func(s *pipeline.Step) {
			s.Do = func(ctx context.Context, r *pipeline.Run) (string, error) {
				if ctx.Err() != nil {
					t.Errorf("what always runs finds its context %v", ctx.Err())
				}
				wantError(t, r.Err, provision.Cancelled, "b: ")
				did.write("record")
				return "", nil
			}
		}
		err := pipeline.Execute(ctx, newRun(shared()), pipeline.Options{}, &told,
			did.step("a", stop), did.step("b"), did.step("c"), did.step("z", always, record))
		wantError(t, err, provision.Cancelled)
		if diff := cmp.Diff(diary{"record"}, did); diff != "" {
			t.Errorf("did (-want +got)\n%s", diff)
		}
		if diff := cmp.Diff([]string{"a started", "a succeeded", "b started", "b failed", "z started", "z succeeded"}, told.lines()); diff != "" {
			t.Errorf("told (-want +got)\n%s", diff)
		}
	})

	t.Run("before the checks", func(t *testing.T) {
		var did diary
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := pipeline.Execute(ctx, newRun(shared()), pipeline.Options{}, new(trace), did.step("a", did.checked(nil)), did.step("z", always))
		wantError(t, err, provision.Cancelled, "a: ")
		if diff := cmp.Diff(diary{"do z"}, did); diff != "" {
			t.Errorf("did (-want +got)\n%s", diff)
		}
	})

	// hang is a step that ends with its context.
	hang := func(s *pipeline.Step) {
		s.Do = func(ctx context.Context, _ *pipeline.Run) (string, error) { <-ctx.Done(); return "", ctx.Err() }
	}
	for _, test := range []struct {
		name  string
		after time.Duration // the cancellation
		want  time.Duration // the end of the run
	}{
		{"before what always runs", 0, 2 * time.Second},
		{"while what always runs is running", 3 * time.Second, 5 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var did diary
				var told trace
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if test.after == 0 {
					cancel()
				}
				time.AfterFunc(test.after, cancel)
				start := time.Now()
				err := pipeline.Execute(ctx, newRun(shared()), pipeline.Options{}, &told, did.step("z", always, hang))
				if took := time.Since(start); took != test.want {
					t.Errorf("the run ended after %s, want %s", took, test.want)
				}
				wantError(t, err, provision.Cancelled)
			})
		})
	}

	t.Run("while the job is being completed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var told trace
			var sent provision.Completion
			complete := pipeline.ProvisionComplete(unknownJob, func(ctx context.Context, c provision.Completion) error {
				cancel()
				synctest.Wait()
				sent = c
				return ctx.Err()
			})
			if err := pipeline.Execute(ctx, newRun(shared()), pipeline.Options{}, &told, complete); err != nil {
				t.Errorf("Execute = %v, want nil: the job was done", err)
			}
			if sent.Status != provision.JobCompleted {
				t.Errorf("the control plane was told %q, want %q", sent.Status, provision.JobCompleted)
			}
		})
	})
}

var sameRecords = cmpopts.SortSlices(func(a, b provision.Record) bool { return a.Type+a.Content < b.Type+b.Content })

// TestExecuteTooLong stops a run for a reason of its own, which is told, and told in time.
func TestExecuteTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := provision.Errorf(provision.Busy, "stopped after 55m, which is timeout_minutes")
		ctx, stop := context.WithTimeoutCause(t.Context(), 55*time.Minute, over)
		defer stop()
		var d diary
		slow := d.step("slow", func(s *pipeline.Step) {
			s.Do = func(ctx context.Context, _ *pipeline.Run) (string, error) {
				<-ctx.Done()
				return "", fmt.Errorf("server 7: %w", ctx.Err())
			}
		})
		var told error
		report := d.step("report", always, func(s *pipeline.Step) {
			s.Do = func(ctx context.Context, r *pipeline.Run) (string, error) { told = r.Err; return "", ctx.Err() }
		})
		start := time.Now()
		r := &pipeline.Run{}
		err := pipeline.Execute(ctx, r, pipeline.Options{}, &trace{}, slow, d.step("next"), report)
		if provision.ClassOf(err) != provision.Busy || !strings.Contains(err.Error(), "slow: stopped after 55m, which is timeout_minutes: server 7:") {
			t.Errorf("Execute() = %v, class %s; want it busy, and why", err, provision.ClassOf(err))
		}
		if told != err || len(d) != 0 || time.Since(start) != 55*time.Minute {
			t.Errorf("told %v after %v, done %v; want the same error at once, and nothing after it", told, time.Since(start), d)
		}
	})
}

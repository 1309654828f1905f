package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/provision"
)

var noon = time.Date(2026, 3, 14, 12, 0, 0, 535897932, time.UTC)

func keptJob(id string, due time.Time) dispatch.Kept {
	return dispatch.Kept{Message: provision.Message{JobID: id, TenantID: "t'1", Region: "sg", TraceID: "trace_1"}, Due: due}
}

func claim(t *testing.T, l Ledger, now, until time.Time, want string) {
	t.Helper()
	k, ok, err := l.Claim(t.Context(), now, until)
	if err != nil || ok != (want != "") || ok && (k.Message.JobID != want || !k.Due.Equal(until)) {
		t.Fatalf("Claim = %+v, %t, %v; want %q", k, ok, err, want)
	}
}

func keeps(t *testing.T, a, b Ledger) {
	first := keptJob("job ' 1", noon)
	other := keptJob("job ' 1", noon.Add(time.Hour))
	other.Message.TenantID = "other"
	for _, k := range []dispatch.Kept{first, other} {
		got, err := a.Keep(t.Context(), k)
		if diff := cmp.Diff(first, got); err != nil || diff != "" {
			t.Fatalf("Keep: %v (-want +got):\n%s", err, diff)
		}
	}
	got, ok, err := b.Find(t.Context(), "job ' 1")
	if diff := cmp.Diff(first, got); err != nil || !ok || diff != "" {
		t.Fatalf("Find: %t, %v (-want +got):\n%s", ok, err, diff)
	}
	if err := b.Drop(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := a.Find(t.Context(), "job ' 1"); err != nil || ok {
		t.Fatalf("a dropped job is there: %v", err)
	}
	none := keptJob("none", noon)
	for _, err := range []error{a.Drop(t.Context(), none), a.Postpone(t.Context(), none, noon)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n, err := a.Waiting(t.Context()); err != nil || n != 0 {
		t.Fatalf("%d are kept, %v", n, err)
	}
}

func due(t *testing.T, a, b Ledger) {
	for i, id := range []string{"c", "a", "b"} {
		if _, err := a.Keep(t.Context(), keptJob(id, noon.Add(time.Duration(i)*time.Second))); err != nil {
			t.Fatal(err)
		}
	}
	claim(t, b, noon.Add(-1), noon.Add(time.Hour), "")
	claim(t, b, noon.Add(2*time.Second), noon.Add(time.Hour), "c")
	claim(t, a, noon.Add(2*time.Second), noon.Add(time.Minute), "a")
	if err := a.Postpone(t.Context(), keptJob("a", noon), noon.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	claim(t, b, noon.Add(2*time.Second), noon.Add(2*time.Minute), "a")
	claim(t, a, noon.Add(2*time.Second), noon.Add(3*time.Minute), "b")
	claim(t, a, noon.Add(2*time.Second), noon.Add(3*time.Minute), "")
	claim(t, a, noon.Add(time.Hour), noon.Add(2*time.Hour), "a")
	if n, err := b.Waiting(t.Context()); err != nil || n != 3 {
		t.Fatalf("%d are kept, %v", n, err)
	}
}

// attempts has a later attempt of a job replace the one before it, which then is nobody's to
// postpone or drop.
func attempts(t *testing.T, a, b Ledger) {
	attempt := func(n string, due time.Time) dispatch.Kept {
		return dispatch.Kept{Due: due, Message: provision.Message{JobID: "job-1", TenantID: "t-1", Region: "sg", CreateNewServer: "true",
			SubdomainSlug: "t-1", CanonicalHostname: "t-1.pregoi.com", Dedicated: "false", Attempt: n}}
	}
	other := attempt("9", noon)
	other.Message.TenantID = "other"
	first, second := attempt("", noon), attempt("2", noon.Add(time.Second))
	for i, step := range []struct{ keep, want dispatch.Kept }{
		{first, first}, {second, second}, {first, second}, {second, second}, {other, second}, {attempt("10", noon), attempt("10", noon)},
	} {
		got, err := a.Keep(t.Context(), step.keep)
		if diff := cmp.Diff(step.want, got); err != nil || diff != "" {
			t.Fatalf("Keep %d: %v (-want +got):\n%s", i, err, diff)
		}
		if err := errors.Join(a.Drop(t.Context(), attempt("7", noon)), b.Postpone(t.Context(), attempt("7", noon), noon.Add(time.Hour))); err != nil {
			t.Fatal(err)
		}
		found, ok, err := b.Find(t.Context(), "job-1")
		if diff := cmp.Diff(step.want, found); err != nil || !ok || diff != "" {
			t.Fatalf("Find %d: %t, %v (-want +got):\n%s", i, ok, err, diff)
		}
	}
}

// claims has each job claimed once, by many at once.
func claims(t *testing.T, a, b Ledger) {
	for i := range 30 {
		if _, err := a.Keep(t.Context(), keptJob(fmt.Sprint(i), noon)); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	got := map[string]int{}
	var wg sync.WaitGroup
	for i := range 8 {
		l := a
		if i%2 == 1 {
			l = b
		}
		wg.Go(func() {
			for none := 0; none < 3; { // others may have one locked
				k, ok, err := l.Claim(t.Context(), noon, noon.Add(time.Hour))
				if err != nil {
					t.Error(err)
					return
				}
				if !ok {
					none++
					continue
				}
				mu.Lock()
				got[k.Message.JobID]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for id, n := range got {
		if n != 1 {
			t.Errorf("job %s was claimed %d times", id, n)
		}
	}
	if len(got) != 30 {
		t.Errorf("%d of 30 jobs were claimed", len(got))
	}
}

// A memoryInbox is the inbox of a [Memory].
type memoryInbox struct {
	mu   sync.Mutex
	jobs []dispatch.Kept
}

func (m *memoryInbox) at(id string) int {
	return slices.IndexFunc(m.jobs, func(k dispatch.Kept) bool { return k.Message.JobID == id })
}

// same returns where that attempt of a job is, and less than 0 where it is not.
func (m *memoryInbox) same(k dispatch.Kept) int {
	i := m.at(k.Message.JobID)
	if i >= 0 && m.jobs[i].Message.Attempt != k.Message.Attempt {
		return -1
	}
	return i
}

// Keep implements [dispatch.Inbox].
func (m *memoryInbox) Keep(ctx context.Context, k dispatch.Kept) (dispatch.Kept, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.at(k.Message.JobID); i >= 0 {
		if ctx.Err() == nil && k.Supersedes(m.jobs[i]) {
			m.jobs[i] = k
		}
		return m.jobs[i], ctx.Err()
	}
	if ctx.Err() == nil {
		m.jobs = append(m.jobs, k)
	}
	return k, ctx.Err()
}

// Claim implements [dispatch.Inbox].
func (m *memoryInbox) Claim(ctx context.Context, now, until time.Time) (dispatch.Kept, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := -1
	for i, k := range m.jobs {
		if !k.Due.After(now) && (first < 0 || k.Due.Before(m.jobs[first].Due)) {
			first = i
		}
	}
	if first < 0 || ctx.Err() != nil {
		return dispatch.Kept{}, false, ctx.Err()
	}
	m.jobs[first].Due = until
	return m.jobs[first], true, nil
}

// Find implements [dispatch.Inbox].
func (m *memoryInbox) Find(ctx context.Context, jobID string) (dispatch.Kept, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.at(jobID); i >= 0 {
		return m.jobs[i], true, ctx.Err()
	}
	return dispatch.Kept{}, false, ctx.Err()
}

// Postpone implements [dispatch.Inbox].
func (m *memoryInbox) Postpone(ctx context.Context, k dispatch.Kept, due time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.same(k); i >= 0 && ctx.Err() == nil {
		m.jobs[i].Due = due
	}
	return ctx.Err()
}

// Drop implements [dispatch.Inbox].
func (m *memoryInbox) Drop(ctx context.Context, k dispatch.Kept) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.same(k); i >= 0 && ctx.Err() == nil {
		m.jobs = slices.Delete(m.jobs, i, i+1)
	}
	return ctx.Err()
}

// Waiting implements [dispatch.Inbox].
func (m *memoryInbox) Waiting(ctx context.Context) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.jobs), ctx.Err()
}

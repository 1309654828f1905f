// Package ledgertest is what every ledger must do, as tests, and a ledger in memory for tests
// of what uses one. An implementation's own test calls [Run]; a new promise of the
// interfaces is a new function here, in the list.
package ledgertest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Ledger is all that a ledger does.
type Ledger interface {
	dispatch.Ledger
	dispatch.Slots
	dispatch.Refusals
	dispatch.Inbox
}

// Run holds the ledgers that open makes to the interfaces. Each call of open returns two
// ledgers over one new, empty state, as two processes have it.
func Run(t *testing.T, open func(t *testing.T) (a, b Ledger)) {
	tests := []struct {
		name string
		test func(t *testing.T, a, b Ledger)
	}{
		{"a job without a record", empty},
		{"what is saved is loaded", everything},
		{"a version is saved once", versions},
		{"jobs are apart", apart},
		{"of many at once one comes first", race},
		{"after the end of the context nothing is saved", cancelled},
		{"no tally", noTally},
		{"a tally that is saved is loaded", tally},
		{"the time is the same for all", clock},
		{"of many slots at once each is taken once", slots},
		{"a refusal is kept once", refusals},
		{"of many refusals the newest come first", newest},
		{"a refusal is bounded", bounded},
		{"a job is kept once", keeps},
		{"a later attempt of a job takes its place", attempts},
		{"what is due is claimed", due},
		{"of many at once each claims another", claims},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, b := open(t)
			test.test(t, a, b)
		})
	}
}

func load(t *testing.T, l dispatch.Ledger, id string) dispatch.Record {
	t.Helper()
	r, err := l.Load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// save saves r and wants ok.
func save(t *testing.T, l dispatch.Ledger, r dispatch.Record, ok bool) {
	t.Helper()
	if got, err := l.Save(t.Context(), r); err != nil || got != ok {
		t.Fatalf("Save of version %d of %s = %t, %v; want %t", r.Version, r.JobID, got, err, ok)
	}
}

func equal(t *testing.T, got, want dispatch.Record) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("record (-want +got):\n%s", diff)
	}
}

func empty(t *testing.T, a, _ Ledger) {
	equal(t, load(t, a, "job"), dispatch.Record{})
	save(t, a, dispatch.Record{JobID: "job", Version: 1}, false)
	equal(t, load(t, a, "job"), dispatch.Record{})
}

func everything(t *testing.T, a, b Ledger) {
	at := time.Date(2026, 3, 14, 15, 9, 26, 535897932, time.UTC)
	for i, r := range []dispatch.Record{
		{State: dispatch.Waiting},
		{Hash: "h", State: dispatch.Sending, Until: at, Sends: 7, FirstAt: at.Add(1), SentAt: at.Add(2), Looks: 3, LookAt: at.Add(4),
			Attempt: 3, After: 1<<62 + 1},
		{State: dispatch.Done, Run: dispatch.Run{ID: 1<<62 + 1, URL: "https://api/1", HTMLURL: "https://html/1"}},
		{State: dispatch.Declined, Reason: "it's “no”;\n--\\ 100% " + strings.Repeat("é", 5000), Class: provision.Denied, Next: "' OR 1=1"},
	} {
		r.JobID = fmt.Sprintf("job ' %d", i)
		save(t, a, r, true)
		r.Version = 1
		equal(t, load(t, b, r.JobID), r)

		other := dispatch.Record{JobID: r.JobID, Version: 1, State: dispatch.Lost, Hash: "other"}
		save(t, b, other, true)
		other.Version = 2
		equal(t, load(t, a, r.JobID), other)
	}
}

func versions(t *testing.T, a, b Ledger) {
	r := dispatch.Record{JobID: "job", State: dispatch.Waiting}
	save(t, a, r, true)
	save(t, b, r, false)
	save(t, a, r, false)
	for _, r.Version = range []int64{-1, 2, 7} {
		save(t, b, r, false)
	}
	r.Version, r.State = 1, dispatch.Sending
	save(t, b, r, true)
	r.State = dispatch.Lost
	save(t, a, r, false)
	equal(t, load(t, a, "job"), dispatch.Record{JobID: "job", Version: 2, State: dispatch.Sending})
}

func apart(t *testing.T, a, b Ledger) {
	for _, id := range []string{"job", "Job", "job ", "jo"} {
		save(t, a, dispatch.Record{JobID: id, Hash: id}, true)
	}
	for _, id := range []string{"job", "Job", "job ", "jo"} {
		equal(t, load(t, b, id), dispatch.Record{JobID: id, Hash: id, Version: 1})
	}
}

func race(t *testing.T, a, b Ledger) {
	for version := range int64(3) {
		var wins sync.Map
		var wg sync.WaitGroup
		for i := range 16 {
			l := a
			if i%2 == 1 {
				l = b
			}
			wg.Go(func() {
				hash := fmt.Sprint(i)
				ok, err := l.Save(t.Context(), dispatch.Record{JobID: "job", Version: version, Hash: hash})
				if err != nil {
					t.Error(err)
				}
				if ok {
					wins.Store(hash, true)
				}
			})
		}
		wg.Wait()
		n := 0
		wins.Range(func(any, any) bool { n++; return true })
		r := load(t, a, "job")
		if _, ok := wins.Load(r.Hash); n != 1 || !ok || r.Version != version+1 {
			t.Fatalf("%d have saved version %d, and the record is %+v", n, version+1, r)
		}
	}
}

func cancelled(t *testing.T, a, b Ledger) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if ok, err := a.Save(ctx, dispatch.Record{JobID: "job"}); err == nil || ok {
		t.Errorf("Save = %t, %v", ok, err)
	}
	if _, err := a.Load(ctx, "job"); provision.ClassOf(err) != provision.Cancelled {
		t.Errorf("Load: %v", err)
	}
	equal(t, load(t, b, "job"), dispatch.Record{})
	save(t, a, dispatch.Record{JobID: "job"}, true)
}

package ledgertest

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pregoi/provision-tenant/internal/dispatch"
)

func loadTally(t *testing.T, l Ledger) dispatch.Tally {
	t.Helper()
	tally, err := l.LoadTally(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tally
}

// saveTally saves and wants ok.
func saveTally(t *testing.T, l Ledger, tally dispatch.Tally, ok bool) {
	t.Helper()
	if got, err := l.SaveTally(t.Context(), tally); err != nil || got != ok {
		t.Fatalf("SaveTally of version %d = %t, %v; want %t", tally.Version, got, err, ok)
	}
}

func equalTally(t *testing.T, got, want dispatch.Tally) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(want, "Now"), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("tally (-want +got):\n%s", diff)
	}
}

func noTally(t *testing.T, a, _ Ledger) {
	equalTally(t, loadTally(t, a), dispatch.Tally{})
	saveTally(t, a, dispatch.Tally{Version: 1}, false)
	equalTally(t, loadTally(t, a), dispatch.Tally{})
}

func tally(t *testing.T, a, b Ledger) {
	at := time.Date(2026, 3, 14, 15, 9, 26, 535897000, time.UTC)
	many := make([]time.Time, 600)
	for i := range many {
		many[i] = at.Add(time.Duration(i) * 1003 * time.Millisecond)
	}
	for i, want := range []dispatch.Tally{
		{Quiet: at, Strikes: 3, Last: at.Add(time.Minute), Writes: []time.Time{at.Add(1), at.Add(time.Hour)}},
		{Writes: many},
		{Quiet: at.Add(time.Hour)},
	} {
		want.Version = int64(i)
		saveTally(t, a, want, true)
		saveTally(t, b, want, false)
		want.Version++
		equalTally(t, loadTally(t, b), want)
	}
}

// Now is near to ours, and does not go back from one process to the next.
func clock(t *testing.T, a, b Ledger) {
	last := time.Time{}
	for i, l := range []Ledger{a, b, a, b} {
		if i == 2 {
			saveTally(t, a, dispatch.Tally{}, true) // with and without anything stored
		}
		now := loadTally(t, l).Now
		if now.Before(last.Truncate(time.Microsecond)) || time.Since(now).Abs() > time.Minute {
			t.Errorf("it is %s, and was %s", now, last)
		}
		last = now
	}
}

func slots(t *testing.T, a, b Ledger) {
	var wg sync.WaitGroup
	const n = 16
	for i := range n {
		l := a
		if i%2 == 1 {
			l = b
		}
		wg.Go(func() {
			for ok := false; !ok; {
				tally, err := l.LoadTally(t.Context())
				if err == nil {
					tally.Writes = append(tally.Writes, time.Unix(int64(i), 0).UTC())
					ok, err = l.SaveTally(t.Context(), tally)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	got := loadTally(t, a)
	seen := map[time.Time]bool{}
	for _, w := range got.Writes {
		seen[w] = true
	}
	if got.Version != n || len(got.Writes) != n || len(seen) != n {
		t.Errorf("version %d with %d writes, %d of them different", got.Version, len(got.Writes), len(seen))
	}
}

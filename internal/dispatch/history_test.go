package dispatch_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/pregoi/provision-tenant/internal/dispatch"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// histories is how many TestHistories draws, unless -rapid.checks says otherwise.
const histories = "10000"

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		if err := flag.Set("rapid.checks", histories); err != nil {
			panic("unreachable: rapid has this flag: " + err.Error())
		}
	}
	os.Exit(m.Run())
}

// drawn returns any history. Most of its parts are short: what goes wrong, goes wrong in
// small ones.
func drawn(t *rapid.T) history {
	messages := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) message {
		return message{
			At:      rapid.SampledFrom([]time.Duration{0, 0, time.Millisecond, 10 * time.Second, time.Minute, 4 * time.Minute}).Draw(t, "at"),
			Process: rapid.IntRange(0, 2).Draw(t, "process"),
			Job:     rapid.SampledFrom([]int{0, 0, 1}).Draw(t, "job"),
			Body:    rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "body"),
			Twice:   rapid.Bool().Draw(t, "twice"),
		}
	}), 1, 5)
	answers := func(of ...answer) *rapid.Generator[[]answer] { return rapid.SliceOfN(rapid.SampledFrom(of), 0, 5) }
	troubles := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) trouble {
		return trouble{
			Process: rapid.IntRange(0, 2).Draw(t, "process"),
			Step:    rapid.IntRange(0, 45).Draw(t, "step"),
			Kind:    rapid.SampledFrom([]string{"crash", "stall", "fail"}).Draw(t, "kind"),
		}
	}), 0, 4)
	h := history{
		Messages: messages.Draw(t, "messages"),
		Starts:   answers(good, unnamed, unlisted, refuse, limitTold, limitOnly, offline, before, after, slow).Draw(t, "starts"),
		Looks:    answers(good, refuse, limitTold, limitOnly, offline, before, slow).Draw(t, "looks"),
		Troubles: troubles.Draw(t, "troubles"),
		Lag:      rapid.SampledFrom([]time.Duration{0, 5 * time.Second, 40 * time.Second}).Draw(t, "lag"),
		Slow:     rapid.SampledFrom([]time.Duration{0, 0, 2 * time.Millisecond, 30 * time.Millisecond, 400 * time.Millisecond}).Draw(t, "slow"),
		Few:      rapid.Bool().Draw(t, "few"),
		Older:    rapid.SampledFrom([]bool{false, false, true}).Draw(t, "older"),
	}
	// Nobody can know of a run that is in no list and whose answer nobody lived to record.
	for i, a := range h.Starts {
		if a == unlisted && len(h.Troubles) > 0 {
			h.Starts[i] = unnamed
		}
	}
	return h
}

// Whatever happens, a job has one run, or has been refused; nothing is asked for in vain,
// nothing at a time when GitHub wants quiet, and nothing sooner than its limits allow, by
// all processes together.
func TestHistories(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := drawn(rt)
		if problems := play(t, h, whole); len(problems) > 0 {
			rt.Fatalf("%s\n%s", strings.Join(problems, "\n"), h)
		}
	})
}

// The test above bites: without a ledger the same histories end in two runs, and without
// shared slots in requests that come too soon.
func TestHistoriesNaive(t *testing.T) {
	gen := rapid.Custom(drawn)
	const n = 500
	for _, test := range []struct {
		twin    twin
		problem string
	}{
		{noLedger, "runs"},
		{noSlots, "GitHub is asked for"},
		{noSlots, "too early"},
	} {
		bad := 0
		for seed := range n {
			if slices.ContainsFunc(play(t, gen.Example(seed), test.twin), func(p string) bool { return strings.Contains(p, test.problem) }) {
				bad++
			}
		}
		if bad < n/50 {
			t.Errorf("with %s, %d of %d histories fail by %q", test.twin, bad, n, test.problem)
		}
		t.Logf("with %s, %d of %d histories fail by %q", test.twin, bad, n, test.problem)
	}
}

func (h history) String() string {
	b, err := json.MarshalIndent(h, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// play lets a history take place, in virtual time, and returns what is wrong with it.
func play(t *testing.T, h history, twin twin) []string {
	w := &world{history: h, twin: twin, troubled: len(h.Troubles), processes: map[int]*process{}, steps: map[int]int{},
		runs: map[string][]time.Time{}, refused: map[string]bool{}}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		first := w.deliverAll(ctx, h.Messages)
		if w.check(ctx, first); twin != whole || len(w.problems) > 0 {
			return
		}
		time.Sleep(72 * time.Hour)
		starts, looks := w.starts, w.looks
		w.Troubles = nil
		again := w.deliverAll(ctx, h.Messages)
		w.check(ctx, append(first, again...))
		if w.starts != starts || w.looks != looks {
			w.problem("days later there are %d more requests for a run and %d for the list", w.starts-starts, w.looks-looks)
		}
	})
	return w.problems
}

// An ending is how a message was acknowledged.
type ending struct {
	message
	run dispatch.Run
	err error
}

// deliverAll delivers messages until all are acknowledged.
func (w *world) deliverAll(ctx context.Context, list []message) []ending {
	var ends []ending
	var wg sync.WaitGroup
	deliver := func(m message) {
		wg.Go(func() {
			time.Sleep(m.At)
			e := w.deliver(ctx, m)
			w.mu.Lock()
			defer w.mu.Unlock()
			ends = append(ends, e)
		})
	}
	for _, m := range list {
		deliver(m)
		if m.Twice {
			m.Process = (m.Process + m.Job) % 3 // in the same process for one job, in another for the other
			deliver(m)
		}
	}
	wg.Wait()
	return ends
}

func (m message) job() provision.Job {
	return provision.Job{ID: fmt.Sprint("job-", m.Job), TenantID: fmt.Sprint("tenant-", m.Body)}
}

// deliver is the queue: what was not done is delivered again.
func (w *world) deliver(ctx context.Context, m message) ending {
	for range 60 {
		p := w.process(ctx, m.Process)
		w.mu.Lock()
		w.attempts++
		w.mu.Unlock()
		run, err := p.d.Dispatch(p.ctx, m.job())
		if p.ctx.Err() == nil && !provision.Retryable(err) {
			return ending{m, run, err}
		}
		at := time.Now().Add(20 * time.Second)
		if l, ok := later(err); ok && l.At.After(at) {
			at = l.At
		}
		time.Sleep(time.Until(at))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problem("%+v is never done", m)
	return ending{message: m, err: errDead}
}

// check holds the world to what was promised.
func (w *world) check(ctx context.Context, ends []ending) {
	tally, _ := w.ledger.LoadTally(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	bodies, ids := map[string]int{}, map[string]int64{}
	for _, e := range ends {
		id := e.job().ID
		if provision.ClassOf(e.err) == provision.Conflict {
			continue
		}
		if body, ok := bodies[id]; ok && body != e.Body {
			w.problem("%s was taken with two contents", id)
		}
		bodies[id] = e.Body
		switch n := len(w.runs[id]); {
		case e.err != nil && (n > 0 || !w.refused[id]):
			w.problem("%s is said to be refused, and has %d runs: %v", id, n, e.err)
		case e.err == nil && n == 0:
			w.problem("%s is lost", id)
		case e.err == nil && e.run.ID != 0 && ids[id] != 0 && ids[id] != e.run.ID, e.run.URL != "" && e.run.URL != id:
			w.problem("%s has the run %d, and %d of %s", id, ids[id], e.run.ID, e.run.URL)
		}
		ids[id] = max(ids[id], e.run.ID)
	}
	for _, e := range ends {
		id := e.job().ID
		body, ok := bodies[id]
		if conflict := provision.ClassOf(e.err) == provision.Conflict; !ok || conflict != (e.Body != body) {
			w.problem("%s: %v for one of two contents", id, e.err)
		}
	}
	// Whoever fails with a slot wastes that slot, and no other.
	if n := len(tally.Writes); w.twin == whole && n > w.starts+w.troubled {
		w.problem("%d slots were taken, for %d requests", n, w.starts)
	}
	// Two jobs; each fault may make one more intent, each intent a window of looks, and
	// each fault then may spoil one. Each life of a process may ask what is not understood.
	most := 2 + 5 + 4
	if w.Older {
		most += 3 + w.troubled
	}
	if w.starts > most || w.looks > 10*(w.starts+w.troubled)+5+w.troubled {
		w.problem("%d requests for a run and %d for the list, in %d deliveries", w.starts, w.looks, w.attempts)
	}
}

package placement

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// The list holds what a sorted slice holds, while it grows over many parts and shrinks again.
func TestOrdered(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var want []*entry
	o := ordered{compare: byTime}
	most := 0
	for step := range 40_000 {
		grow := step < 20_000
		if e := (&entry{at: rnd.Int64N(1 << 40)}); len(want) == 0 || rnd.IntN(3) > 0 == grow {
			i, _ := slices.BinarySearchFunc(want, e, byTime)
			want = slices.Insert(want, i, e)
			o.insert(e)
		} else {
			i := rnd.IntN(len(want))
			o.remove(want[i])
			want = slices.Delete(want, i, i+1)
		}
		most = max(most, len(o.parts))
		if step%1000 == 0 || step == 39_999 {
			sameEntries(t, &o, want)
			probe := &entry{at: rnd.Int64N(1 << 40)}
			i, _ := slices.BinarySearchFunc(want, probe, byTime)
			if got := slices.Collect(o.from(probe)); !slices.Equal(got, want[i:]) {
				t.Fatalf("from %d: %d entries, want %d", probe.at, len(got), len(want)-i)
			}
		}
	}
	if full := len(want)/(partLen/4) + 2; most < 10 || len(o.parts) > full {
		t.Errorf("%d entries in %d parts, at most %d: want more than 10 then, and at most %d now", len(want), len(o.parts), most, full)
	}
}

func sameEntries(t *testing.T, o *ordered, want []*entry) {
	t.Helper()
	if got := slices.Collect(o.all); !slices.Equal(got, want) {
		t.Fatalf("%d entries that are not the %d that are wanted", len(got), len(want))
	}
	for _, p := range o.parts {
		if len(p) == 0 || len(p) > partLen {
			t.Fatalf("a part has %d entries", len(p))
		}
	}
}

// What comes in order, as metrics do, leaves no part behind.
func TestOrderedInSequence(t *testing.T) {
	o := ordered{compare: byTime}
	var queue []*entry
	for i := range int64(10_000) {
		e := &entry{at: i}
		o.insert(e)
		if queue = append(queue, e); len(queue) > 1000 {
			o.remove(queue[0])
			queue = queue[1:]
		}
	}
	sameEntries(t, &o, queue)
	if len(o.parts) > 20 {
		t.Errorf("%d entries in %d parts", len(queue), len(o.parts))
	}
}

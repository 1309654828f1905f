package placement

import (
	"cmp"
	"math"
	"strings"
)

func byTime(a, b *entry) int {
	if a.at != b.at {
		return cmp.Compare(a.at, b.at)
	}
	return strings.Compare(a.node.ID, b.node.ID)
}

// advance makes fresh in the index what is fresh at now. Metrics are fresh from now-age to
// now+age: only what either end moves over can have changed.
func (x *Index) advance(now int64) {
	was, age := x.now, int64(x.thresholds.MetricsMaxAge)
	x.now = now
	if age >= 0 {
		x.judge(was-age, now-age)
		x.judge(after(was, age), after(now, age))
	}
}

// after is the nanosecond after now+age, or the last there is.
func after(now, age int64) int64 {
	if age >= math.MaxInt64-now {
		return math.MaxInt64
	}
	return now + age + 1
}

// judge judges anew what was measured between a and b, whichever is earlier; the later one
// does not belong to it.
func (x *Index) judge(a, b int64) {
	if a == b {
		return
	}
	x.probe.at = min(a, b)
	for e := range x.byTime.from(x.probe) {
		if e.at >= max(a, b) {
			return
		}
		x.take(e)
		x.give(e)
	}
}

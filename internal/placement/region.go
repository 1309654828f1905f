package placement

import (
	"cmp"
	"strings"
)

// A region is what the index knows of one: nodes, and sums over them.
type region struct {
	ranked  ordered // the order of [Decision.Candidates]
	cluster Cluster
	sum     digest

	// top are the first candidates as they were last asked for, up to last. It is dropped
	// when one of them changes or another comes before last; it is never written to.
	top  []Candidate
	last *entry
}

// An entry is a node, and what was made of it. What it is compared by comes first. take and
// give surround every change.
type entry struct {
	memory float64 // of no meaning when unknown, which no eligible one is
	at     int64   // when it was measured
	timed  bool    // whether it was
	fresh  bool
	node   Node
	home   *region   // the node's
	raw    float64   // where the node's MemoryPct points: memory of our own
	judged Candidate // without a rank
	digest digest
}

func newRegion() *region { return &region{ranked: ordered{compare: byRank}} }

// byRank is the order of candidates.
func byRank(a, b *entry) int {
	eligible := a.judged.Eligible
	switch {
	case eligible != b.judged.Eligible && eligible:
		return -1
	case eligible != b.judged.Eligible:
		return 1
	case eligible && a.memory != b.memory:
		return cmp.Compare(a.memory, b.memory)
	case eligible && a.node.Tenants != b.node.Tenants:
		return cmp.Compare(a.node.Tenants, b.node.Tenants)
	}
	return strings.Compare(a.node.ID, b.node.ID)
}

// take takes e out of its region, so that it may change.
func (x *Index) take(e *entry) {
	r := e.home
	r.touch(e)
	r.ranked.remove(e)
	r.cluster = r.cluster.minus(e.node, e.judged.Eligible, x.thresholds)
	r.sum = r.sum.minus(e.digest)
}

// give judges e, and puts it into its region.
func (x *Index) give(e *entry) {
	r := e.home
	e.fresh = fresh(e.node, x.thresholds, x.now)
	e.judged = candidate(e.node, x.thresholds, x.now)
	e.digest = digestOf(e.node, e.fresh)
	r.touch(e)
	r.ranked.insert(e)
	r.cluster = r.cluster.plus(e.node, e.judged.Eligible, x.thresholds)
	r.sum = r.sum.plus(e.digest)
}

// touch drops the top if e is of it, or comes to be.
func (r *region) touch(e *entry) {
	if r.last != nil && byRank(e, r.last) <= 0 {
		r.top, r.last = nil, nil
	}
}

// candidates returns the first ones; all if limit is not above 0.
func (x *Index) candidates(r *region, limit int) []Candidate {
	n := r.cluster.Nodes
	if limit > 0 {
		n = min(n, limit)
	}
	if n == 0 {
		return nil
	}
	if len(r.top) >= n {
		return r.top[:n:n]
	}
	list := make([]Candidate, n)
	memory := make([]float64, n) // what an entry holds will change
	i, lasting := 0, n <= DefaultCandidates
	for e := range r.ranked.all {
		c := &list[i]
		switch *c = e.judged; {
		case c.Eligible:
			c.Rank = i + 1
		case e.timed && !e.fresh: // its age is among the reasons
			c.Reasons = reasons(e.node, x.thresholds, x.now)
			lasting = false
		}
		if c.MemoryPct != nil {
			memory[i] = e.memory
			c.MemoryPct = &memory[i]
		}
		if i++; i == n {
			if lasting {
				r.top, r.last = list, e
			}
			break
		}
	}
	return list
}

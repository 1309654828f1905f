package placement

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// An Index decides as [Decide] does, without looking at every node: it keeps the nodes of
// each region in the order of its candidates, with their sums, and all nodes in the order
// of their metrics' time, so that those which turn stale are found as time goes by.
//
// A change and a decision cost a few comparisons and hashes, however many nodes there are.
// It is not safe for concurrent use; a decision changes it, too.
type Index struct {
	thresholds Thresholds
	now        int64 // of the last decision: what is fresh in the index is fresh then
	nodes      map[string]*entry
	regions    map[Region]*region
	byTime     ordered // the entries that were measured
	probe      *entry  // to search byTime with
}

// NewIndex returns an index without nodes.
func NewIndex(t Thresholds) *Index {
	x := &Index{
		thresholds: t,
		nodes:      map[string]*entry{},
		regions:    map[Region]*region{},
		byTime:     ordered{compare: byTime},
		probe:      &entry{},
	}
	for _, r := range Regions() {
		x.regions[r] = newRegion()
	}
	return x
}

// Len returns how many nodes there are.
func (x *Index) Len() int { return len(x.nodes) }

// Node returns the node as it was put, with the tenants that were added since.
func (x *Index) Node(id string) (Node, bool) {
	e, ok := x.nodes[id]
	if !ok {
		return Node{}, false
	}
	return e.node.clone(), true
}

// Nodes returns every node, by id. It takes as long as there are nodes.
func (x *Index) Nodes() []Node {
	list := make([]Node, 0, len(x.nodes))
	for e := range maps.Values(x.nodes) {
		list = append(list, e.node.clone())
	}
	slices.SortFunc(list, func(a, b Node) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// Snapshot returns the world as the index has it, for [WhatIf.Decide].
func (x *Index) Snapshot(now time.Time) Snapshot {
	return Snapshot{Nodes: x.Nodes(), Thresholds: x.thresholds, Now: now}
}

// clone returns n with memory of its own.
func (n Node) clone() Node {
	if n.MemoryPct != nil {
		n.MemoryPct = new(*n.MemoryPct)
	}
	return n
}

// Put inserts n, or replaces the node that has its ID.
func (x *Index) Put(n Node) {
	e, ok := x.nodes[n.ID]
	if ok {
		x.leave(e)
	} else {
		e = &entry{}
		x.nodes[n.ID] = e
	}
	e.node = n
	if n.MemoryPct != nil {
		e.raw = *n.MemoryPct
		e.node.MemoryPct = &e.raw
	}
	if m := percentage(n.MemoryPct); m != nil {
		e.memory = *m
	}
	if e.at, e.timed = measured(n.MetricsAt); e.timed {
		x.byTime.insert(e)
	}
	if e.home = x.regions[n.Region]; e.home == nil {
		e.home = newRegion()
		x.regions[n.Region] = e.home
	}
	x.give(e)
}

// Remove takes the node out; an unknown id is no change.
func (x *Index) Remove(id string) {
	if e, ok := x.nodes[id]; ok {
		x.leave(e)
		delete(x.nodes, id)
	}
}

// leave takes e out of every list, and out of the index a region that was made for it.
func (x *Index) leave(e *entry) {
	x.take(e)
	if e.timed {
		x.byTime.remove(e)
	}
	if e.home.cluster.Nodes == 0 && !e.node.Region.Valid() {
		delete(x.regions, e.node.Region)
	}
}

// AddTenants counts delta more tenants on the node, or fewer; an unknown id is no change.
func (x *Index) AddTenants(id string, delta int) {
	if e, ok := x.nodes[id]; ok && delta != 0 {
		x.take(e)
		e.node.Tenants = addTenants(e.node.Tenants, delta)
		x.give(e)
	}
}

// addTenants stops where an int does.
func addTenants(n, delta int) int {
	switch {
	case delta > 0 && n > math.MaxInt-delta:
		return math.MaxInt
	case delta < 0 && n < math.MinInt-delta:
		return math.MinInt
	}
	return n + delta
}

// Decide is [Decide] of the nodes in the index, with at most limit candidates; 0 is all.
// A decision at an earlier time than the last is right, too. Candidates can be those of
// another decision as well: they are to be read, and not to be written to.
func (x *Index) Decide(r Request, now time.Time, limit int) Decision {
	x.advance(instant(now))
	d := question(r, x.thresholds, x.now)
	d.Clusters = make(map[Region]Cluster, len(x.regions))
	for name, region := range x.regions {
		d.Clusters[name] = region.cluster
	}
	region := x.regions[d.Region]
	if region == nil {
		return d.conclude(digest{})
	}
	d.Cluster, d.Total = region.cluster, region.cluster.Nodes
	d.Candidates = x.candidates(region, limit)
	return d.conclude(region.sum)
}

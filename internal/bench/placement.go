package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
)

// benchPlacement decides with one update before each decision, on one processor: with the
// index, with Decide, which looks at every node and says everything of it, and with no more
// than a filter and a sort. All nodes are in one region, which is the worst for all three.
func benchPlacement(ctx context.Context, runs int) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "nodes\tcandidates\tindex\tallocs\tbytes\tDecide\tallocs\tratio\tfilter and sort\tallocs\tratio\t")
	for _, nodes := range []int{100, 1_000, 10_000, 100_000} {
		for _, limit := range []int{20, 1} {
			var index, naive, bare []cost
			f := newFleet(nodes)
			x := f.index()
			for range runs {
				if err := ctx.Err(); err != nil {
					return err
				}
				index = append(index, spend(200_000_000/(nodes+20_000), func() {
					x.Put(f.update())
					x.Decide(placement.Request{}, f.now, limit)
				}))
				naive = append(naive, spend(max(1, 20_000/nodes), func() {
					f.update()
					placement.Decide(placement.Request{}, f.snapshot())
				}))
				bare = append(bare, spend(max(1, 20_000/nodes), func() {
					f.update()
					f.filterAndSort()
				}))
				f.catchUp(x)
			}
			a, b, c := middle(index), middle(naive), middle(bare)
			fmt.Fprintf(w, "%d\t%d\t%v\t%.0f\t%.0f\t%v\t%.0f\t%.0f\t%v\t%.0f\t%.0f\t\n", nodes, limit, a.time, a.allocs, a.bytes,
				b.time, b.allocs, b.time.Seconds()/a.time.Seconds(), c.time, c.allocs, c.time.Seconds()/a.time.Seconds())
		}
	}
	return w.Flush()
}

// A cost is that of one decision.
type cost struct {
	time          time.Duration
	allocs, bytes float64
}

// spend measures one of n calls.
func spend(n int, call func()) cost {
	var before, after runtime.MemStats
	runtime.GC() // what the other side has left is not ours to sweep
	runtime.ReadMemStats(&before)
	start := time.Now()
	for range n {
		call()
	}
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	return cost{took / time.Duration(n), float64(after.Mallocs-before.Mallocs) / float64(n), float64(after.TotalAlloc-before.TotalAlloc) / float64(n)}
}

func middle(list []cost) cost {
	slices.SortFunc(list, func(a, b cost) int { return cmp.Compare(a.time, b.time) })
	return list[len(list)/2]
}

// A fleet is nodes that push metrics, each twice within the age that metrics may have, but
// at random: about one in eight is stale.
type fleet struct {
	rand       *rand.Rand
	nodes      []placement.Node
	thresholds placement.Thresholds
	now        time.Time
}

func newFleet(n int) *fleet {
	f := &fleet{rand: rand.New(rand.NewPCG(1, 2)), thresholds: placement.DefaultThresholds(), now: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)}
	for i := range n {
		f.nodes = append(f.nodes, placement.Node{ID: fmt.Sprintf("hz-sg-%08d", i), Region: placement.SG, Active: i%50 > 0})
	}
	f.rand.Shuffle(n, func(i, j int) { f.nodes[i], f.nodes[j] = f.nodes[j], f.nodes[i] })
	for range 5 * n {
		f.update()
	}
	return f
}

// update lets a node push metrics, a moment later.
func (f *fleet) update() placement.Node {
	f.now = f.now.Add(f.thresholds.MetricsMaxAge / time.Duration(2*len(f.nodes)))
	n := &f.nodes[f.rand.IntN(len(f.nodes))]
	n.Tenants = f.rand.IntN(44)
	n.MemoryPct = new(f.rand.Float64() * 100)
	n.MetricsAt = f.now
	return *n
}

func (f *fleet) snapshot() placement.Snapshot {
	return placement.Snapshot{Nodes: f.nodes, Thresholds: f.thresholds, Now: f.now}
}

func (f *fleet) index() *placement.Index {
	x := placement.NewIndex(f.thresholds)
	f.catchUp(x)
	return x
}

// catchUp tells x what the other sides' updates were.
func (f *fleet) catchUp(x *placement.Index) {
	for _, n := range f.nodes {
		x.Put(n)
	}
	x.Decide(placement.Request{}, f.now, 1)
}

// filterAndSort is the least that a decision without an index takes: no reasons, no sums,
// no hash.
func (f *fleet) filterAndSort() string {
	var list []*placement.Node
	for i := range f.nodes {
		n := &f.nodes[i]
		if t := f.thresholds; n.Region == placement.SG && n.Active && !n.Dedicated && n.Tenants < t.MaxTenantsPerNode &&
			n.MemoryPct != nil && *n.MemoryPct <= t.MemoryPctMax && f.now.Sub(n.MetricsAt) <= t.MetricsMaxAge {
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(a, b *placement.Node) int {
		return cmp.Or(cmp.Compare(*a.MemoryPct, *b.MemoryPct), cmp.Compare(a.Tenants, b.Tenants), cmp.Compare(a.ID, b.ID))
	})
	if len(list) == 0 {
		return ""
	}
	return list[0].ID
}

package placement

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Decide says where the tenant of r lands, given s.
//
// An enterprise tenant gets a dedicated stack. Any other goes to the eligible node of
// its region with the least memory in use, then the fewest tenants, then the lowest
// node_id; where no node is eligible, a new shared server is created.
func Decide(r Request, s Snapshot) Decision {
	tier := cmp.Or(r.Tier, Basic)
	region := cmp.Or(r.Region, s.Thresholds.DefaultRegion, SG)
	d := Decision{
		Region:     region,
		Thresholds: s.Thresholds,
		Candidates: candidates(region, s),
	}
	d.Cluster = sum(d.Candidates, s.Thresholds)
	d.Placement = Result{Region: region, CreateNewServer: true, Dedicated: tier.Dedicated()}
	switch {
	case tier.Dedicated():
		d.Reason = DedicatedTier
	case d.Cluster.Eligible > 0:
		d.Reason = ExistingNodeSelected
		d.Placement.CreateNewServer = false
		d.Placement.TargetServerID = d.Candidates[0].NodeID
	case d.Cluster.Nodes == 0:
		d.Reason = NoNodesInRegion
	default:
		d.Reason = NoEligibleNode
	}
	return d
}

// candidates returns the nodes of region, ranked: the eligible ones first.
func candidates(region Region, s Snapshot) []Candidate {
	var list []Candidate
	for _, n := range s.Nodes {
		if n.Region != region {
			continue
		}
		against := reasons(n, s)
		list = append(list, Candidate{
			NodeID:    n.ID,
			Eligible:  len(against) == 0,
			Reasons:   against,
			MemoryPct: percentage(n.MemoryPct),
			Tenants:   n.Tenants,
			MetricsAt: n.MetricsAt,
		})
	}
	slices.SortFunc(list, func(a, b Candidate) int {
		switch {
		case a.Eligible && !b.Eligible:
			return -1
		case b.Eligible && !a.Eligible:
			return 1
		case !a.Eligible:
			return cmp.Compare(a.NodeID, b.NodeID)
		}
		return cmp.Or(
			cmp.Compare(*a.MemoryPct, *b.MemoryPct),
			cmp.Compare(a.Tenants, b.Tenants),
			cmp.Compare(a.NodeID, b.NodeID),
		)
	})
	for i := range list {
		if list[i].Eligible {
			list[i].Rank = i + 1
		}
	}
	return list
}

// percentage returns pct, or nil if it is none: NaN, below 0 or above 100 is no metric,
// and JSON has no word for some of it.
func percentage(pct *float64) *float64 {
	if pct == nil || !(*pct >= 0 && *pct <= 100) {
		return nil
	}
	return pct
}

// reasons lists what speaks against n, each with its number and the limit.
func reasons(n Node, s Snapshot) []string {
	var against []string
	say := func(format string, args ...any) { against = append(against, fmt.Sprintf(format, args...)) }
	t := s.Thresholds
	if !n.Active {
		say("not active")
	}
	if n.Dedicated {
		say("dedicated to a tenant")
	}
	if n.Tenants < 0 || n.Tenants >= t.MaxTenantsPerNode {
		say("tenant_count %d, limit %d", n.Tenants, t.MaxTenantsPerNode)
	}
	if m := percentage(n.MemoryPct); m == nil {
		say("memory_pct unknown")
	} else if !(*m <= t.MemoryPctMax) {
		say("memory_pct %g > %g", *m, t.MemoryPctMax) // not rounded: "80.0 > 80" is no reason
	}
	if n.MetricsAt.IsZero() {
		say("metrics never came")
	} else if age := s.Now.Sub(n.MetricsAt); age > t.MetricsMaxAge {
		say("metrics %s old > %s", age.Round(time.Second), t.MetricsMaxAge)
	}
	return against
}

// sum counts what is in list.
func sum(list []Candidate, t Thresholds) Cluster {
	c := Cluster{Nodes: len(list)}
	for _, n := range list {
		c.Tenants += n.Tenants
		if n.Eligible {
			c.Eligible++
			c.FreePlaces += t.MaxTenantsPerNode - n.Tenants
		}
	}
	return c
}

package placement

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"
)

// Decide says where the tenant of r lands, given s.
//
// An enterprise tenant gets a dedicated stack. Any other goes to the eligible node of
// its region with the least memory in use, then the fewest tenants, then the lowest
// node_id; where no node is eligible, a new shared server is created.
func Decide(r Request, s Snapshot) Decision {
	now := instant(s.Now)
	d := question(r, s.Thresholds, now)
	d.Clusters = map[Region]Cluster{}
	for _, region := range Regions() {
		d.Clusters[region] = Cluster{}
	}
	var sum digest
	for _, n := range s.Nodes {
		c := candidate(n, s.Thresholds, now)
		d.Clusters[n.Region] = d.Clusters[n.Region].plus(n, c.Eligible, s.Thresholds)
		if n.Region == d.Region {
			d.Candidates = append(d.Candidates, c)
			sum = sum.plus(digestOf(n, fresh(n, s.Thresholds, now)))
		}
	}
	rank(d.Candidates)
	d.Cluster, d.Total = d.Clusters[d.Region], len(d.Candidates)
	return d.conclude(sum)
}

// question is the decision on r as far as no node matters.
func question(r Request, t Thresholds, now int64) Decision {
	return Decision{
		Tier:       cmp.Or(r.Tier, Basic),
		Region:     cmp.Or(r.Region, t.DefaultRegion, SG),
		Thresholds: t,
		At:         time.Unix(0, now).UTC(),
	}
}

// conclude is the choice. Of the candidates it needs the first alone.
func (d Decision) conclude(sum digest) Decision {
	d.Placement = Result{Region: d.Region, CreateNewServer: true, Dedicated: d.Tier.Dedicated()}
	switch {
	case d.Placement.Dedicated:
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
	d.Snapshot = snapshotHash(d, sum)
	return d
}

// rank sorts list, the eligible ones first and best, and numbers those.
func rank(list []Candidate) {
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
}

// candidate judges n.
func candidate(n Node, t Thresholds, now int64) Candidate {
	against := reasons(n, t, now)
	c := Candidate{
		NodeID:    n.ID,
		Eligible:  len(against) == 0,
		Reasons:   against,
		Active:    n.Active,
		Dedicated: n.Dedicated,
		MemoryPct: percentage(n.MemoryPct),
		Tenants:   n.Tenants,
	}
	if at, ok := measured(n.MetricsAt); ok {
		c.MetricsAt = time.Unix(0, at).UTC()
	}
	return c
}

// reasons lists what speaks against n, each with its number and the limit.
func reasons(n Node, t Thresholds, now int64) []string {
	var against []string
	say := func(reason string) { against = append(against, reason) }
	if !n.Active {
		say("not active")
	}
	if n.Dedicated {
		say("dedicated to a tenant")
	}
	if n.Tenants < 0 {
		say("tenant_count " + strconv.Itoa(n.Tenants) + " < 0")
	} else if n.Tenants >= t.MaxTenantsPerNode {
		say("tenant_count " + strconv.Itoa(n.Tenants) + " >= " + strconv.Itoa(t.MaxTenantsPerNode))
	}
	if m := percentage(n.MemoryPct); m == nil {
		say("memory_pct unknown")
	} else if !(*m <= t.MemoryPctMax) {
		say("memory_pct " + decimal(*m) + " > " + decimal(t.MemoryPctMax)) // not rounded: "80.0 > 80" is no reason
	}
	if at, ok := measured(n.MetricsAt); !ok {
		say("metrics never came")
	} else if age := time.Duration(now - at); age > t.MetricsMaxAge {
		say("metrics " + roundUp(age) + " old > " + t.MetricsMaxAge.String())
	} else if -age > t.MetricsMaxAge {
		say("metrics " + roundUp(-age) + " ahead > " + t.MetricsMaxAge.String())
	}
	return against
}

// fresh reports whether the metrics of n can be believed at now.
func fresh(n Node, t Thresholds, now int64) bool {
	at, ok := measured(n.MetricsAt)
	age := time.Duration(now - at)
	return ok && max(age, -age) <= t.MetricsMaxAge
}

// percentage returns pct, or nil if it is none: NaN, below 0 or above 100 is no metric,
// and JSON has no word for some of it.
func percentage(pct *float64) *float64 {
	if pct == nil || !(*pct >= 0 && *pct <= 100) {
		return nil
	}
	if *pct == 0 {
		return new(0.0) // and not -0
	}
	return pct
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// roundUp is d in whole seconds, and never less than d: "15m0s old > 15m0s" is no reason.
func roundUp(d time.Duration) string {
	if rest := d % time.Second; rest > 0 {
		d += time.Second - rest
	}
	return d.String()
}

// lastSecond is in the year 2242: nanoseconds up to it, and the difference of any two, are an int64.
const lastSecond = 1 << 33

// measured returns a metric's time in nanoseconds since 1970; ok is false for the zero
// time, and for one that cannot be.
func measured(at time.Time) (ns int64, ok bool) {
	if s := at.Unix(); s < 0 || s >= lastSecond {
		return 0, false
	}
	return at.UnixNano(), true
}

// instant is now in nanoseconds since 1970, or the nearest that measured can return.
func instant(now time.Time) int64 {
	if ns, ok := measured(now); ok {
		return ns
	}
	if now.Unix() < 0 {
		return 0
	}
	return lastSecond * int64(time.Second)
}

// plus returns c with n in it.
func (c Cluster) plus(n Node, eligible bool, t Thresholds) Cluster { return c.add(n, eligible, t, 1) }

// minus returns c without n.
func (c Cluster) minus(n Node, eligible bool, t Thresholds) Cluster { return c.add(n, eligible, t, -1) }

// add counts n sign times. What one node adds is bounded, so that no sum overflows.
func (c Cluster) add(n Node, eligible bool, t Thresholds, sign int) Cluster {
	c.Nodes += sign
	c.Tenants += sign * min(max(n.Tenants, 0), math.MaxInt32)
	if eligible {
		c.Eligible += sign
		c.FreePlaces += sign * min(t.MaxTenantsPerNode-n.Tenants, math.MaxInt32)
	}
	return c
}

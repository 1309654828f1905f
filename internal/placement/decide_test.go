package placement_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pregoi/provision-tenant/internal/placement"
)

var now = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// node is an eligible node of sg, changed by each of change.
func node(id string, memory float64, tenants int, change ...func(*placement.Node)) placement.Node {
	n := placement.Node{
		ID: id, Region: placement.SG, Active: true,
		Tenants: tenants, MemoryPct: &memory, MetricsAt: now.Add(-time.Minute),
	}
	for _, c := range change {
		c(&n)
	}
	return n
}

func inactive(n *placement.Node)  { n.Active = false }
func dedicated(n *placement.Node) { n.Dedicated = true }
func unknown(n *placement.Node)   { n.MemoryPct = nil }
func never(n *placement.Node)     { n.MetricsAt = time.Time{} }

func old(age time.Duration) func(*placement.Node) {
	return func(n *placement.Node) { n.MetricsAt = now.Add(-age) }
}

func at(t time.Time) func(*placement.Node) {
	return func(n *placement.Node) { n.MetricsAt = t }
}

func in(r placement.Region) func(*placement.Node) {
	return func(n *placement.Node) { n.Region = r }
}

func snapshot(nodes ...placement.Node) placement.Snapshot {
	return placement.Snapshot{Nodes: nodes, Thresholds: placement.DefaultThresholds(), Now: now}
}

func TestDecide(t *testing.T) {
	target := func(id string) placement.Result { return placement.Result{Region: placement.SG, TargetServerID: id} }
	fresh := func(r placement.Region) placement.Result { return placement.Result{Region: r, CreateNewServer: true} }
	own := placement.Result{Region: placement.SG, CreateNewServer: true, Dedicated: true}
	for _, test := range []struct {
		name   string
		req    placement.Request
		nodes  []placement.Node
		want   placement.Result
		reason placement.Reason
	}{
		{"no nodes", placement.Request{}, nil, fresh(placement.SG), placement.NoNodesInRegion},
		{"one node", placement.Request{Tier: placement.Basic}, []placement.Node{node("a", 50, 3)}, target("a"), placement.ExistingNodeSelected},
		{"every shared tier", placement.Request{Tier: placement.Professional}, []placement.Node{node("a", 50, 3)}, target("a"), placement.ExistingNodeSelected},
		{"enterprise has its own", placement.Request{Tier: placement.Enterprise}, []placement.Node{node("a", 1, 0)}, own, placement.DedicatedTier},
		{"the least memory", placement.Request{}, []placement.Node{node("a", 50, 1), node("b", 49.9, 30)}, target("b"), placement.ExistingNodeSelected},
		{"then the fewest tenants", placement.Request{}, []placement.Node{node("a", 50, 2), node("b", 50, 1)}, target("b"), placement.ExistingNodeSelected},
		{"then the lowest id", placement.Request{}, []placement.Node{node("b", 50, 1), node("a", 50, 1)}, target("a"), placement.ExistingNodeSelected},
		{"at the limits", placement.Request{}, []placement.Node{node("a", 80, 39, old(15*time.Minute))}, target("a"), placement.ExistingNodeSelected},
		{"no memory in use", placement.Request{}, []placement.Node{node("a", 0, 0)}, target("a"), placement.ExistingNodeSelected},
		{"a clock ahead of ours", placement.Request{}, []placement.Node{node("a", 50, 3, old(-time.Minute))}, target("a"), placement.ExistingNodeSelected},
		{"too much memory", placement.Request{}, []placement.Node{node("a", 80.1, 3)}, fresh(placement.SG), placement.NoEligibleNode},
		{"too many tenants", placement.Request{}, []placement.Node{node("a", 50, 40)}, fresh(placement.SG), placement.NoEligibleNode},
		{"another region's node", placement.Request{Region: placement.EU}, []placement.Node{node("a", 50, 3)}, fresh(placement.EU), placement.NoNodesInRegion},
		{"the region asked for", placement.Request{Region: placement.US}, []placement.Node{node("a", 1, 0), node("b", 70, 9, in(placement.US))},
			placement.Result{Region: placement.US, TargetServerID: "b"}, placement.ExistingNodeSelected},
		{"all out of use", placement.Request{}, []placement.Node{node("a", 1, 0, inactive), node("b", 1, 0, dedicated), node("c", 1, 0, unknown),
			node("d", 1, 0, never), node("e", math.NaN(), 0)}, fresh(placement.SG), placement.NoEligibleNode},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := placement.Decide(test.req, snapshot(test.nodes...))
			if d.Placement != test.want || d.Reason != test.reason {
				t.Errorf("Decide(%+v) = %+v because %s, want %+v because %s", test.req, d.Placement, d.Reason, test.want, test.reason)
			}
		})
	}
}

func TestDecideDefaultRegion(t *testing.T) {
	s := snapshot()
	s.Thresholds.DefaultRegion = placement.EU
	for req, want := range map[placement.Request]placement.Region{
		{}:                     placement.EU,
		{Region: placement.US}: placement.US,
	} {
		if d := placement.Decide(req, s); d.Region != want || d.Placement.Region != want {
			t.Errorf("Decide(%+v) is for %s and lands in %s, want %s", req, d.Region, d.Placement.Region, want)
		}
	}
	s.Thresholds.DefaultRegion = ""
	if d := placement.Decide(placement.Request{}, s); d.Region != placement.SG {
		t.Errorf("Decide without any region = %s, want sg", d.Region)
	}
}

func TestReasons(t *testing.T) {
	for _, test := range []struct {
		node placement.Node
		want []string
	}{
		{node("a", 50, 3), nil},
		{node("a", 84.2, 3), []string{"memory_pct 84.2 > 80"}},
		{node("a", 80.04, 3), []string{"memory_pct 80.04 > 80"}},
		{node("a", 50, 40), []string{"tenant_count 40 >= 40"}},
		{node("a", 50, -1), []string{"tenant_count -1 < 0"}},
		{node("a", 50, 3, inactive), []string{"not active"}},
		{node("a", 50, 3, dedicated), []string{"dedicated to a tenant"}},
		{node("a", 50, 3, unknown), []string{"memory_pct unknown"}},
		{node("a", math.NaN(), 3), []string{"memory_pct unknown"}},
		{node("a", math.Inf(1), 3), []string{"memory_pct unknown"}},
		{node("a", math.Inf(-1), 3), []string{"memory_pct unknown"}},
		{node("a", -0.1, 3), []string{"memory_pct unknown"}},
		{node("a", 100.1, 3), []string{"memory_pct unknown"}},
		{node("a", 50, 3, never), []string{"metrics never came"}},
		{node("a", 50, 3, old(20*time.Minute)), []string{"metrics 20m0s old > 15m0s"}},
		{node("a", 50, 3, old(15*time.Minute+1)), []string{"metrics 15m1s old > 15m0s"}},
		{node("a", 50, 3, old(-15*time.Minute)), nil},
		{node("a", 50, 3, old(-20*time.Minute)), []string{"metrics 20m0s ahead > 15m0s"}},
		{node("a", 50, 3, at(time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC))), []string{"metrics never came"}},
		{node("a", 50, 3, at(time.Date(12026, 7, 1, 0, 0, 0, 0, time.UTC))), []string{"metrics never came"}},
		{node("a", 99, 41, inactive, dedicated, old(time.Hour)), []string{"not active", "dedicated to a tenant",
			"tenant_count 41 >= 40", "memory_pct 99 > 80", "metrics 1h0m0s old > 15m0s"}},
	} {
		d := placement.Decide(placement.Request{}, snapshot(test.node))
		if diff := cmp.Diff(test.want, d.Candidates[0].Reasons); diff != "" {
			t.Errorf("reasons against %+v (-want +got)\n%s", test.node, diff)
		}
	}
}

func TestCandidates(t *testing.T) {
	d := placement.Decide(placement.Request{}, snapshot(
		node("d", 90, 5), node("b", 60, 2), node("eu", 1, 0, in(placement.EU)), node("c", 10, 40), node("a", 70, 1)))
	type row struct {
		ID   string
		Rank int
	}
	var got []row
	for _, c := range d.Candidates {
		got = append(got, row{c.NodeID, c.Rank})
	}
	if diff := cmp.Diff([]row{{"b", 1}, {"a", 2}, {"c", 0}, {"d", 0}}, got); diff != "" {
		t.Errorf("candidates (-want +got)\n%s", diff)
	}
	want := map[placement.Region]placement.Cluster{
		placement.SG: {Nodes: 4, Eligible: 2, Tenants: 48, FreePlaces: 77},
		placement.EU: {Nodes: 1, Eligible: 1, FreePlaces: 40},
		placement.US: {},
	}
	if diff := cmp.Diff(want, d.Clusters); diff != "" || d.Cluster != want[placement.SG] || d.Total != 4 {
		t.Errorf("cluster = %+v, total %d, clusters (-want +got)\n%s", d.Cluster, d.Total, diff)
	}
}

// anyNode draws nodes, every way of being unfit among them.
func anyNode() *rapid.Generator[placement.Node] {
	return rapid.Custom(func(t *rapid.T) placement.Node {
		memory := rapid.OneOf(rapid.Float64Range(0, 100), rapid.Just(80.0), rapid.Just(50.0),
			rapid.Just(math.NaN()), rapid.Just(math.Inf(1)), rapid.Float64()).Draw(t, "memory")
		n := node("", memory, rapid.IntRange(-1, 45).Draw(t, "tenants"))
		n.Region = rapid.SampledFrom(placement.Regions()).Draw(t, "region")
		n.Active = rapid.IntRange(0, 4).Draw(t, "active") > 0
		n.Dedicated = rapid.IntRange(0, 4).Draw(t, "dedicated") == 0
		n.MetricsAt = now.Add(-time.Duration(rapid.IntRange(-1200, 1200).Draw(t, "age")) * time.Second)
		if rapid.IntRange(0, 9).Draw(t, "known") == 0 {
			n.MemoryPct = nil
		}
		if rapid.IntRange(0, 9).Draw(t, "measured") == 0 {
			n.MetricsAt = time.Time{}
		}
		return n
	})
}

func anyQuestion(t *rapid.T) (placement.Request, placement.Snapshot) {
	nodes := rapid.SliceOfN(anyNode(), 0, 12).Draw(t, "nodes")
	for i := range nodes {
		nodes[i].ID = string(rune('a' + i))
	}
	req := placement.Request{
		Tier:   rapid.SampledFrom(append(placement.Tiers(), "")).Draw(t, "tier"),
		Region: rapid.SampledFrom(append(placement.Regions(), "")).Draw(t, "of"),
	}
	return req, snapshot(nodes...)
}

// fit is the rule, written once more and otherwise.
func fit(n placement.Node, region placement.Region) bool {
	return n.Region == region && n.Active && !n.Dedicated && n.Tenants >= 0 && n.Tenants < 40 &&
		n.MemoryPct != nil && *n.MemoryPct >= 0 && *n.MemoryPct <= 80 &&
		!n.MetricsAt.Before(now.Add(-15*time.Minute)) && !n.MetricsAt.After(now.Add(15*time.Minute))
}

func TestDecideKeepsTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req, s := anyQuestion(t)
		d := placement.Decide(req, s)
		p := d.Placement
		if p.CreateNewServer == (p.TargetServerID != "") || d.SelectedNodeID() != p.TargetServerID || p.Region != d.Region {
			t.Fatalf("the placement contradicts itself: %+v", d)
		}
		if p.Dedicated != req.Tier.Dedicated() || p.Dedicated && p.TargetServerID != "" {
			t.Fatalf("tier %q got %+v", req.Tier, p)
		}
		eligible := 0
		for _, n := range s.Nodes {
			ok := fit(n, d.Region)
			if ok {
				eligible++
			}
			if n.ID == p.TargetServerID && !ok {
				t.Fatalf("a tenant in %s was put on %+v", d.Region, n)
			}
			if !p.Dedicated && ok && p.CreateNewServer {
				t.Fatalf("a server is to be created though %+v has room", n)
			}
			if !p.Dedicated && ok && *n.MemoryPct < *memoryOf(t, s, p.TargetServerID) {
				t.Fatalf("%s was chosen though %s has more memory free", p.TargetServerID, n.ID)
			}
		}
		if d.Cluster.Eligible != eligible {
			t.Fatalf("%d nodes are eligible, want %d", d.Cluster.Eligible, eligible)
		}
		for i, c := range d.Candidates {
			if c.Eligible != (len(c.Reasons) == 0) || c.Eligible != (c.Rank == i+1) || !c.Eligible && c.Rank != 0 {
				t.Fatalf("candidate %d contradicts itself: %+v", i, c)
			}
		}
		if _, err := json.Marshal(d.Answer(0)); err != nil {
			t.Fatalf("the answer cannot be sent: %v", err)
		}
	})
}

func memoryOf(t *rapid.T, s placement.Snapshot, id string) *float64 {
	for _, n := range s.Nodes {
		if n.ID == id {
			return n.MemoryPct
		}
	}
	t.Fatalf("there is no node %q", id)
	return nil
}

func TestDecideForAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req, s := anyQuestion(t)
		want := placement.Decide(req, s)
		seed := rapid.Uint64().Draw(t, "seed")
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(s.Nodes), func(i, j int) { s.Nodes[i], s.Nodes[j] = s.Nodes[j], s.Nodes[i] })
		if diff := cmp.Diff(want, placement.Decide(req, s)); diff != "" {
			t.Errorf("in another order (-want +got)\n%s", diff)
		}
	})
}

func TestWords(t *testing.T) {
	for _, r := range placement.Regions() {
		if !r.Valid() {
			t.Errorf("region %q is not valid", r)
		}
	}
	for _, tier := range placement.Tiers() {
		if !tier.Valid() || tier.Dedicated() != (tier == placement.Enterprise) {
			t.Errorf("tier %q: valid %t, dedicated %t", tier, tier.Valid(), tier.Dedicated())
		}
	}
	if placement.Region("").Valid() || placement.Region("SG").Valid() || placement.Tier("").Valid() || placement.Tier("gold").Valid() {
		t.Error("a word that there is not is valid")
	}
}

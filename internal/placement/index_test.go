package placement_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pregoi/provision-tenant/internal/placement"
)

// model is what an Index stands for: a map, and [placement.Decide].
type model struct {
	nodes      map[string]placement.Node
	thresholds placement.Thresholds
}

func (m model) list() []placement.Node {
	return slices.SortedFunc(maps.Values(m.nodes), func(a, b placement.Node) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
}

func (m model) decide(r placement.Request, now time.Time, limit int) placement.Decision {
	d := placement.Decide(r, placement.Snapshot{Nodes: m.list(), Thresholds: m.thresholds, Now: now})
	if limit > 0 && limit < len(d.Candidates) {
		d.Candidates = d.Candidates[:limit]
	}
	return d
}

// cases is how many histories the property is checked with: PLACEMENT_CASES, or 10,000.
func cases(t *testing.T) {
	n := os.Getenv("PLACEMENT_CASES")
	if n == "" {
		n = "10000"
	}
	old := flag.Lookup("rapid.checks").Value.String()
	if err := flag.Set("rapid.checks", n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set("rapid.checks", old) })
}

// Whatever happens to it, an index decides what Decide does, byte for byte.
func TestIndexAgreesWithDecide(t *testing.T) {
	cases(t)
	nodes, questions := anyNode(), anyRequest()
	rapid.Check(t, func(t *rapid.T) {
		m := model{map[string]placement.Node{}, anyThresholds().Draw(t, "thresholds")}
		x := placement.NewIndex(m.thresholds)
		when := now
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			id := string(rune('a' + rapid.IntRange(0, 7).Draw(t, "id")))
			switch rapid.IntRange(0, 6).Draw(t, "step") {
			case 0, 1:
				n := nodes.Draw(t, "node")
				n.ID = id
				x.Put(n)
				m.nodes[id] = n
			case 2:
				x.Remove(id)
				delete(m.nodes, id)
			case 3:
				delta := rapid.IntRange(-3, 3).Draw(t, "delta")
				x.AddTenants(id, delta)
				if n, ok := m.nodes[id]; ok {
					n.Tenants += delta
					m.nodes[id] = n
				}
			case 4:
				when = when.Add(time.Duration(rapid.IntRange(-900, 1800).Draw(t, "later")) * time.Second)
			default:
				r, limit := questions.Draw(t, "request"), rapid.IntRange(0, 3).Draw(t, "limit")
				agree(t, x.Decide(r, when, limit), m.decide(r, when, limit))
			}
		}
		for _, region := range placement.Regions() {
			r := placement.Request{Region: region}
			agree(t, x.Decide(r, when, 0), m.decide(r, when, 0))
		}
		if x.Len() != len(m.nodes) || len(x.Nodes()) != len(m.nodes) {
			t.Fatalf("%d nodes, %d listed, want %d", x.Len(), len(x.Nodes()), len(m.nodes))
		}
		agree(t, placement.Decide(placement.Request{}, x.Snapshot(when)), m.decide(placement.Request{}, when, 0))
	})
}

type fataler interface{ Fatalf(string, ...any) }

// agree compares all of two decisions as JSON has them.
func agree(t fataler, got, want placement.Decision) {
	a, errA := json.Marshal(got)
	b, errB := json.Marshal(want)
	if string(a) != string(b) || errA != nil || errB != nil {
		t.Fatalf("the index decides (%v)\n%s\nand not (%v)\n%s", errA, a, errB, b)
	}
}

func anyRequest() *rapid.Generator[placement.Request] {
	return rapid.Custom(func(t *rapid.T) placement.Request {
		return placement.Request{
			Tier:   rapid.SampledFrom(append(placement.Tiers(), "")).Draw(t, "tier"),
			Region: rapid.SampledFrom(append(placement.Regions(), "", "mars")).Draw(t, "of"),
		}
	})
}

func anyThresholds() *rapid.Generator[placement.Thresholds] {
	return rapid.Custom(func(t *rapid.T) placement.Thresholds {
		return placement.Thresholds{
			MemoryPctMax:      rapid.SampledFrom([]float64{80, 80, 50, 100, 0.5}).Draw(t, "memory max"),
			MaxTenantsPerNode: rapid.SampledFrom([]int{40, 40, 1, math.MaxInt}).Draw(t, "tenants max"),
			MetricsMaxAge:     rapid.SampledFrom([]time.Duration{15 * time.Minute, 15 * time.Minute, 1, 0, -1, math.MaxInt64}).Draw(t, "age max"),
			DefaultRegion:     rapid.SampledFrom([]placement.Region{"", placement.SG, placement.EU}).Draw(t, "default region"),
		}
	})
}

// At some thousand nodes, of which many are equal in what they are ranked by.
func TestIndexOfManyNodes(t *testing.T) {
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		m := model{map[string]placement.Node{}, placement.DefaultThresholds()}
		x := placement.NewIndex(m.thresholds)
		for range 1500 {
			n := node(strconv.Itoa(rnd.IntN(1200)), float64(rnd.IntN(20)*5), rnd.IntN(50), old(time.Duration(rnd.IntN(1200))*time.Second))
			n.Region = placement.Regions()[rnd.IntN(2)]
			x.Put(n)
			m.nodes[n.ID] = n
		}
		for i := range 400 {
			x.Remove(strconv.Itoa(i))
			delete(m.nodes, strconv.Itoa(i))
		}
		for i, when := range []time.Time{now, now.Add(time.Minute), now.Add(8 * time.Minute), now.Add(-8 * time.Minute), now.Add(time.Hour)} {
			agree(t, x.Decide(placement.Request{}, when, i), m.decide(placement.Request{}, when, i))
			agree(t, x.Decide(placement.Request{}, when, 0), m.decide(placement.Request{}, when, 0))
		}
	}
}

// Metrics turn stale one nanosecond after their age, and come back when the clock goes back.
func TestIndexAgesOut(t *testing.T) {
	x := placement.NewIndex(placement.DefaultThresholds())
	x.Put(node("a", 50, 3, at(now)))
	for _, test := range []struct {
		after time.Duration
		want  bool
	}{
		{0, true}, {15 * time.Minute, true}, {15*time.Minute + 1, false}, {time.Hour, false}, {15 * time.Minute, true},
		{-15 * time.Minute, true}, {-15*time.Minute - 1, false}, {200 * 365 * 24 * time.Hour, false}, {-100 * 365 * 24 * time.Hour, false},
		{time.Second, true},
	} {
		if d := x.Decide(placement.Request{}, now.Add(test.after), 1); d.Candidates[0].Eligible != test.want {
			t.Errorf("%v after its metrics the node is %+v, want eligible %t", test.after, d.Candidates[0], test.want)
		}
	}
}

// What goes into an index, and the nodes that come out, share no memory with it; a decision
// stays what it was.
func TestIndexKeepsItsOwn(t *testing.T) {
	x := placement.NewIndex(placement.DefaultThresholds())
	n := node("a", 50, 3)
	x.Put(n)
	want := x.Decide(placement.Request{}, now, 0)
	*n.MemoryPct = 99
	*x.Nodes()[0].MemoryPct = 97
	if got, ok := x.Node("a"); !ok || *got.MemoryPct != 50 {
		t.Errorf("the node is %+v, %t", got, ok)
	} else {
		*got.MemoryPct = 96
	}
	d := x.Decide(placement.Request{}, now, 0)
	if *d.Candidates[0].MemoryPct != 50 || d.Snapshot != want.Snapshot {
		t.Errorf("decided on %+v", d.Candidates[0])
	}
	x.Put(node("a", 60, 4))
	if *d.Candidates[0].MemoryPct != 50 || d.Candidates[0].Tenants != 3 {
		t.Errorf("the decision has become %+v", d.Candidates[0])
	}
}

// An index takes what cannot be, and does not count with it.
func TestIndexOfAbsurdNodes(t *testing.T) {
	x := placement.NewIndex(placement.DefaultThresholds())
	x.Remove("a")
	x.AddTenants("a", 1)
	if _, ok := x.Node("a"); ok || x.Len() != 0 {
		t.Error("there is a node that nobody put")
	}
	for i := range 4 {
		x.Put(node(fmt.Sprint("most-", i), 50, math.MaxInt))
		x.Put(node(fmt.Sprint("least-", i), 50, math.MinInt))
		x.AddTenants(fmt.Sprint("most-", i), math.MaxInt)
		x.AddTenants(fmt.Sprint("least-", i), math.MinInt)
	}
	d := x.Decide(placement.Request{}, now, 0)
	if want := (placement.Cluster{Nodes: 8, Tenants: 4 * math.MaxInt32}); d.Cluster != want {
		t.Errorf("cluster = %+v, want %+v", d.Cluster, want)
	}
	if n, _ := x.Node("most-0"); n.Tenants != math.MaxInt {
		t.Errorf("most tenants and one are %d", n.Tenants)
	}
	for _, id := range []string{"most-0", "least-0"} {
		x.Put(node(id, 50, 3, in("mars")))
		x.Remove(id)
	}
	if _, ok := x.Decide(placement.Request{}, now, 0).Clusters["mars"]; ok || x.Len() != 6 {
		t.Errorf("an emptied region is still there, or %d nodes", x.Len())
	}
}

func TestSnapshot(t *testing.T) {
	base := func() placement.Snapshot {
		return snapshot(node("a", 50, 3), node("b", 85, 7), node("eu", 50, 3, in(placement.EU)))
	}
	hash := func(r placement.Request, change func(*placement.Snapshot)) string {
		s := base()
		change(&s)
		return placement.Decide(r, s).Snapshot
	}
	none := func(*placement.Snapshot) {}
	shared, dedicated := placement.Request{}, placement.Request{Tier: placement.Enterprise}
	want := hash(shared, none)
	if len(want) != 32 {
		t.Errorf("the snapshot is %q", want)
	}
	for _, test := range []struct {
		name   string
		change func(*placement.Snapshot)
		moved  bool
	}{
		{"nothing", none, false},
		{"a second later", func(s *placement.Snapshot) { s.Now = s.Now.Add(time.Second) }, false},
		{"newer metrics that say the same", func(s *placement.Snapshot) { s.Nodes[0].MetricsAt = s.Now }, false},
		{"another order", func(s *placement.Snapshot) { slices.Reverse(s.Nodes) }, false},
		{"another region's node", func(s *placement.Snapshot) { s.Nodes[2].Tenants++ }, false},
		{"no region asked for", func(s *placement.Snapshot) { s.Thresholds.DefaultRegion = "" }, false},
		{"no memory in use, or minus none", func(s *placement.Snapshot) { s.Nodes[0].MemoryPct = new(math.Copysign(0, -1)) }, true},
		{"another region", func(s *placement.Snapshot) { s.Thresholds.DefaultRegion = placement.EU }, true},
		{"a tenant more", func(s *placement.Snapshot) { s.Nodes[0].Tenants++ }, true},
		{"a tenant moved", func(s *placement.Snapshot) { s.Nodes[0].Tenants++; s.Nodes[1].Tenants-- }, true},
		{"more memory", func(s *placement.Snapshot) { s.Nodes[0].MemoryPct = new(50.1) }, true},
		{"memory exchanged", func(s *placement.Snapshot) {
			s.Nodes[0].MemoryPct, s.Nodes[1].MemoryPct = s.Nodes[1].MemoryPct, s.Nodes[0].MemoryPct
		}, true},
		{"memory unknown", func(s *placement.Snapshot) { s.Nodes[0].MemoryPct = nil }, true},
		{"metrics too old", func(s *placement.Snapshot) { s.Nodes[0].MetricsAt = now.Add(-time.Hour) }, true},
		{"time has gone by", func(s *placement.Snapshot) { s.Now = s.Now.Add(time.Hour) }, true},
		{"drained", func(s *placement.Snapshot) { s.Nodes[1].Active = false }, true},
		{"dedicated", func(s *placement.Snapshot) { s.Nodes[1].Dedicated = true }, true},
		{"a node more", func(s *placement.Snapshot) { s.Nodes = append(s.Nodes, node("c", 99, 40)) }, true},
		{"a node gone", func(s *placement.Snapshot) { s.Nodes = s.Nodes[1:] }, true},
		{"another name", func(s *placement.Snapshot) { s.Nodes[0].ID = "c" }, true},
		{"another memory limit", func(s *placement.Snapshot) { s.Thresholds.MemoryPctMax++ }, true},
		{"another tenant limit", func(s *placement.Snapshot) { s.Thresholds.MaxTenantsPerNode++ }, true},
		{"another age limit", func(s *placement.Snapshot) { s.Thresholds.MetricsMaxAge++ }, true},
	} {
		if got := hash(shared, test.change); (got != want) != test.moved {
			t.Errorf("%s: moved is %t, want %t", test.name, got != want, test.moved)
		}
		// A dedicated tenant is placed by its tier and region alone.
		if got := hash(dedicated, test.change); (got != hash(dedicated, none)) != (test.name == "another region") {
			t.Errorf("%s: moved for a dedicated tenant, or did not", test.name)
		}
	}
	if hash(dedicated, none) == want {
		t.Error("a dedicated and a shared tenant are placed on the same snapshot")
	}
	if zero, minus := node("a", 0, 0), node("a", math.Copysign(0, -1), 0); placement.Decide(shared, snapshot(zero)).Snapshot != placement.Decide(shared, snapshot(minus)).Snapshot {
		t.Error("0 and -0 are not the same")
	}
}

// No number of a node makes the index disagree, a full node eligible, or JSON impossible.
func FuzzFloats(f *testing.F) {
	for _, m := range []float64{0, math.Copysign(0, -1), 80, math.Nextafter(80, 100), 100, math.NaN(), math.Inf(1), math.Inf(-1), 5e-324, 1e308} {
		f.Add(math.Float64bits(m), math.Float64bits(80), 3, int64(0), int64(0), uint32(0))
	}
	f.Add(math.Float64bits(50), math.Float64bits(math.NaN()), 3, int64(0), int64(0), uint32(0))
	f.Add(math.Float64bits(50), math.Float64bits(80), math.MinInt, int64(math.MaxInt64), int64(math.MinInt64), uint32(1))
	f.Fuzz(func(t *testing.T, memory, limit uint64, tenants int, measured, decided int64, nanos uint32) {
		m := model{map[string]placement.Node{}, placement.DefaultThresholds()}
		m.thresholds.MemoryPctMax = math.Float64frombits(limit)
		when := time.Unix(decided, int64(nanos))
		m.nodes["a"] = node("a", math.Float64frombits(memory), tenants, at(time.Unix(measured, int64(nanos))))
		m.nodes["b"] = node("b", 50, 3, at(when))
		x := placement.NewIndex(m.thresholds)
		x.Put(m.nodes["a"])
		x.Put(m.nodes["b"])
		got, want := x.Decide(placement.Request{}, when, 0), m.decide(placement.Request{}, when, 0)
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) })); diff != "" {
			t.Errorf("the index decides otherwise (-want +got)\n%s", diff)
		}
		for _, c := range got.Candidates {
			if _, err := json.Marshal(c); err != nil {
				t.Errorf("the candidate cannot be sent: %v", err)
			}
			if c.Eligible && !(*c.MemoryPct >= 0 && *c.MemoryPct <= 100 && c.Tenants >= 0 && c.Tenants < 40) {
				t.Errorf("eligible with %v%% and %d tenants", *c.MemoryPct, c.Tenants)
			}
		}
	})
}

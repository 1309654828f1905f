package placement_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pregoi/provision-tenant/internal/placement"
)

func TestWhatIf(t *testing.T) {
	world := snapshot(node("a", 40, 10), node("b", 50, 39), node("c", 84.2, 3), node("eu", 10, 1, in(placement.EU)))
	for _, test := range []struct {
		name    string
		request placement.Request
		what    placement.WhatIf
		want    string // the node of afterwards
		changes []string
	}{
		{"nothing", placement.Request{}, placement.WhatIf{}, "a",
			[]string{"the tenant would still land on node a (existing_node_selected)"}},
		{"a drain", placement.Request{}, placement.WhatIf{Drain: []string{"a", "a"}}, "b",
			[]string{"the tenant would land on node b (existing_node_selected), and not on node a (existing_node_selected)",
				"sg would have 1 in place of 2 eligible nodes, 1 in place of 31 free places",
				"a would be drained, would no longer be eligible, and was rank 1: not active"}},
		{"all drained", placement.Request{}, placement.WhatIf{Drain: []string{"b", "a"}}, "",
			[]string{"the tenant would land on a new shared server in sg (no_eligible_node), and not on node a (existing_node_selected)",
				"sg would have 0 in place of 2 eligible nodes, 0 in place of 31 free places",
				"a would be drained, would no longer be eligible, and was rank 1: not active",
				"b would be drained, would no longer be eligible, and was rank 2: not active"}},
		{"tenants", placement.Request{}, placement.WhatIf{AddTenants: map[string]int{"b": 1, "a": -10, "c": 0}}, "a",
			[]string{"the tenant would still land on node a (existing_node_selected)",
				"sg would have 1 in place of 2 eligible nodes, 43 in place of 52 tenants, 40 in place of 31 free places",
				"a would have 0 in place of 10 tenants",
				"b would have 40 in place of 39 tenants, would no longer be eligible, and was rank 2: tenant_count 40 >= 40"}},
		{"limits", placement.Request{}, placement.WhatIf{Thresholds: &placement.Overrides{
			MemoryPctMax: new(85.0), MaxTenantsPerNode: new(10), MetricsMaxAge: new("1h")}}, "c",
			[]string{"the tenant would land on node c (existing_node_selected), and not on node a (existing_node_selected)",
				"memory_pct_max would be 85 in place of 80",
				"max_tenants_per_node would be 10 in place of 40",
				"metrics_max_age would be 1h0m0s in place of 15m0s",
				"eu would have 9 in place of 39 free places",
				"sg would have 1 in place of 2 eligible nodes, 7 in place of 31 free places",
				"a would no longer be eligible, and was rank 1: tenant_count 10 >= 10",
				"b would no longer be eligible, and was rank 2: tenant_count 39 >= 10",
				"c would be eligible, with rank 1; as it is, it is not: memory_pct 84.2 > 80"}},
		{"another rank", placement.Request{}, placement.WhatIf{Thresholds: &placement.Overrides{MemoryPctMax: new(90.0)},
			AddTenants: map[string]int{"c": 1}, Drain: []string{"a"}}, "b",
			[]string{"the tenant would land on node b (existing_node_selected), and not on node a (existing_node_selected)",
				"memory_pct_max would be 90 in place of 80",
				"sg would have 53 in place of 52 tenants, 37 in place of 31 free places",
				"a would be drained, would no longer be eligible, and was rank 1: not active",
				"c would have 4 in place of 3 tenants, would be eligible, with rank 2; as it is, it is not: memory_pct 84.2 > 80"}},
		{"another region", placement.Request{}, placement.WhatIf{Drain: []string{"eu"}}, "a",
			[]string{"the tenant would still land on node a (existing_node_selected)",
				"eu would have 0 in place of 1 eligible nodes, 0 in place of 39 free places"}},
		{"a dedicated tenant", placement.Request{Tier: placement.Enterprise}, placement.WhatIf{Drain: []string{"c"}}, "",
			[]string{"the tenant would still land on a dedicated stack in sg (dedicated_tier)", "c would be drained"}},
	} {
		before := placement.Decide(test.request, world)
		c, err := test.what.Decide(test.request, world)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		agree(t, c.Before, before)
		agree(t, placement.Decide(test.request, world), before) // the world is as it was
		var texts []string
		for _, change := range c.Changes {
			texts = append(texts, change.Text)
		}
		if diff := cmp.Diff(test.changes, texts); diff != "" || c.After.SelectedNodeID() != test.want {
			t.Errorf("%s: lands on %q, want %q; changes (-want +got)\n%s", test.name, c.After.SelectedNodeID(), test.want, diff)
		}
		if same := c.After.Snapshot == c.Before.Snapshot; same != (test.name == "nothing" || test.name == "another region" || test.request.Tier.Dedicated()) {
			t.Errorf("%s: the snapshots are the same: %t", test.name, same)
		}
	}
}

func TestWhatIfRefuses(t *testing.T) {
	what := placement.WhatIf{
		Thresholds: &placement.Overrides{MemoryPctMax: new(100.5), MaxTenantsPerNode: new(0), MetricsMaxAge: new("soon")},
		Drain:      []string{"a", "nobody"},
		AddTenants: map[string]int{"a": -4, "b": 1_000_001, "x": 1},
	}
	_, err := what.Decide(placement.Request{}, snapshot(node("a", 50, 3), node("b", 50, 3)))
	var got placement.FieldErrors
	if !errors.As(err, &got) {
		t.Fatalf("error = %v", err)
	}
	want := placement.FieldErrors{
		{"thresholds.memory_pct_max", "100.5", "is no percentage above 0"},
		{"thresholds.max_tenants_per_node", "0", "is not between 1 and 1000000"},
		{"thresholds.metrics_max_age", "soon", "is no duration such as 15m"},
		{"drain[1]", "nobody", "is no node"},
		{"add_tenants.a", "-4", "takes away more than the node's 3"},
		{"add_tenants.b", "1000001", "is not between -1000000 and 1000000"},
		{"add_tenants.x", "1", "is for no node that there is"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("refused (-want +got)\n%s", diff)
	}
	if text := `add_tenants.x "1" is for no node that there is`; got[6:].Error() != text {
		t.Errorf("in words %q, want %q", got[6:].Error(), text)
	}
}

// What an answer leaves out, it says.
func TestAnswerLimit(t *testing.T) {
	var nodes []placement.Node
	var ids []string
	for i := range 30 {
		ids = append(ids, fmt.Sprintf("n-%02d", i))
		nodes = append(nodes, node(ids[i], 50, i))
	}
	c, err := placement.WhatIf{Drain: ids}.Decide(placement.Request{}, snapshot(nodes...))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ limit, candidates, changes int }{{0, 30, 32}, {1, 1, 3}, {20, 20, 22}, {100, 30, 32}} {
		a := c.Answer(test.limit)
		if len(a.Candidates) != test.candidates || len(a.WhatIf.Candidates) != test.candidates || len(a.WhatIf.Changes) != test.changes {
			t.Errorf("limit %d: %d and %d candidates, %d changes, want %+v", test.limit, len(a.Candidates), len(a.WhatIf.Candidates), len(a.WhatIf.Changes), test)
		}
		if a.CandidatesTotal != 30 || a.WhatIf.CandidatesTotal != 30 || a.WhatIf.ChangesTotal != 32 {
			t.Errorf("limit %d: %d and %d in total, %d changes", test.limit, a.CandidatesTotal, a.WhatIf.CandidatesTotal, a.WhatIf.ChangesTotal)
		}
	}
}

// An answer with all its candidates is enough to decide again, at any later time, whatever
// the limits are by then.
func TestReplay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req, s := anyQuestion(t)
		s.Thresholds.DefaultRegion = rapid.SampledFrom(append(placement.Regions(), "")).Draw(t, "default region")
		s.Thresholds.MaxTenantsPerNode = rapid.IntRange(1, 50).Draw(t, "most tenants")
		was := placement.Decide(req, s)
		data, err := json.Marshal(was.Answer(0))
		if err != nil {
			t.Fatal(err)
		}
		again, asked, err := placement.ParseSnapshot(data, placement.DefaultThresholds(), now.Add(time.Hour))
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		is := placement.Decide(asked, again)
		is.Clusters = was.Clusters // of other regions it knows nothing
		got, err := json.Marshal(is.Answer(0))
		if string(got) != string(data) || err != nil {
			t.Fatalf("decided again\n%s, %v, and not\n%s", got, err, data)
		}
	})
}

func TestParseSnapshot(t *testing.T) {
	s, asked, err := placement.ParseSnapshot([]byte(`{"decided_at":"2026-07-01T12:00:00Z","thresholds":{"memory_pct_max":70},"nodes":[
		{"node_id":"a","region":"eu","host":"192.0.2.1","status":"active","memory_pct":50,"tenant_count":3,"metrics_at":"2026-07-01T11:59:00Z"},
		{"node_id":"b","region":"sg","status":"draining","dedicated":true,"tenant_id":"acme"},
		{"node_id":"c","region":"us"}]}`), placement.DefaultThresholds(), time.Time{})
	limits := placement.DefaultThresholds()
	limits.MemoryPctMax = 70
	want := placement.Snapshot{Now: now, Thresholds: limits, Nodes: []placement.Node{
		node("a", 50, 3, in(placement.EU)),
		{ID: "b", Region: placement.SG, Dedicated: true},
		{ID: "c", Region: placement.US, Active: true},
	}}
	if diff := cmp.Diff(want, s); diff != "" || err != nil || asked != (placement.Request{}) {
		t.Errorf("asked %+v, %v, snapshot (-want +got)\n%s", asked, err, diff)
	}
	for _, test := range []struct{ file, want string }{
		{`{}`, `nodes "" are missing, and so are candidates: it is no snapshot`},
		{`[]`, `json: cannot unmarshal array into Go value of type placement.file`},
		{`{"nodes":[]} x`, `invalid character 'x' after top-level value`},
		{`{"nodes":[{"node_id":"a","region":"sg"},{"node_id":"a","region":"mars"},{"region":"sg"}],"thresholds":{"max_tenants_per_node":0,"default_region":"moon"}}`,
			`thresholds.max_tenants_per_node "0" is not between 1 and 1000000; thresholds.default_region "moon" is not sg, us or eu; ` +
				`nodes[1].node_id "a" is there twice; nodes[1].region "mars" is not sg, us or eu; nodes[2].node_id "" is missing`},
		{`{"nodes":[{"node_id":"a\u001b[31m","region":"sg"}]}`, `nodes[0].node_id "a\x1b[31m" holds a character that cannot be printed`},
		{`{"candidates":[{"node_id":"a"}],"candidates_total":30,"plan_tier":"gold"}`,
			`region "" is not sg, us or eu; plan_tier "gold" is not free, basic, professional or enterprise; ` +
				`candidates "1" are not all 30 that were decided on: ask with candidates_limit 0`},
	} {
		if _, _, err := placement.ParseSnapshot([]byte(test.file), placement.DefaultThresholds(), now); err == nil || err.Error() != test.want {
			t.Errorf("ParseSnapshot(%s): %v\nwant %s", test.file, err, test.want)
		}
	}
}

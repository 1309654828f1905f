package server_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

func TestPlacementShapes(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.Now = func() time.Time { return time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC) }
	base, _ := start(t, c)
	_, got := do(t, "POST", base+"/internal/placement/compute", "")
	const none = `{"nodes":0,"eligible":0,"tenants":0,"free_places":0}`
	snapshot := decode[placement.Answer](t, got).Snapshot
	want := `{"placement":{"region":"sg","create_new_server":true,"target_server_id":null,"dedicated":false},"candidates":[],"candidates_total":0,` +
		`"cluster":` + none + `,"clusters":{"eu":` + none + `,"sg":` + none + `,"us":` + none + `},"selected_node_id":null,` +
		`"decision_reason":"no_nodes_in_region","region":"sg",` +
		`"thresholds":{"memory_pct_max":80,"max_tenants_per_node":40,"metrics_max_age":"15m0s","default_region":"sg"},` +
		`"snapshot":"` + snapshot + `","plan_tier":"basic","decided_at":"2026-03-14T15:09:26Z","algorithm":"decidePlacement_unified_v1"}`
	if diff := cmp.Diff(want, strings.TrimSpace(got)); diff != "" || len(snapshot) != 32 {
		t.Errorf("compute (-want +got):\n%s", diff)
	}
	_, got = do(t, "POST", base+"/internal/placement-dry-run", `{"tier":"enterprise","region":"us","tenant_id":"acme"}`)
	want = `{"createNewServer":true,"targetServerId":null,"region":"us","dedicated":true,"decisionReason":"dedicated_tier","algorithm":"decidePlacement_unified_v1"}`
	if diff := cmp.Diff(want, strings.TrimSpace(got)); diff != "" {
		t.Errorf("dry run (-want +got):\n%s", diff)
	}
	_, got = do(t, "GET", base+"/internal/nodes", "")
	if strings.TrimSpace(got) != `{"nodes":[]}` {
		t.Errorf("no nodes: %s", got)
	}
}

// nodes registers n nodes that are eligible, the first with the least memory in use.
func nodes(t *testing.T, cp *controlplane.Client, n int) {
	t.Helper()
	for i := range n {
		id := fmt.Sprintf("n%02d", i)
		must(t, cp.RegisterNode(t.Context(), node(id), provision.Job{}))
		must(t, cp.PushMetrics(t.Context(), controlplane.Metrics{NodeID: id, MemoryPct: new(float64(10 + i)), TenantCount: i}))
	}
}

func TestCandidatesLimit(t *testing.T) {
	t.Parallel()
	base, cp := start(t, config(t))
	nodes(t, cp, 25)
	for body, want := range map[string]int{``: 20, `{}`: 20, `{"candidates_limit":0}`: 25, `{"candidates_limit":3}`: 3, `{"candidates_limit":100}`: 25} {
		_, got := do(t, "POST", base+"/internal/placement/compute", body)
		a := decode[placement.Answer](t, got)
		if len(a.Candidates) != want || a.CandidatesTotal != 25 || a.Candidates[0].NodeID != "n00" {
			t.Errorf("%s: %d candidates of %d, the first %+v; want %d", body, len(a.Candidates), a.CandidatesTotal, a.Candidates[0], want)
		}
	}
	if resp, got := do(t, "POST", base+"/internal/placement/compute", `{"candidates_limit":-1}`); resp.StatusCode != 422 || !strings.Contains(got, "body.candidates_limit") {
		t.Errorf("a negative limit: %d %s", resp.StatusCode, got)
	}
}

// A question about another world is answered with both, and changes nothing.
func TestWhatIf(t *testing.T) {
	t.Parallel()
	base, cp := start(t, config(t))
	nodes(t, cp, 3)
	_, before := do(t, "POST", base+"/internal/placement/compute", "")
	for body, want := range map[string]string{
		`{"drain":["n00"]}`:                                "n01",
		`{"drain":["n00","n01"]}`:                          "n02",
		`{"drain":["n00","n01","n02"]}`:                    "",
		`{"add_tenants":{"n00":40}}`:                       "n01",
		`{"thresholds":{"memory_pct_max":5}}`:              "",
		`{"thresholds":{"max_tenants_per_node":1}}`:        "n00",
		`{"thresholds":{"metrics_max_age":"1ns"}}`:         "",
		`{"add_tenants":{"n00":1},"candidates_limit":1}`:   "n00",
		`{"thresholds":{},"plan_tier":"free","drain":[]}`:  "n00",
		`{"thresholds":{"max_tenants_per_node":1000000 }}`: "n00",
	} {
		resp, got := do(t, "POST", base+"/internal/placement/compute", body)
		a := decode[placement.Answer](t, got)
		if resp.StatusCode != 200 || a.WhatIf == nil || *a.SelectedNodeID != "n00" {
			t.Errorf("%s: %d %s", body, resp.StatusCode, got)
			continue
		}
		selected := ""
		if a.WhatIf.SelectedNodeID != nil {
			selected = *a.WhatIf.SelectedNodeID
		}
		if selected != want || len(a.WhatIf.Changes) == 0 || a.WhatIf.Changes[0].What != "placement" {
			t.Errorf("%s would lead to %q with %+v, want %q", body, selected, a.WhatIf.Changes, want)
		}
	}
	for body, want := range map[string]string{
		`{"drain":["nobody"]}`:                    "body.drain[0]",
		`{"add_tenants":{"n00":-5}}`:              "body.add_tenants.n00",
		`{"thresholds":{"memory_pct_max":101}}`:   "body.thresholds.memory_pct_max",
		`{"thresholds":{"metrics_max_age":"15"}}`: "body.thresholds.metrics_max_age",
		`{"thresholds":{"memory":50}}`:            "body.thresholds.memory",
	} {
		if resp, got := do(t, "POST", base+"/internal/placement/compute", body); resp.StatusCode != 422 || !strings.Contains(got, `"location":"`+want) {
			t.Errorf("%s: %d %s, want %s refused", body, resp.StatusCode, got, want)
		}
	}
	_, after := do(t, "POST", base+"/internal/placement/compute", "")
	if a, b := decode[placement.Answer](t, before), decode[placement.Answer](t, after); a.Snapshot != b.Snapshot {
		t.Errorf("the questions have changed the world: %s\nwas %s", after, before)
	}
}

// An order that expects a snapshot is decided on it, or refused with the decision of now.
func TestExpectedSnapshot(t *testing.T) {
	t.Parallel()
	base, cp := start(t, config(t))
	nodes(t, cp, 2)
	_, got := do(t, "POST", base+"/internal/placement/compute", "")
	seen := decode[placement.Answer](t, got).Snapshot
	order := func(tenant, snapshot string) (int, string) {
		body, err := json.Marshal(map[string]string{"expected_snapshot": snapshot})
		must(t, err)
		resp, got := do(t, "POST", base+"/internal/tenants/"+tenant+"/enqueue-provision", string(body), "Idempotency-Key", tenant)
		return resp.StatusCode, got
	}
	if status, got := order("first", seen); status != 202 {
		t.Fatalf("on the snapshot: %d %s", status, got)
	}
	status, got := order("second", seen) // the first is on its way to a node now
	p := decode[struct {
		Class    provision.Class
		Decision placement.Answer
	}](t, got)
	if status != 409 || p.Class != provision.Conflict || p.Decision.Snapshot == "" || p.Decision.Snapshot == seen || p.Decision.Candidates[0].Tenants != 1 {
		t.Errorf("on an older snapshot: %d %s, want 409 with the decision of now", status, got)
	}
	// The refusal is not what the key stands for.
	resp, got := do(t, "POST", base+"/internal/tenants/second/enqueue-provision",
		`{"expected_snapshot":"`+p.Decision.Snapshot+`"}`, "Idempotency-Key", "second")
	if resp.StatusCode != 202 {
		t.Errorf("on the snapshot of now: %d %s", resp.StatusCode, got)
	}
	if status, got := order("first", seen); status != 202 {
		t.Errorf("the first again: %d %s, want the answer of then", status, got)
	}
}

// Reports that come too late, or are another's, change nothing and say so.
func TestLateReports(t *testing.T) {
	t.Parallel()
	base, cp := start(t, config(t))
	a, err := cp.Enqueue(t.Context(), controlplane.Order{TenantID: "acme"})
	must(t, err)
	report := func(tenant, status, run string, attempt int) (int, bool, string) {
		resp, got := do(t, "POST", base+"/internal/provision-complete", fmt.Sprintf(
			`{"job_id":%q,"tenant_id":%q,"status":%q,"run_url":"https://github.com/o/r/actions/runs/%s","attempt":%d}`, a.JobID, tenant, status, run, attempt))
		o := decode[struct {
			Changed bool
			Why     string
		}](t, got)
		return resp.StatusCode, o.Changed, o.Why
	}
	if status, _, _ := report("birch", "Failed", "7", 1); status != 409 {
		t.Errorf("another tenant's: %d, want 409", status)
	}
	if status, changed, why := report("acme", "Completed", "7", 2); status != 200 || !changed || why != "" {
		t.Errorf("the first: %d %t %q", status, changed, why)
	}
	for _, test := range []struct {
		status, run string
		attempt     int
	}{
		{"Completed", "7", 2}, {"Failed", "7", 2}, {"Failed", "7", 1}, {"Failed", "6", 1}, {"Completed", "8", 1},
	} {
		if status, changed, why := report("acme", test.status, test.run, test.attempt); status != 200 || changed || why == "" {
			t.Errorf("%+v: %d %t %q, want no change, and why", test, status, changed, why)
		}
	}
	if j, err := cp.Job(t.Context(), a.JobID); err != nil || j.Status != provision.JobCompleted {
		t.Errorf("job %+v, %v, want it completed", j, err)
	}
}

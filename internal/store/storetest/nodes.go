package storetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

func nodes(t *testing.T, s store.Store) {
	n := sharedNode("n1")
	n.IPv6, n.DBHost, n.RedisHost = "2001:db8::1", "203.0.113.8", "203.0.113.9"
	if created, err := s.PutNode(t.Context(), n, "job_unknown"); !created || err != nil {
		t.Fatalf("PutNode = %v, %v, want it created", created, err)
	}
	if created, err := s.PutNode(t.Context(), n, "job_unknown"); created || err != nil {
		t.Errorf("PutNode again = %v, %v, want no change", created, err)
	}
	got, err := s.Node(t.Context(), "n1")
	if diff := cmp.Diff(n, got); err != nil || diff != "" {
		t.Errorf("Node: %v (-want +got):\n%s", err, diff)
	}
	for what, change := range map[string]func(*provision.Node){
		"host":   func(n *provision.Node) { n.Host = "203.0.113.99" },
		"region": func(n *provision.Node) { n.Region = placement.EU },
		"tenant": func(n *provision.Node) { n.Dedicated, n.TenantID = true, "acme" },
		"server": func(n *provision.Node) { n.ProviderServerID = "8" },
	} {
		other := n
		change(&other)
		_, err := s.PutNode(t.Context(), other, "")
		wantClass(t, "a node of another "+what, err, provision.Conflict)
	}
	_, err = s.Node(t.Context(), "n2")
	wantClass(t, "an unknown node", err, provision.NotFound)

	mustEnqueue(t, s, order("acme"))
	own := sharedNode("n2")
	own.Dedicated, own.TenantID = true, "other"
	_, err = s.PutNode(t.Context(), own, "job_acme")
	wantClass(t, "a node for another tenant than the job's", err, provision.Conflict)
	own = sharedNode("n2")
	own.Region = placement.US
	_, err = s.PutNode(t.Context(), own, "job_acme")
	wantClass(t, "a node in another region than the job's", err, provision.Conflict)
	if _, err := s.PutNode(t.Context(), sharedNode("n0"), "job_acme"); err != nil {
		t.Fatal(err)
	}
	list, err := s.Nodes(t.Context())
	if err != nil || len(list) != 2 || list[0].ID != "n0" || list[1].ID != "n1" {
		t.Errorf("Nodes = %+v, %v, want n0 and n1", list, err)
	}
}

// drained takes a node out of use and back, which only whoever says so does.
func drained(t *testing.T, s store.Store) {
	mustNode(t, s, "n1")
	set := func(status provision.NodeStatus) {
		t.Helper()
		if err := s.SetNodeStatus(t.Context(), "n1", status, "op", now); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want provision.NodeStatus) {
		t.Helper()
		n, err := s.Node(t.Context(), "n1")
		if active := placed(t, s)["n1"].Active; err != nil || n.Status != want || active != (want == provision.NodeActive) {
			t.Errorf("it is %s, active to placement: %t, %v, want %s", n.Status, active, err, want)
		}
	}
	set(provision.NodeDraining)
	set(provision.NodeDraining)
	check(provision.NodeDraining)
	if created, err := s.PutNode(t.Context(), sharedNode("n1"), ""); created || err != nil {
		t.Errorf("PutNode again = %v, %v, want no change", created, err)
	}
	check(provision.NodeDraining)
	if j := mustEnqueue(t, s, order("acme")); j.TargetServerID != "" {
		t.Errorf("an order went to the drained node: %+v", j)
	}
	set(provision.NodeActive)
	check(provision.NodeActive)
	err := s.SetNodeStatus(t.Context(), "n2", provision.NodeDraining, "op", now)
	wantClass(t, "an unknown node", err, provision.NotFound)
	log, err := s.Audit(t.Context(), "")
	if err != nil || len(log) != 2 || log[0].Actor != "op" || log[0].Action != "node" ||
		string(log[0].Detail) != `{"from":"active","node_id":"n1","to":"draining"}` || !log[0].At.Equal(now) {
		t.Errorf("Audit = %+v, %v, want the two changes", log, err)
	}
}

func metrics(t *testing.T, s store.Store) {
	err := s.PutMetrics(t.Context(), store.Metrics{NodeID: "n1", At: now, Source: "node_push"})
	wantClass(t, "metrics of an unknown node", err, provision.NotFound)
	if _, err := s.PutNode(t.Context(), sharedNode("n1"), ""); err != nil {
		t.Fatal(err)
	}
	full := store.Metrics{NodeID: "n1", CPUPct: new(1.5), MemoryPct: new(0.0), DiskPct: new(100.0), TenantCount: 3,
		Source: "node_push", Snapshot: true, At: now}
	if err := s.PutMetrics(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	want := sharedNode("n1")
	want.CPUPct, want.MemoryPct, want.DiskPct, want.TenantCount, want.MetricsAt = full.CPUPct, full.MemoryPct, full.DiskPct, 3, &now
	got, err := s.Node(t.Context(), "n1")
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Node: %v (-want +got):\n%s", err, diff)
	}
	later := now.Add(time.Minute)
	if err := s.PutMetrics(t.Context(), store.Metrics{NodeID: "n1", CPUPct: new(2.0), Source: "hetzner_api", At: later}); err != nil {
		t.Fatal(err)
	}
	got, err = s.Node(t.Context(), "n1")
	if err != nil || got.MemoryPct != nil || got.DiskPct != nil || *got.CPUPct != 2 || got.TenantCount != 0 || !got.MetricsAt.Equal(later) {
		t.Errorf("Node = %+v, %v, want only what was pushed last", got, err)
	}
}

// placed returns the nodes as placement sees them.
func placed(t *testing.T, s store.Store) map[string]placement.Node {
	t.Helper()
	list := map[string]placement.Node{}
	if err := s.Placement(t.Context(), func(x *placement.Index) {
		for _, n := range x.Nodes() {
			list[n.ID] = n
		}
	}); err != nil {
		t.Fatalf("Placement = %v", err)
	}
	return list
}

func counting(t *testing.T, s store.Store) {
	count := func(what, id string, want int) {
		t.Helper()
		if n := placed(t, s)[id]; n.Tenants != want {
			t.Errorf("%s: %+v, want %d tenants on %s", what, n, want, id)
		}
	}
	mustNode(t, s, "n1")
	want := map[string]placement.Node{"n1": {ID: "n1", Region: placement.SG, Active: true, MemoryPct: new(20.5), MetricsAt: now}}
	if diff := cmp.Diff(want, placed(t, s)); diff != "" {
		t.Errorf("Placement (-want +got):\n%s", diff)
	}

	if j := mustEnqueue(t, s, order("a")); j.TargetServerID != "n1" {
		t.Fatalf("job targets %q, want n1", j.TargetServerID)
	}
	count("a job on its way", "n1", 1)
	done := provision.Completion{JobID: "job_a", TenantID: "a", Status: provision.JobCompleted, NodeID: "n1"}
	if _, _, err := s.Complete(t.Context(), done, now); err != nil {
		t.Fatal(err)
	}
	count("a tenant that has arrived", "n1", 1)
	push := store.Metrics{NodeID: "n1", MemoryPct: new(20.5), TenantCount: 1, Source: "node_push", At: now}
	if err := s.PutMetrics(t.Context(), push); err != nil {
		t.Fatal(err)
	}
	count("the agent counts it too", "n1", 1)

	back := order("a")
	back.JobID, back.Now = "job_a2", now.Add(time.Second)
	if j := mustEnqueue(t, s, back); j.TargetServerID != "n1" {
		t.Fatalf("job targets %q, want n1", j.TargetServerID)
	}
	count("a tenant on its way to where it is", "n1", 1)
	mustEnqueue(t, s, order("b"))
	count("two tenants", "n1", 2)

	full := mustEnqueue(t, s, order("c"))
	if !full.CreateNewServer {
		t.Fatalf("job targets %q, want a new server", full.TargetServerID)
	}
	if _, err := s.PutNode(t.Context(), sharedNode("n2"), full.ID); err != nil {
		t.Fatal(err)
	}
	count("the job that made the node", "n2", 1)
	if err := s.Abandon(t.Context(), "job_b", provision.Errorf(provision.Invalid, "no"), now); err != nil {
		t.Fatal(err)
	}
	count("a job that failed", "n1", 1)
}

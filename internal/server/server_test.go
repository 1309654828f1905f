package server_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/server"
	"github.com/pregoi/provision-tenant/internal/store"
	"github.com/pregoi/provision-tenant/internal/store/sqlite"
)

const key = "a-key-of-more-than-thirty-two-characters"

// config is a server over a store of its own.
func config(t testing.TB) server.Config {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "test.db"), store.Options{Thresholds: placement.DefaultThresholds()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return server.Config{Store: db, Key: key, Domain: "example.com"}
}

func newServer(t testing.TB, c server.Config) *server.Server {
	t.Helper()
	s, err := server.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start serves c, and returns its address and a client for it.
func start(t *testing.T, c server.Config) (string, *controlplane.Client) {
	t.Helper()
	s := httptest.NewServer(newServer(t, c).Handler())
	t.Cleanup(s.Close)
	return s.URL, &controlplane.Client{URL: s.URL, Key: key, HTTP: s.Client(), Pause: time.Millisecond}
}

func node(id string) provision.Node {
	return provision.Node{ID: id, Region: placement.SG, Host: "203.0.113.7", Status: provision.NodeActive,
		Provider: "hetzner", ProviderServerID: "7", IPv6: "2001:db8::7"}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A job from its order to its end, as the action and an operator see it.
func TestJobsLife(t *testing.T) {
	t.Parallel()
	c := config(t)
	_, cp := start(t, c)
	ctx := t.Context()
	a, err := cp.Enqueue(ctx, controlplane.Order{TenantID: "acme-1", Tier: placement.Free, Slug: "acme", TraceID: "trace_abc"})
	must(t, err)
	want := controlplane.Accepted{JobID: a.JobID, TenantID: "acme-1", TraceID: "trace_abc", Status: provision.JobPending, CanonicalHostname: "acme.example.com"}
	if diff := cmp.Diff(want, a); diff != "" || !strings.HasPrefix(a.JobID, "job_") {
		t.Errorf("Enqueue (-want +got):\n%s", diff)
	}
	job, err := cp.Job(ctx, a.JobID)
	must(t, err)
	wantJob := controlplane.Job{ID: a.JobID, TenantID: "acme-1", Status: provision.JobPending, InfraMode: "create_new_server",
		Region: placement.SG, SubdomainSlug: "acme", CanonicalHostname: "acme.example.com", TraceID: "trace_abc",
		PlanTier: placement.Free, DecisionReason: placement.NoNodesInRegion}
	times := cmpopts.IgnoreFields(controlplane.Job{}, "CreatedAt", "UpdatedAt", "StartedAt", "EndedAt")
	if diff := cmp.Diff(wantJob, job, times); diff != "" {
		t.Errorf("Job (-want +got):\n%s", diff)
	}
	if _, err := job.Provision().Message().Job(); err != nil {
		t.Errorf("the job is no job of a message: %v", err)
	}

	tr := controlplane.NewTracer(ctx, cp)
	at := time.Date(2026, 3, 14, 15, 9, 26, 535897932, time.UTC)
	event := provision.Event{ID: "e1", TraceID: "trace_abc", JobID: a.JobID, TenantID: "acme-1", Stage: "resolve_node",
		Status: provision.Skipped, Message: "no target", Attempt: 2, At: at, DurationMS: 5, RunURL: "https://example.com/run"}
	second := event
	second.ID, second.Stage, second.Status, second.At, second.TraceID = "e2", "pulumi_up", provision.Started, at.Add(time.Second), "no trace at all"
	tr.Emit(event)
	tr.Emit(second)
	tr.Emit(event)
	if dropped := tr.Close(ctx); len(dropped) > 0 {
		t.Errorf("dropped %v", dropped)
	}
	second.TraceID = ""
	got, err := cp.Trace(ctx, a.JobID)
	if diff := cmp.Diff([]provision.Event{event, second}, got); err != nil || diff != "" {
		t.Errorf("Trace: %v (-want +got):\n%s", err, diff)
	}
	if job, err = cp.Job(ctx, a.JobID); err != nil || job.Status != provision.JobRunning {
		t.Errorf("after the first event the job is %s, %v", job.Status, err)
	}

	n := node("hz-sg-7")
	must(t, cp.RegisterNode(ctx, n, job.Provision()))
	must(t, cp.RegisterNode(ctx, n, job.Provision()))
	other := n
	other.Host = "203.0.113.8"
	if err := cp.RegisterNode(ctx, other, job.Provision()); provision.ClassOf(err) != provision.Conflict {
		t.Errorf("another node under the id: %v, want a conflict", err)
	}
	have, err := cp.Node(ctx, n.ID)
	if diff := cmp.Diff(n, have, cmpopts.IgnoreFields(n, "CreatedAt")); err != nil || diff != "" || have.CreatedAt.IsZero() {
		t.Errorf("Node: %v (-want +got):\n%s", err, diff)
	}

	done := provision.Completion{JobID: a.JobID, TenantID: "acme-1", Status: provision.JobCompleted, NodeID: n.ID, Host: n.Host,
		Stack: "sg", Hostname: "acme.example.com", RunURL: "https://example.com/run"}
	must(t, cp.Complete(ctx, done))
	first, err := cp.Job(ctx, a.JobID)
	must(t, err)
	must(t, cp.Complete(ctx, done))
	again, err := cp.Job(ctx, a.JobID)
	if diff := cmp.Diff(first, again); err != nil || diff != "" || again.Status != provision.JobCompleted || again.NodeID != n.ID {
		t.Errorf("completed again: %v (-first +again):\n%s", err, diff)
	}
	for class, change := range map[provision.Class]func(*provision.Completion){
		provision.NotFound: func(d *provision.Completion) { d.JobID = "job_other" },
		provision.Conflict: func(d *provision.Completion) { d.TenantID = "other" },
		provision.Invalid:  func(d *provision.Completion) { d.Status = provision.JobRunning },
	} {
		wrong := done
		change(&wrong)
		if err := cp.Complete(ctx, wrong); provision.ClassOf(err) != class {
			t.Errorf("Complete(%+v): %v, want %s", wrong, err, class)
		}
	}
	jobs, err := cp.Jobs(ctx, controlplane.JobFilter{Status: provision.JobCompleted, TenantID: "acme-1", Limit: 5})
	if err != nil || len(jobs) != 1 || jobs[0].ID != a.JobID {
		t.Errorf("Jobs = %v, %v", jobs, err)
	}
	must(t, cp.Ready(ctx))
}

// The second tenant lands on the node of the first, once that has told how it fares.
func TestPlacement(t *testing.T) {
	t.Parallel()
	_, cp := start(t, config(t))
	ctx := t.Context()
	must(t, cp.RegisterNode(ctx, node("n1"), provision.Job{}))
	p, err := cp.Place(ctx, controlplane.Question{TenantID: "acme-1"})
	if err != nil || !p.Placement.CreateNewServer || p.DecisionReason != placement.NoEligibleNode || p.SelectedNodeID != "" {
		t.Errorf("without metrics: %+v, %v", p, err)
	}
	must(t, cp.PushMetrics(ctx, controlplane.Metrics{NodeID: "n1", MemoryPct: new(41.5), CPUPct: new(0.0), TenantCount: 3, SaveSnapshot: true}))
	p, err = cp.Place(ctx, controlplane.Question{TenantID: "acme-1", Region: placement.SG, Tier: placement.Basic})
	must(t, err)
	want := controlplane.Placement{
		Placement:      placement.Result{Region: placement.SG, TargetServerID: "n1"},
		Candidates:     []placement.Candidate{{NodeID: "n1", Eligible: true, Rank: 1, Active: true, MemoryPct: new(41.5), Tenants: 3}},
		Cluster:        placement.Cluster{Nodes: 1, Eligible: 1, Tenants: 3, FreePlaces: 37},
		SelectedNodeID: "n1", DecisionReason: placement.ExistingNodeSelected, Region: placement.SG,
		Algorithm: "decidePlacement_unified_v1", TenantID: "acme-1",
	}
	ignore := cmp.Options{cmpopts.IgnoreFields(controlplane.Placement{}, "JSON", "Thresholds"), cmpopts.IgnoreFields(placement.Candidate{}, "MetricsAt")}
	if diff := cmp.Diff(want, p, ignore); diff != "" {
		t.Errorf("Place (-want +got):\n%s", diff)
	}
	if th := p.Thresholds; th.MemoryPctMax != 80 || th.MaxTenantsPerNode != 40 || th.MetricsMaxAge != "15m0s" || th.DefaultRegion != placement.SG {
		t.Errorf("thresholds %+v, want the defaults", th)
	}
	a, err := cp.Enqueue(ctx, controlplane.Order{TenantID: "acme-1"})
	must(t, err)
	job, err := cp.Job(ctx, a.JobID)
	if err != nil || job.TargetServerID != "n1" || job.InfraMode != "use_existing" || job.Dedicated != nil {
		t.Errorf("job %+v, %v, want it on n1", job, err)
	}
	if p, err = cp.Place(ctx, controlplane.Question{}); err != nil || p.Candidates[0].Tenants != 4 {
		t.Errorf("with a job on its way: %+v, %v, want 4 tenants", p.Candidates, err)
	}
	a, err = cp.Enqueue(ctx, controlplane.Order{TenantID: "big", Tier: placement.Enterprise, Region: placement.EU})
	must(t, err)
	job, err = cp.Job(ctx, a.JobID)
	if err != nil || job.Dedicated == nil || *job.Dedicated != 1 || job.InfraMode != "create_new_server" || job.Region != placement.EU || job.DecisionReason != placement.DedicatedTier {
		t.Errorf("job %+v, %v, want a dedicated one", job, err)
	}
	if err := cp.PushMetrics(ctx, controlplane.Metrics{NodeID: "n2"}); provision.ClassOf(err) != provision.NotFound {
		t.Errorf("metrics of an unknown node: %v", err)
	}
	nodes, err := cp.Nodes(ctx)
	if err != nil || len(nodes) != 1 || nodes[0].MetricsAt == nil || *nodes[0].MemoryPct != 41.5 || nodes[0].DiskPct != nil {
		t.Errorf("Nodes = %+v, %v", nodes, err)
	}
}

// A tenant that comes again stays on its node, also when another has more room.
func TestTenantStaysWhereItIs(t *testing.T) {
	t.Parallel()
	_, cp := start(t, config(t))
	ctx := t.Context()
	for id, memory := range map[string]float64{"home": 70, "away": 10} {
		n := node(id)
		n.Region = placement.EU
		must(t, cp.RegisterNode(ctx, n, provision.Job{}))
		must(t, cp.PushMetrics(ctx, controlplane.Metrics{NodeID: id, MemoryPct: &memory}))
	}
	a, err := cp.Enqueue(ctx, controlplane.Order{TenantID: "acme-1", Region: placement.EU})
	must(t, err)
	must(t, cp.Complete(ctx, provision.Completion{JobID: a.JobID, TenantID: "acme-1", Status: provision.JobCompleted, NodeID: "home"}))
	a, err = cp.Enqueue(ctx, controlplane.Order{TenantID: "acme-1"})
	must(t, err)
	if job, err := cp.Job(ctx, a.JobID); err != nil || job.TargetServerID != "home" || job.Region != placement.EU {
		t.Errorf("job %+v, %v, want it at home in eu", job, err)
	}
}

// do sends a request as it stands.
func do(t *testing.T, method, url, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+key)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header[http.CanonicalHeaderKey(header[i])] = nil
		for v := range strings.SplitSeq(header[i+1], "\n") {
			if v != "" {
				req.Header.Add(header[i], v)
			}
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	must(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp, string(data)
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	base, cp := start(t, config(t))
	url := base + "/internal/tenants/acme-1/enqueue-provision"
	first, want := do(t, "POST", url, `{"plan_tier":"free","anything":{"else":1}}`, "Idempotency-Key", "k1")
	if first.StatusCode != 202 || first.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s", first.StatusCode, want)
	}
	if again, got := do(t, "POST", url, `{ "plan_tier": "free" }`, "Idempotency-Key", "k1"); again.StatusCode != 202 || got != want {
		t.Errorf("again: %d %s, want the same bytes %s", again.StatusCode, got, want)
	}
	for what, test := range map[string]struct {
		path, body, key string
		status          int
	}{
		"another body":            {"/internal/tenants/acme-1/enqueue-provision", `{"plan_tier":"basic"}`, "k1", 422},
		"another tenant":          {"/internal/tenants/acme-2/enqueue-provision", `{"plan_tier":"free"}`, "k1", 422},
		"another route":           {"/v1/tenants", `{"tenant_id":"acme-3","subdomain_slug":"acme3"}`, "k1", 202},
		"another key, same order": {"/internal/tenants/acme-1/enqueue-provision", `{"plan_tier":"free"}`, "k2", 409},
		"a key that is none":      {"/internal/tenants/acme-4/enqueue-provision", `{}`, "a b", 422},
	} {
		if resp, got := do(t, "POST", base+test.path, test.body, "Idempotency-Key", test.key); resp.StatusCode != test.status {
			t.Errorf("%s: %d %s, want %d", what, resp.StatusCode, got, test.status)
		}
	}
	if jobs, err := cp.Jobs(t.Context(), controlplane.JobFilter{}); err != nil || len(jobs) != 2 {
		t.Errorf("%d jobs, %v, want 2", len(jobs), err)
	}
	_, conflict := do(t, "POST", url, "")
	var p struct {
		Job controlplane.Job `json:"job"`
	}
	if err := json.Unmarshal([]byte(conflict), &p); err != nil || !strings.Contains(want, p.Job.ID) || p.Job.ID == "" {
		t.Errorf("a second order is told %s, %v, want the job", conflict, err)
	}
}

func TestSlugs(t *testing.T) {
	t.Parallel()
	base, _ := start(t, config(t))
	if resp, got := do(t, "POST", base+"/v1/tenants", `{"subdomain_slug":"taken","company_name":"Acme"}`); resp.StatusCode != 202 || !strings.Contains(got, `"tenant_id":"tenant-`) {
		t.Errorf("a new tenant: %d %s", resp.StatusCode, got)
	}
	for slug, want := range map[string]string{
		"free-1": "", "abc": "", strings.Repeat("a", 40): "",
		"taken": "is taken", "www": "is reserved", "admin": "is reserved",
		"ab": "must be 3 to 40", "": "must be 3 to 40", strings.Repeat("a", 41): "must be 3 to 40", "Acme": "must be 3 to 40",
		"-abc": "must be 3 to 40", "abc-": "must be 3 to 40", "a.b": "must be 3 to 40", "_acme-challenge": "must be 3 to 40",
		"xn--abc": "internationalised", "ab--c": "internationalised", "аcme": "must be 3 to 40",
	} {
		resp, got := do(t, "GET", base+"/v1/subdomain/check?slug="+slug, "", "Authorization", "")
		if slug == "" {
			if resp.StatusCode != 422 {
				t.Errorf("no slug: %d %s", resp.StatusCode, got)
			}
			continue
		}
		var a struct {
			Slug, Reason string
			Available    bool
		}
		must(t, json.Unmarshal([]byte(got), &a))
		if a.Slug != slug || a.Available != (want == "") || !strings.Contains(a.Reason, want) {
			t.Errorf("check of %q: %s, want %q", slug, got, want)
		}
		body, err := json.Marshal(map[string]string{"subdomain_slug": slug})
		must(t, err)
		resp, got = do(t, "POST", base+"/v1/tenants", string(body))
		status := map[bool]int{true: 202, false: 422}[want == ""]
		if slug == "taken" {
			status = 409
		}
		if resp.StatusCode != status {
			t.Errorf("tenant with %q: %d %s, want %d", slug, resp.StatusCode, got, status)
		}
	}
}

// A tenant without a slug gets one that follows from its id.
func TestDerivedSlugs(t *testing.T) {
	t.Parallel()
	_, cp := start(t, config(t))
	for _, test := range []struct{ tenant, want string }{
		{"9f8e7d6c-1111-2222", "tenant-9f8e7d6c.example.com"},
		{"9f8e7d6c-3333-4444", "tenant-9f8e7d6c-"}, // the first eight are another's
		{"tenant_ACME-corp-int", "tenant-acmecorp.example.com"},
		{"x", "tenant-x.example.com"},
		{"tenant", "tenant-"},
	} {
		a, err := cp.Enqueue(t.Context(), controlplane.Order{TenantID: test.tenant})
		if err != nil || !strings.HasPrefix(a.CanonicalHostname, test.want) {
			t.Errorf("hostname of %s: %s, %v, want %s", test.tenant, a.CanonicalHostname, err, test.want)
		}
		if err := provision.CheckHostname(a.CanonicalHostname, "example.com", nil); err != nil {
			t.Error(err)
		}
	}
}

// The public view tells where a job is, and no addresses.
func TestProgress(t *testing.T) {
	t.Parallel()
	base, cp := start(t, config(t))
	ctx := context.WithoutCancel(t.Context())
	a, err := cp.Enqueue(ctx, controlplane.Order{TenantID: "acme-1"})
	must(t, err)
	at := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	view := func() string {
		t.Helper()
		resp, got := do(t, "GET", base+"/v1/jobs/"+a.JobID, "", "Authorization", "")
		if resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, got)
		}
		return strings.TrimSpace(got)
	}
	want := `{"job_id":"` + a.JobID + `","tenant_id":"acme-1","status":"Pending","provision_ui_current_label":"Waiting","steps":[]}`
	if got := view(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	must(t, cp.PostEvents(ctx, []provision.Event{
		{ID: "1", JobID: a.JobID, TenantID: "acme-1", Stage: "resolve_node", Status: provision.Started, At: at},
		{ID: "2", JobID: a.JobID, TenantID: "acme-1", Stage: "resolve_node", Status: provision.Skipped, At: at.Add(time.Second), Message: "203.0.113.7"},
		{ID: "3", JobID: a.JobID, TenantID: "acme-1", Stage: "pulumi_up", Status: provision.Started, At: at.Add(2 * time.Second)},
		{ID: "3/1", JobID: a.JobID, TenantID: "acme-1", Stage: "pulumi_up", Status: provision.Started, At: at.Add(3 * time.Second), DurationMS: 1000, Message: "of one server"},
	}))
	want = `{"job_id":"` + a.JobID + `","tenant_id":"acme-1","status":"Running","provision_ui_current_label":"Create server","steps":[` +
		`{"stage":"resolve_node","label":"Check resource","status":"skipped","at":"2026-03-14T15:09:27Z"},` +
		`{"stage":"pulumi_up","label":"Create server","status":"started","at":"2026-03-14T15:09:28Z"}]}`
	if got := view(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	must(t, cp.Complete(ctx, provision.Completion{JobID: a.JobID, TenantID: "acme-1", Status: provision.JobFailed,
		Error: "acme.pregoi.com has a record of tenant=birch-2", ErrorClass: provision.Conflict}))
	// What went wrong is told, but not with whom.
	if got := view(); !strings.Contains(got, `"status":"Failed"`) || !strings.Contains(got, "belongs to another") || strings.Contains(got, "birch-2") {
		t.Errorf("got %s", got)
	}
}

package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// What an operator makes of a node stays, however often its run registers it.
func TestNodeStatus(t *testing.T) {
	t.Parallel()
	c := config(t)
	base, cp := start(t, c)
	ctx := t.Context()
	made := provision.Job{ID: "job_made", TenantID: "acme"}
	must(t, cp.RegisterNode(ctx, node("n1"), made))
	check := func(what string, want provision.NodeStatus) {
		t.Helper()
		if n, err := cp.Node(ctx, "n1"); err != nil || n.Status != want {
			t.Errorf("%s: it is %s, %v, want %s", what, n.Status, err, want)
		}
	}
	set := func(status provision.NodeStatus) {
		t.Helper()
		if n, err := cp.SetNodeStatus(ctx, "n1", status); err != nil || n.Status != status {
			t.Errorf("SetNodeStatus(%s) = %s, %v", status, n.Status, err)
		}
	}
	set(provision.NodeDraining)
	must(t, cp.RegisterNode(ctx, node("n1"), made))
	check("registered again by its run", provision.NodeDraining)
	body := `{"node_id":"n1","region":"sg","host":"203.0.113.7","provider_server_id":"7"%s}`
	for what, more := range map[string]string{
		"without a status":           "",
		"with an empty one":          `,"job_id":""`,
		"with one, by another's run": `,"status":"active","job_id":"job_other"`,
	} {
		if resp, got := do(t, "POST", base+"/internal/nodes", fmt.Sprintf(body, more)); resp.StatusCode != 200 || !strings.Contains(got, `"status":"draining"`) {
			t.Errorf("%s: %d %s", what, resp.StatusCode, got)
		}
	}
	if p, err := cp.Place(ctx, controlplane.Question{}); err != nil || p.Candidates[0].Active || p.SelectedNodeID != "" {
		t.Errorf("Place = %+v, %v, want the node not active", p, err)
	}
	set(provision.NodeDisabled)
	set(provision.NodeActive)
	draining := node("n1")
	draining.Status = provision.NodeDraining
	must(t, cp.RegisterNode(ctx, draining, made))
	check("drained by a run", provision.NodeActive)
	other := strings.Replace(fmt.Sprintf(body, `,"status":"draining"`), "203.0.113.7", "203.0.113.8", 1)
	if resp, got := do(t, "POST", base+"/internal/nodes", other); resp.StatusCode != 409 {
		t.Errorf("another node under the id: %d %s, want 409", resp.StatusCode, got)
	}
	check("another node under the id", provision.NodeActive)
	if _, err := cp.SetNodeStatus(ctx, "n2", provision.NodeDraining); provision.ClassOf(err) != provision.NotFound {
		t.Errorf("an unknown node: %v", err)
	}
	log, err := c.Store.Audit(ctx, "")
	if err != nil || len(log) != 3 || log[0].Actor != "internal" {
		t.Errorf("Audit = %+v, %v, want three changes", log, err)
	}
}

// Of two that register a node at once, one has made it; of two different ones, one is told so.
func TestNodeRace(t *testing.T) {
	t.Parallel()
	base, _ := start(t, config(t))
	for round, hosts := range [][]string{{"203.0.113.1", "203.0.113.1"}, {"203.0.113.1", "203.0.113.2"}} {
		statuses := make([]int, 16)
		var wg sync.WaitGroup
		for i := range statuses {
			wg.Go(func() {
				resp, _ := do(t, "POST", base+"/internal/nodes", fmt.Sprintf(`{"node_id":"n%d","region":%q,"host":%q}`, round, placement.SG, hosts[i%2]))
				statuses[i] = resp.StatusCode
			})
		}
		wg.Wait()
		n := map[int]int{}
		for _, s := range statuses {
			n[s]++
		}
		want := map[int]int{http.StatusCreated: 1, http.StatusOK: 15}
		if round == 1 {
			want = map[int]int{http.StatusCreated: 1, http.StatusOK: 7, http.StatusConflict: 8}
		}
		if fmt.Sprint(n) != fmt.Sprint(want) {
			t.Errorf("hosts %v: answers %v, want %v", hosts, n, want)
		}
	}
}

// A run that has lost its way sends events without end: no answer holds all of them.
func TestManyEvents(t *testing.T) {
	t.Parallel()
	base, cp := start(t, config(t))
	ctx := t.Context()
	a, err := cp.Enqueue(ctx, controlplane.Order{TenantID: "acme-1"})
	must(t, err)
	const batches, size = 30, 100
	for i := range batches {
		list := make([]provision.Event, size)
		for k := range list {
			n := i*size + k
			list[k] = provision.Event{ID: fmt.Sprint(n), JobID: a.JobID, TraceID: a.TraceID, TenantID: "acme-1", Stage: "pulumi_up",
				Status: provision.Started, Message: strings.Repeat("x", 1000), Attempt: 1, At: now().AddDate(0, 0, n)}
			if n == batches*size-1 {
				list[k].Stage = "tenant_dns"
			}
		}
		must(t, cp.PostEvents(ctx, list))
	}
	for _, path := range []string{"/internal/trace/" + a.TraceID, "/internal/provision-trace-detail?job_id=" + a.JobID} {
		_, got := do(t, "GET", base+path, "")
		page := decode[struct {
			Events []provision.Event
			Total  int
		}](t, got)
		if len(page.Events) != 1000 || page.Total != batches*size || page.Events[999].ID != "999" {
			t.Errorf("GET %s: %d events of %d", path, len(page.Events), page.Total)
		}
	}
	_, got := do(t, "GET", base+"/internal/trace/"+a.TraceID+"?limit=2&offset=2998", "")
	if !strings.Contains(got, `"event_id":"2998"`) || !strings.Contains(got, `"event_id":"2999"`) || strings.Contains(got, `"event_id":"2997"`) {
		t.Errorf("the last two: %s", got)
	}
	list, err := cp.Trace(ctx, a.JobID)
	if err != nil || len(list) != batches*size || list[2999].ID != "2999" {
		t.Errorf("Trace = %d events, %v, want all", len(list), err)
	}
	if _, got := do(t, "GET", base+"/v1/jobs/"+a.JobID, "", "Authorization", ""); !strings.Contains(got, `"provision_ui_current_label":"Set up address"`) {
		t.Errorf("progress: %s", got)
	}
}

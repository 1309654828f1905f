package server_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/contract"
)

// Every route answers as /openapi.json says, what it takes and what it refuses; and every
// route that is there is asked. Not parallel, since the document is given by a variable.
func TestOpenAPI(t *testing.T) {
	c := config(t)
	c.StripeSecret, c.PublicPerMinute = secret, -1
	h := newServer(t, c).Handler()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/openapi-3.0.json", nil))
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "controlplane.json"), w.Body.Bytes(), 0o600))
	t.Setenv("CONTRACTS", dir)

	var mu sync.Mutex
	asked := map[string]bool{}
	checked := contract.Handler(t, "controlplane.json", "", h)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		checked.ServeHTTP(w, r)
		mu.Lock()
		defer mu.Unlock()
		asked[r.Method+" "+r.URL.Path] = true
	}))
	defer s.Close()
	ask := func(status int, method, path, body string, header ...string) string {
		t.Helper()
		resp, got := do(t, method, s.URL+path, body, header...)
		if resp.StatusCode != status {
			t.Errorf("%s %s %s: %d %s, want %d", method, path, body, resp.StatusCode, got, status)
		}
		return got
	}
	const internal = "/internal/"
	ask(200, "GET", "/healthz", "")
	ask(200, "GET", "/readyz", "")
	ask(200, "GET", "/metrics", "")
	ask(200, "POST", internal+"placement/compute", "")
	ask(201, "POST", internal+"nodes", `{"node_id":"n1","region":"sg","host":"203.0.113.7","provider_server_id":"7"}`)
	ask(200, "POST", internal+"nodes", `{"node_id":"n1","region":"sg","host":"203.0.113.7","provider_server_id":"7"}`)
	ask(200, "POST", internal+"nodes", `{"node_id":"n1","region":"sg","host":"203.0.113.7","provider_server_id":"7","status":"draining"}`)
	ask(200, "POST", internal+"nodes", `{"node_id":"n1","region":"sg","host":"203.0.113.7","provider_server_id":"7","status":"active"}`)
	ask(409, "POST", internal+"nodes", `{"node_id":"n1","region":"eu","host":"203.0.113.8"}`)
	ask(200, "POST", internal+"server-metrics", `{"node_id":"n1","memory_pct":41,"cpu_pct":null}`)
	ask(200, "GET", internal+"nodes", "")
	ask(200, "GET", internal+"nodes/n1", "")
	ask(404, "GET", internal+"nodes/n2", "")
	ask(401, "GET", internal+"nodes", "", "Authorization", "")
	ask(200, "POST", internal+"placement/compute", `{"tier":"free","region":"sg","tenant_id":"x","candidates_limit":0}`)
	ask(200, "POST", internal+"placement/compute", `{"drain":["n1"],"thresholds":{"memory_pct_max":50},"add_tenants":{"n1":2}}`)
	ask(200, "POST", internal+"placement-dry-run", `{"tier":"free"}`)
	ask(202, "POST", "/v1/tenants", `{"subdomain_slug":"acme","tenant_id":"acme-1","utm":"x"}`, "Idempotency-Key", "k")
	ask(202, "POST", "/v1/tenants", `{"subdomain_slug":"acme","tenant_id":"acme-1"}`, "Idempotency-Key", "k")
	ask(403, "POST", "/v1/tenants", `{"subdomain_slug":"paid","plan_tier":"enterprise"}`, "Authorization", "")
	ask(409, "POST", internal+"tenants/acme-1/enqueue-provision", `{}`)
	ask(409, "POST", internal+"tenants/birch-2/enqueue-provision", `{"expected_snapshot":"x"}`)
	a := decode[struct {
		JobID string `json:"job_id"`
	}](t, ask(202, "POST", internal+"tenants/birch-2/enqueue-provision", ``))
	ask(200, "POST", "/webhooks/stripe", checkout("cs_1", `{"subdomain_slug":"cedar"}`), "Stripe-Signature",
		sign(secret, now(), []byte(checkout("cs_1", `{"subdomain_slug":"cedar"}`))))
	ask(200, "POST", "/webhooks/stripe", checkout("cs_2", `{}`), "Stripe-Signature", sign(secret, now(), []byte(checkout("cs_2", `{}`))))
	ask(400, "POST", "/webhooks/stripe", `{}`, "Stripe-Signature", "t=1,v1=00")
	ask(200, "GET", "/v1/subdomain/check?slug=acme", "")
	ask(200, "POST", internal+"trace-events", `{"event_id":"e","job_id":"`+a.JobID+`","tenant_id":"birch-2","trace_id":"trace_1","stage":"pulumi_up","status":"started","at":"2026-03-14T15:09:26Z","attempt":1}`)
	ask(200, "GET", "/v1/jobs/"+a.JobID, "")
	ask(200, "GET", internal+"trace/trace_1", "")
	ask(200, "GET", internal+"provision-trace-detail?job_id="+a.JobID, "")
	ask(200, "GET", internal+"provision-trace-detail?limit=1&offset=1&job_id="+a.JobID, "")
	ask(200, "POST", internal+"provision-complete", `{"job_id":"`+a.JobID+`","tenant_id":"birch-2","status":"Failed","error":"no","error_class":"`+string(provision.NoCapacity)+`"}`)
	ask(200, "POST", internal+"provision-complete", `{"job_id":"`+a.JobID+`","tenant_id":"birch-2","status":"Completed"}`)
	ask(200, "GET", internal+"provision-jobs/"+a.JobID, "")
	ask(202, "POST", internal+"provision-jobs/"+a.JobID+"/retry", "")
	ask(409, "POST", internal+"provision-jobs/"+a.JobID+"/retry", "")
	ask(200, "GET", internal+"provision-jobs?status=Pending&limit=2", "")

	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	must(t, json.Unmarshal(w.Body.Bytes(), &doc))
	var missed []string
	for path, methods := range doc.Paths {
		for method := range methods {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(asked)), func(have string) bool {
				return matches(strings.ToUpper(method)+" "+path, have)
			}) {
				missed = append(missed, method+" "+path)
			}
		}
	}
	if diff := cmp.Diff([]string(nil), missed); diff != "" {
		t.Errorf("routes that nobody asked:\n%s", diff)
	}
}

// matches reports whether a path is one of the route's.
func matches(route, path string) bool {
	r, p := strings.Split(route, "/"), strings.Split(path, "/")
	return slices.EqualFunc(r, p, func(r, p string) bool { return r == p || strings.HasPrefix(r, "{") })
}

package server_test

import (
	"net/http"
	"strings"
	"testing"
)

// fuzz sends every body to the route: none may make the server fail.
func fuzz(f *testing.F, path string, seeds ...string) {
	for _, seed := range append(seeds, "", "{}", "[]", "null", `{"region":"eu","x":`) {
		f.Add([]byte(seed))
	}
	c := config(f)
	c.PublicPerMinute, c.StripeSecret = -1, secret
	h := newServer(f, c).Handler()
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := http.NewRequest("POST", "http://127.0.0.1"+path, strings.NewReader(string(body)))
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+key)
		req.Header.Set("Content-Type", "application/json")
		if path == "/webhooks/stripe" {
			req.Header.Set("Stripe-Signature", sign(secret, now(), body))
		}
		w := &recorder{header: http.Header{}, status: 200}
		h.ServeHTTP(w, req)
		if w.status >= 500 {
			t.Errorf("POST %s %q: %d", path, body, w.status)
		}
	})
}

func FuzzNodes(f *testing.F) {
	fuzz(f, "/internal/nodes", `{"node_id":"n1","region":"sg","host":"::1"}`, `{"node_id":"n1","region":"sg","host":"é","ipv6":"::"}`)
}

func FuzzServerMetrics(f *testing.F) {
	fuzz(f, "/internal/server-metrics", `{"node_id":"n1","memory_pct":null}`, `{"node_id":"n1","memory_pct":1e-320}`)
}

func FuzzTraceEvents(f *testing.F) {
	fuzz(f, "/internal/trace-events", `{"events":[{"event_id":"1","at":"0001-01-01T00:00:00Z"}]}`,
		`{"event_id":"1","job_id":"j","tenant_id":"t","stage":"s","status":"failed","at":"2199-01-01T00:00:00+23:59"}`)
}

func FuzzProvisionComplete(f *testing.F) {
	fuzz(f, "/internal/provision-complete", `{"job_id":"j","tenant_id":"t","status":"Failed","attempt":2}`)
}

func FuzzPlacementCompute(f *testing.F) {
	fuzz(f, "/internal/placement/compute", `{"tier":"free","candidates_limit":0}`,
		`{"thresholds":{"memory_pct_max":1e308,"metrics_max_age":"-1h"},"drain":["n1",""],"add_tenants":{"n1":-1,"":9223372036854775807}}`)
}

func FuzzPlacementDryRun(f *testing.F) {
	fuzz(f, "/internal/placement-dry-run", `{"tier":"free"}`)
}

func FuzzEnqueueProvision(f *testing.F) {
	fuzz(f, "/internal/tenants/acme/enqueue-provision", `{"subdomain_slug":"abc","expected_snapshot":"0"}`)
}

func FuzzTenants(f *testing.F) {
	fuzz(f, "/v1/tenants", `{"subdomain_slug":"abc","tenant_id":"x"}`, `{"subdomain_slug":"é","region":"eu"}`)
}

func FuzzRetry(f *testing.F) {
	fuzz(f, "/internal/provision-jobs/job_x/retry")
}

func FuzzStripe(f *testing.F) {
	fuzz(f, "/webhooks/stripe", checkout("cs_1", `{"subdomain_slug":"abc"}`),
		`{"id":"evt_1","object":"event","type":"checkout.session.completed","data":{"object":{"id":1}}}`, `{"type":"x","data":null}`)
}

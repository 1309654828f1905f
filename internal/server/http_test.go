package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/server"
	"github.com/pregoi/provision-tenant/internal/store"
)

func TestAuth(t *testing.T) {
	t.Parallel()
	base, _ := start(t, config(t))
	for _, test := range []struct {
		header string
		want   int
	}{
		{"Bearer " + key, 200},
		{"", 401},
		{"Bearer ", 401},
		{"Bearer", 401},
		{key, 401},
		{"bearer " + key, 401},
		{"Bearer  " + key, 401},
		{"Bearer\t" + key, 401},
		{"Bearer " + key + ",Bearer " + key, 401},
		{"Bearer " + key + "\nBearer " + key, 401}, // two headers
		{"Bearer " + key[:len(key)-1], 401},
		{"Bearer " + key + "x", 401},
		{"Basic " + key, 401},
	} {
		resp, got := do(t, "GET", base+"/internal/nodes", "", "Authorization", test.header)
		if resp.StatusCode != test.want {
			t.Errorf("Authorization %q: %d %s, want %d", test.header, resp.StatusCode, got, test.want)
		}
		if test.want == 401 && (resp.Header.Get("WWW-Authenticate") == "" || resp.Header.Get("Content-Type") != "application/problem+json" || strings.Contains(got, key)) {
			t.Errorf("Authorization %q: %v %s", test.header, resp.Header, got)
		}
	}
}

// Every internal route asks for the key before it reads anything, whoever adds it.
func TestEveryInternalRouteIsClosed(t *testing.T) {
	t.Parallel()
	base, _ := start(t, config(t))
	var api struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	_, doc := do(t, "GET", base+"/openapi.json", "", "Authorization", "")
	must(t, json.Unmarshal([]byte(doc), &api))
	var routes []string
	for path, methods := range api.Paths {
		for method := range methods {
			method = strings.ToUpper(method)
			routes = append(routes, method+" "+path)
			open := !strings.HasPrefix(path, "/internal/")
			url := base + strings.NewReplacer("{", "", "}", "").Replace(path)
			resp, _ := do(t, method, url, "", "Authorization", "")
			if (resp.StatusCode == 401) == open {
				t.Errorf("%s %s without a key: %d", method, path, resp.StatusCode)
			}
		}
	}
	slices.Sort(routes)
	want := []string{
		"GET /healthz",
		"GET /internal/nodes",
		"GET /internal/nodes/{node_id}",
		"GET /internal/provision-jobs",
		"GET /internal/provision-jobs/{job_id}",
		"GET /internal/provision-trace-detail",
		"GET /internal/trace/{trace_id}",
		"GET /metrics",
		"GET /readyz",
		"GET /v1/jobs/{job_id}",
		"GET /v1/subdomain/check",
		"POST /internal/nodes",
		"POST /internal/placement-dry-run",
		"POST /internal/placement/compute",
		"POST /internal/provision-complete",
		"POST /internal/provision-jobs/{job_id}/retry",
		"POST /internal/server-metrics",
		"POST /internal/tenants/{tenant_id}/enqueue-provision",
		"POST /internal/trace-events",
		"POST /v1/tenants",
		"POST /webhooks/stripe",
	}
	if diff := cmp.Diff(want, routes); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	if resp, got := do(t, "GET", base+"/docs", "", "Authorization", ""); resp.StatusCode != 200 || !strings.Contains(got, "openapi") {
		t.Errorf("docs: %d %s", resp.StatusCode, got)
	}
}

// What is checked of a body is what is taken of it, also where it says something twice.
func TestTwice(t *testing.T) {
	t.Parallel()
	base, _ := start(t, config(t))
	for _, test := range []struct {
		body string
		want int
	}{
		{`{"subdomain_slug":"acme","tenant_id":"good","TENANT_ID":"no good"}`, 400},
		{`{"subdomain_slug":"acme","tenant_id":"no good","tenant_id":"good"}`, 400},
		{`{"subdomain_slug":"acme","plan_tier":"free","PLAN_TIER":"gold"}`, 400},
		{`{"subdomain_slug":"acme","\u0074enant_id":"good","tenant_id":"no good"}`, 400},
		{`{"subdomain_slug":"acme","tenant_id":"good","tenant_İd":"other"}`, 202},
		{`{"ſubdomain_slug":"-","subdomain_slug":"acmf"}`, 400},
		{`{"subdomain_slug":"birch","company_name":"\":\\","x":{"a":{"b":[{"c":":"}]}}}`, 202},
		{`{"SUBDOMAIN_SLUG":"cedar"}`, 202},
	} {
		if resp, got := do(t, "POST", base+"/v1/tenants", test.body); resp.StatusCode != test.want {
			t.Errorf("%s: %d %s, want %d", test.body, resp.StatusCode, got, test.want)
		}
	}
	events := `{"events":[{"event_id":"1","EVENT_ID":"2","job_id":"j","tenant_id":"t","stage":"s","status":"failed","at":"2026-01-01T00:00:00Z"}]}`
	if resp, got := do(t, "POST", base+"/internal/trace-events", events); resp.StatusCode != 400 {
		t.Errorf("%s: %d %s, want 400", events, resp.StatusCode, got)
	}
}

// One answer names every field that is wrong.
func TestProblems(t *testing.T) {
	t.Parallel()
	base, _ := start(t, config(t))
	const internal = "/internal/"
	for _, test := range []struct {
		method, path, body string
		status             int
		wrong              []string // locations
	}{
		{"POST", internal + "nodes", `{"node_id":"../x","region":"mars","host":"1.2.3.4"}`, 422, []string{"body.node_id", "body.region"}},
		{"POST", internal + "nodes", `{"node_id":"n","region":"sg","host":"no host","db_host":"a b","dedicated":true}`, 422, []string{"body.host", "body.db_host", "body.tenant_id"}},
		{"POST", internal + "nodes", `{}`, 422, []string{"body", "body", "body"}}, // three are required
		{"POST", internal + "server-metrics", `{"node_id":"n","cpu_pct":-1,"memory_pct":100.5,"disk_pct":"x"}`, 422, []string{"body.cpu_pct", "body.memory_pct", "body.disk_pct"}},
		{"POST", internal + "server-metrics", `{"node_id":"n","cpu_pct":NaN}`, 400, []string{"body"}},
		{"POST", internal + "server-metrics", `{"node_id":"n","memory_pct":1e999}`, 400, []string{"body"}},
		{"POST", internal + "trace-events", `{"events":[{},{"event_id":"e","job_id":"j","tenant_id":"t","stage":"s","status":"started"}]}`, 422,
			[]string{"body.events[0].event_id", "body.events[0].job_id", "body.events[0].tenant_id", "body.events[0].stage", "body.events[0].status", "body.events[0].at", "body.events[1].at"}},
		{"POST", internal + "provision-complete", `{"job_id":"","tenant_id":"t","status":"Done"}`, 422, []string{"body.job_id", "body.status"}},
		{"POST", internal + "placement/compute", `{"tier":"gold","region":"moon","x":1}`, 422, []string{"body.tier", "body.region", "body.x"}},
		{"POST", internal + "placement/compute", `{"tier":"free","plan_tier":"basic"}`, 422, []string{"body.tier"}},
		{"POST", internal + "tenants/a%20b/enqueue-provision", `{"plan_tier":"gold"}`, 422, []string{"path.tenant_id", "body.plan_tier"}},
		{"GET", internal + "provision-jobs?limit=0&status=done", "", 422, []string{"query.limit", "query.status"}},
		{"GET", internal + "provision-trace-detail", "", 422, nil},
		{"GET", internal + "provision-trace-detail?job_id=nobody", "", 404, nil},
		{"GET", internal + "nodes/nobody", "", 404, nil},
		{"POST", internal + "nodes", `{"node_id":"` + strings.Repeat("x", 70<<10) + `"}`, 413, nil},
		{"POST", internal + "nodes", `<xml/>`, 400, []string{"body"}},
		{"GET", "/nowhere", "", 404, nil},
		{"DELETE", internal + "nodes", "", 405, nil},
	} {
		resp, got := do(t, test.method, base+test.path, test.body)
		var p struct {
			Status int
			Errors []struct{ Location string }
		}
		if err := json.Unmarshal([]byte(got), &p); err != nil || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %s %.200s", test.method, test.path, resp.Header.Get("Content-Type"), got)
		}
		var wrong []string
		for _, e := range p.Errors {
			wrong = append(wrong, e.Location)
		}
		slices.Sort(wrong)
		slices.Sort(test.wrong)
		if diff := cmp.Diff(test.wrong, wrong); resp.StatusCode != test.status || p.Status != test.status || diff != "" {
			t.Errorf("%s %s: %d %.300s, want %d (-want +got):\n%s", test.method, test.path, resp.StatusCode, got, test.status, diff)
		}
	}
}

// broken is a store that answers nothing.
type broken struct {
	store.Store
	err error
}

func (b broken) Ping(context.Context) error { return b.err }

// What goes wrong inside is logged and not told; what passes says to come again.
func TestInsideErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err    error
		status int
		told   bool
	}{
		{errors.New("the secret of the disk"), 500, false},
		{provision.Errorf(provision.Busy, "the database is locked"), 503, true},
	} {
		var log bytes.Buffer
		c := config(t)
		c.Store = broken{c.Store, test.err}
		c.Log = slog.New(slog.NewJSONHandler(&log, nil))
		base, cp := start(t, c)
		resp, got := do(t, "GET", base+"/readyz", "", "x-request-id", "mine-1")
		if resp.StatusCode != test.status || strings.Contains(got, test.err.Error()) != test.told || resp.Header.Get("x-request-id") != "mine-1" {
			t.Errorf("%v: %d %s", test.err, resp.StatusCode, got)
		}
		if (resp.Header.Get("Retry-After") != "") != test.told {
			t.Errorf("%v: Retry-After %q", test.err, resp.Header.Get("Retry-After"))
		}
		if err := cp.Complete(t.Context(), provision.Completion{JobID: "j", TenantID: "t", Status: provision.JobFailed}); provision.ClassOf(err) != provision.NotFound {
			t.Errorf("the rest of the store: %v", err)
		}
		if !strings.Contains(log.String(), "mine-1") || strings.Contains(log.String(), test.err.Error()) == test.told {
			t.Errorf("%v: the log says %s", test.err, log.String())
		}
		if strings.Contains(log.String(), key) {
			t.Errorf("the log tells the key: %s", log.String())
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	good := config(t)
	for what, change := range map[string]func(*server.Config){
		"no key":               func(c *server.Config) { c.Key = "" },
		"a short key":          func(c *server.Config) { c.Key = strings.Repeat("x", server.MinKey-1) },
		"a short key and skip": func(c *server.Config) { c.Key, c.SkipAuth = "x", true },
		"a key with a space":   func(c *server.Config) { c.Key = strings.Repeat("x", server.MinKey) + " x" },
		"no domain":            func(c *server.Config) { c.Domain = "" },
		"a bad domain":         func(c *server.Config) { c.Domain = "-x.com" },
	} {
		c := good
		change(&c)
		if _, err := server.New(c); provision.ClassOf(err) != provision.Invalid {
			t.Errorf("%s: %v, want it refused", what, err)
		}
	}
	if _, err := server.New(good); err != nil {
		t.Error(err)
	}
}

// Without a key only a loopback listener is served, and only on loopback is one let in.
func TestSkipAuth(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.Key, c.SkipAuth = "", true
	s := newServer(t, c)
	all, err := net.Listen("tcp", "0.0.0.0:0")
	must(t, err)
	if err := s.Serve(t.Context(), all); provision.ClassOf(err) != provision.Invalid {
		t.Errorf("Serve on every address: %v, want it refused", err)
	}
	base, cp := start(t, c)
	if resp, got := do(t, "GET", base+"/internal/nodes", "", "Authorization", ""); resp.StatusCode != 200 {
		t.Errorf("on loopback: %d %s", resp.StatusCode, got)
	}
	_, err = cp.Nodes(t.Context())
	must(t, err)
	req, err := http.NewRequest("GET", "/internal/nodes", nil)
	must(t, err)
	elsewhere := &net.TCPAddr{IP: net.IPv4(203, 0, 113, 1), Port: 80}
	req = req.WithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(elsewhere)))
	w := &recorder{header: http.Header{}}
	s.Handler().ServeHTTP(w, req)
	if w.status != 401 {
		t.Errorf("on another address: %d, want 401", w.status)
	}
}

type recorder struct {
	header http.Header
	status int
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return len(p), nil }

// A server that is stopped finishes the request that it holds.
func TestServeStops(t *testing.T) {
	t.Parallel()
	c := config(t)
	holds, release := make(chan struct{}), make(chan struct{})
	c.Store = slow{c.Store, holds, release}
	s := newServer(t, c)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- s.Serve(ctx, ln) }()
	cp := &controlplane.Client{URL: "http://" + ln.Addr().String(), Key: key, HTTP: &http.Client{Transport: &http.Transport{}}}
	answered := make(chan error, 1)
	go func() { answered <- cp.Ready(t.Context()) }()
	<-holds
	cancel()
	close(release)
	if err := <-answered; err != nil {
		t.Errorf("the request: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

type slow struct {
	store.Store
	holds, release chan struct{}
}

func (s slow) Ping(ctx context.Context) error {
	close(s.holds)
	<-s.release
	return ctx.Err()
}

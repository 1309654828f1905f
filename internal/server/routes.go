package server

import (
	"context"
	"net/http"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Limits on bodies: every route takes a small one, but a batch of trace events.
const (
	maxBody   = 64 << 10
	maxEvents = 1 << 20
)

// Handler returns the routes of s. This is the whole API.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Prego control plane", "1")
	config.CreateHooks = nil // they add a $schema to every answer, which no caller expects
	config.SchemasPath = ""
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"key": {Type: "http", Scheme: "bearer", Description: "INTERNAL_API_KEY"},
	}
	a := &routes{Server: s, api: humago.New(mux, config)}
	a.auth = s.authorised(a.api)

	open(a, "GET", "/healthz", "The process answers", s.healthz)
	open(a, "GET", "/readyz", "The database answers", s.readyz)
	open(a, "GET", "/v1/jobs/{job_id}", "How far a job is", s.publicJob)
	open(a, "GET", "/v1/subdomain/check", "Whether a subdomain is free", s.checkSubdomain)
	// Public in the end, behind the gateway; until callers are limited one by one it takes the key.
	closed(a, "POST", "/v1/tenants", "Enqueue a tenant", s.createTenant)

	closed(a, "POST", "/internal/tenants/{tenant_id}/enqueue-provision", "Enqueue a tenant by its id", s.enqueueProvision)
	closed(a, "POST", "/internal/placement/compute", "Where a tenant would land; writes nothing", s.computePlacement)
	closed(a, "POST", "/internal/placement-dry-run", "The same in its older shape", s.dryRun)
	closed(a, "GET", "/internal/nodes", "Every node", s.listNodes)
	closed(a, "GET", "/internal/nodes/{node_id}", "One node", s.getNode)
	closed(a, "POST", "/internal/nodes", "Register a node", s.registerNode)
	closed(a, "POST", "/internal/server-metrics", "Push what a node's agent measured", s.pushMetrics)
	closed(a, "POST", "/internal/trace-events", "Store events of a run", s.addEvents)
	closed(a, "GET", "/internal/trace/{trace_id}", "The events of a trace", s.trace)
	closed(a, "GET", "/internal/provision-trace-detail", "The events of a job or a trace", s.traceDetail)
	closed(a, "GET", "/internal/provision-jobs", "Jobs, the newest first", s.listJobs)
	closed(a, "GET", "/internal/provision-jobs/{job_id}", "One job", s.getJob)
	closed(a, "POST", "/internal/provision-complete", "Say how a job ended", s.complete)

	return s.logged(withProblems(mux))
}

// routes is what a route is registered with.
type routes struct {
	*Server
	api  huma.API
	auth func(huma.Context, func(huma.Context))
}

// closed adds a route that takes the key.
func closed[I, O any](a *routes, method, path, summary string, fn func(context.Context, *I) (*O, error)) {
	op := operation(method, path, summary)
	op.Security = []map[string][]string{{"key": {}}}
	op.Middlewares = huma.Middlewares{a.auth}
	add(a, op, fn)
}

// open adds a route that anybody may ask.
func open[I, O any](a *routes, method, path, summary string, fn func(context.Context, *I) (*O, error)) {
	add(a, operation(method, path, summary), fn)
}

func operation(method, path, summary string) huma.Operation {
	op := huma.Operation{
		OperationID:  huma.GenerateOperationID(method, path, (*struct{})(nil)),
		Method:       method,
		Path:         path,
		Summary:      summary,
		MaxBodyBytes: maxBody,
	}
	if strings.HasSuffix(path, "/trace-events") {
		op.MaxBodyBytes = maxEvents
	}
	return op
}

func add[I, O any](a *routes, op huma.Operation, fn func(context.Context, *I) (*O, error)) {
	if _, ok := any((*O)(nil)).(*acceptedOutput); ok {
		op.DefaultStatus = http.StatusAccepted
		op.Responses = acceptedResponse(a.api)
	}
	huma.Register(a.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := fn(ctx, in)
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		return out, nil
	})
}

// withProblems answers in our form where mux has no route, and lets one caller at a time
// at the documents, which Huma makes when they are first asked for, without a lock.
func withProblems(mux *http.ServeMux) http.Handler {
	var documents sync.Mutex
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		switch {
		case pattern == "":
			said := &silent{header: http.Header{}, status: http.StatusNotFound}
			h.ServeHTTP(said, r)
			if allow := said.header.Get("Allow"); allow != "" {
				w.Header().Set("Allow", allow)
			}
			writeProblem(w, said.status, "there is no "+r.Method+" of this path")
			return
		case strings.HasPrefix(r.URL.Path, "/openapi"):
			documents.Lock()
			defer documents.Unlock()
		}
		mux.ServeHTTP(w, r)
	})
}

// silent keeps the status and drops the text.
type silent struct {
	header http.Header
	status int
}

func (s *silent) Header() http.Header         { return s.header }
func (s *silent) WriteHeader(status int)      { s.status = status }
func (s *silent) Write(p []byte) (int, error) { return len(p), nil }

package server

import (
	"context"
	"net/http"
	"reflect"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Limits on bodies: every route takes a small one, but a batch of trace events, and what
// Stripe sends, whose events grow with each version of its API.
const (
	maxBody   = 64 << 10
	maxEvents = 1 << 20
	maxStripe = 256 << 10
)

// register adds every route. This is the whole API.
func (a *routes) register(s *Server) {
	open(a, "GET", "/healthz", "The process answers", s.healthz)
	open(a, "GET", "/readyz", "The database answers", s.readyz)
	open(a, "GET", "/metrics", "What Prometheus scrapes", s.scrape)
	open(a, "GET", "/v1/jobs/{job_id}", "How far a job is", s.publicJob)
	open(a, "GET", "/v1/subdomain/check", "Whether a subdomain is free", s.checkSubdomain)
	limitedRoute(a, "POST", "/v1/tenants", "Enqueue a tenant", s.createTenant)
	open(a, "POST", "/webhooks/stripe", "Enqueue the tenant of a paid checkout", s.stripeEvent)

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
	closed(a, "POST", "/internal/provision-jobs/{job_id}/retry", "Try a job again that has failed", s.retryJob)
	closed(a, "POST", "/internal/provision-complete", "Say how a job ended", s.complete)
}

// routes is what a route is registered with.
type routes struct {
	*Server
	api          huma.API
	auth, public middleware
}

// closed adds a route that takes the key.
func closed[I, O any](a *routes, method, path, summary string, fn func(context.Context, *I) (*O, error)) {
	op := operation(method, path, summary)
	op.Security = []map[string][]string{{"key": {}}}
	op.Middlewares = huma.Middlewares{a.auth}
	add(a, op, fn)
}

// limitedRoute adds a route that anybody may ask, so often; and whoever bears the key, always.
func limitedRoute[I, O any](a *routes, method, path, summary string, fn func(context.Context, *I) (*O, error)) {
	op := operation(method, path, summary)
	op.Security = []map[string][]string{{}, {"key": {}}}
	op.Middlewares = huma.Middlewares{a.public}
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
	switch {
	case strings.HasSuffix(path, "/trace-events"):
		op.MaxBodyBytes = maxEvents
	case strings.HasSuffix(path, "/stripe"):
		op.MaxBodyBytes, op.SkipValidateBody = maxStripe, true
	}
	return op
}

// A documented answer says itself what it looks like, where Huma does not see it: it is
// bytes, a stream, or has more than one status.
type documented interface {
	document(op *huma.Operation, api huma.API)
}

func add[I, O any](a *routes, op huma.Operation, fn func(context.Context, *I) (*O, error)) {
	op.Responses = map[string]*huma.Response{"default": response[problem](a.api, "application/problem+json", "What is wrong")}
	if out, ok := any((*O)(nil)).(documented); ok {
		out.document(&op, a.api)
	}
	huma.Register(a.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := fn(ctx, in)
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		return out, nil
	})
}

// response documents an answer that holds a T.
func response[T any](api huma.API, contentType, description string) *huma.Response {
	schema := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
	return &huma.Response{Description: description, Content: map[string]*huma.MediaType{contentType: {Schema: schema}}}
}

// Handler returns the routes of s.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Prego control plane", "1")
	config.CreateHooks = nil // they add a $schema to every answer, which no caller expects
	config.SchemasPath = ""
	config.Transformers = []huma.Transformer{complete}
	readable := huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: decode}
	config.Formats = map[string]huma.Format{"application/json": readable, "json": readable}
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"key": {Type: "http", Scheme: "bearer", Description: "INTERNAL_API_KEY"},
	}
	api := humago.New(mux, config)
	a := &routes{Server: s, api: api, auth: s.authorised(api), public: s.public(api)}
	a.register(s)
	return s.observed(oneDocumentAtATime(mux))
}

// oneDocumentAtATime lets one caller at a time at the documents, which Huma makes when they
// are first asked for, without a lock.
func oneDocumentAtATime(h http.Handler) http.Handler {
	var documents sync.Mutex
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/openapi") {
			documents.Lock()
			defer documents.Unlock()
		}
		h.ServeHTTP(w, r)
	})
}

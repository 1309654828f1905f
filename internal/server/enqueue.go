package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// EnqueueHeaders are the headers that both ways to enqueue take.
type EnqueueHeaders struct {
	Key     string `header:"Idempotency-Key" maxLength:"255" pattern:"^[!-~]*$" doc:"the same key and body get the same answer, once"`
	TraceID string `header:"x-trace-id" doc:"used when it has the shape of a trace_id, otherwise one is made"`
}

// EnqueueFields are the body that both ways to enqueue take.
type EnqueueFields struct {
	// What else a form sends is not ours to refuse.
	_ struct{} `json:"-" additionalProperties:"true"`
	TierFields
	Company string `json:"company_name,omitempty" maxLength:"200"`
	Slug    string `json:"subdomain_slug,omitempty" maxLength:"63"`
}

type tenantInput struct {
	EnqueueHeaders
	Body struct {
		_ struct{} `json:"-" additionalProperties:"true"`
		EnqueueFields
		TenantID string `json:"tenant_id,omitempty" pattern:"^[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,127}$" doc:"made when absent"`
	}
}

type enqueueInput struct {
	EnqueueHeaders
	TenantID string `path:"tenant_id" pattern:"^[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,127}$"`
	Body     *EnqueueFields
}

// accepted is what the caller of both is told.
type accepted struct {
	JobID             string              `json:"job_id"`
	TenantID          string              `json:"tenant_id"`
	TraceID           string              `json:"trace_id"`
	Status            provision.JobStatus `json:"status" enum:"Pending"`
	CanonicalHostname string              `json:"canonical_hostname"`
}

// acceptedOutput holds the bytes as they are stored, so that a repeated request gets the same.
type acceptedOutput struct {
	Status   int
	Type     string `header:"Content-Type"`
	Replayed string `header:"Idempotency-Replayed"`
	Body     []byte
}

func (s *Server) createTenant(ctx context.Context, in *tenantInput) (*acceptedOutput, error) {
	id := in.Body.TenantID
	hash := requestHash(id, in.Body.EnqueueFields)
	if id == "" {
		id = "tenant-" + strings.ToLower(rand.Text())
	}
	if in.Body.Slug == "" {
		return nil, fieldErrors(&provision.FieldError{Field: "subdomain_slug", Reason: "is required"})
	}
	return s.enqueue(ctx, "POST /v1/tenants", id, hash, in.EnqueueHeaders, in.Body.EnqueueFields)
}

func (s *Server) enqueueProvision(ctx context.Context, in *enqueueInput) (*acceptedOutput, error) {
	fields := EnqueueFields{}
	if in.Body != nil {
		fields = *in.Body
	}
	return s.enqueue(ctx, "POST enqueue-provision", in.TenantID, requestHash(in.TenantID, fields), in.EnqueueHeaders, fields)
}

// enqueue is the one way into the system.
func (s *Server) enqueue(ctx context.Context, route, tenantID, hash string, h EnqueueHeaders, f EnqueueFields) (*acceptedOutput, error) {
	req, err := f.request()
	if err != nil {
		return nil, err
	}
	if reason := s.slugReason(f.Slug); f.Slug != "" && reason != "" {
		return nil, fieldErrors(&provision.FieldError{Field: "subdomain_slug", Value: f.Slug, Reason: reason})
	}
	trace := strings.TrimSpace(h.TraceID)
	if !provision.ValidTraceID(trace) {
		trace = "trace_" + strings.ToLower(rand.Text())
	}
	const caller = "internal" // there is one key so far, and whoever bears it is one caller
	r, err := s.Store.Enqueue(ctx, store.Order{
		Key:      store.Key{Scope: caller + " " + route, Value: h.Key, Hash: hash},
		JobID:    "job_" + strings.ToLower(rand.Text()),
		TraceID:  trace,
		Actor:    caller,
		TenantID: tenantID,
		Company:  f.Company,
		Tier:     req.Tier,
		Slug:     f.Slug,
		Slugs:    derivedSlugs(tenantID),
		Domain:   s.Domain,
		Decide:   s.decideFor(req),
		Answer:   answer,
		Now:      s.now(),
	})
	if err != nil {
		return nil, err
	}
	out := &acceptedOutput{Status: 202, Type: "application/json", Body: r.Answer}
	if r.Replayed {
		out.Replayed = "true"
		return out, nil
	}
	select {
	case s.wake <- struct{}{}:
	default: // it has been told already
	}
	return out, nil
}

func answer(j store.Job) ([]byte, error) {
	return json.Marshal(accepted{j.ID, j.TenantID, j.TraceID, j.Status, j.CanonicalHostname})
}

// requestHash is a fingerprint of what was asked, however it was written.
func requestHash(tenantID string, f EnqueueFields) string {
	asked := fmt.Sprintf("%q", []string{tenantID, string(f.PlanTier), string(f.Tier), string(f.Region), f.Company, f.Slug})
	sum := sha256.Sum256([]byte(asked))
	return hex.EncodeToString(sum[:])
}

var slugShape = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,38}[a-z0-9]$`)

// slugReason says why no tenant can have the slug; "" when one can.
func (s *Server) slugReason(slug string) string {
	switch {
	case !slugShape.MatchString(slug):
		return "must be 3 to 40 lower-case letters, digits and inner hyphens"
	case strings.HasPrefix(slug[2:], "--"):
		return "must not have hyphens in the third and fourth place: that is an internationalised name"
	}
	if provision.CheckHostname(slug+"."+s.Domain, s.Domain, s.Reserved) != nil {
		return "is reserved"
	}
	return ""
}

// derivedSlugs are the slugs of a tenant that asks for none: tenant-{first8} of its id, and
// where another tenant has that already, the same with a hash of the whole id.
func derivedSlugs(tenantID string) []string {
	id := strings.ToLower(tenantID)
	id = strings.TrimPrefix(id, "tenant")
	id = regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(id, "")
	sum := sha256.Sum256([]byte(tenantID))
	hash := hex.EncodeToString(sum[:6])
	if id == "" {
		return []string{"tenant-" + hash}
	}
	first := "tenant-" + id[:min(len(id), 8)]
	return []string{first, first + "-" + hash}
}

type subdomainInput struct {
	Slug string `query:"slug" required:"true" maxLength:"253"`
}

type subdomainOutput struct {
	Body struct {
		Slug      string `json:"slug"`
		Available bool   `json:"available"`
		Reason    string `json:"reason,omitempty"`
	}
}

func (s *Server) checkSubdomain(ctx context.Context, in *subdomainInput) (*subdomainOutput, error) {
	out := &subdomainOutput{}
	out.Body.Slug = in.Slug
	if out.Body.Reason = s.slugReason(in.Slug); out.Body.Reason != "" {
		return out, nil
	}
	owner, err := s.Store.SlugOwner(ctx, in.Slug)
	if err != nil {
		return nil, err
	}
	if out.Body.Available = owner == ""; !out.Body.Available {
		out.Body.Reason = "is taken"
	}
	return out, nil
}

// acceptedResponse documents what [acceptedOutput] holds, which is bytes to Huma.
func acceptedResponse(api huma.API) map[string]*huma.Response {
	schema := huma.SchemaFromType(api.OpenAPI().Components.Schemas, reflect.TypeFor[accepted]())
	return map[string]*huma.Response{"202": {
		Description: "Stored; its run is triggered next",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: schema}},
	}}
}

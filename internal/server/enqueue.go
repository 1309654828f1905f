package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pregoi/provision-tenant/internal/placement"
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
	Slug    string `json:"subdomain_slug,omitempty" pattern:"^([a-z0-9][a-z0-9-]{1,38}[a-z0-9])?$" patternDescription:"3 to 40 lower-case letters, digits and inner hyphens"`
}

type enqueueInput struct {
	EnqueueHeaders
	TenantID string `path:"tenant_id" pattern:"^[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,127}$"`
	Body     *struct {
		_ struct{} `json:"-" additionalProperties:"true"`
		EnqueueFields
		TenantID string `json:"tenant_id,omitempty" doc:"that of the path, where it is there"`
		Snapshot string `json:"expected_snapshot,omitempty" maxLength:"64" doc:"the snapshot of a placement that was computed: the order is refused, with the decision of now, when it would be made on another"`
	}
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

func (*acceptedOutput) document(op *huma.Operation, api huma.API) {
	op.DefaultStatus = http.StatusAccepted
	op.Responses["202"] = response[accepted](api, "application/json", "Stored; its run is triggered next")
}

func (s *Server) enqueueProvision(ctx context.Context, in *enqueueInput) (*acceptedOutput, error) {
	a := ask{route: "POST enqueue-provision", tenantID: in.TenantID, key: in.Key, traceID: in.TraceID}
	if b := in.Body; b != nil {
		a.fields, a.snapshot = b.EnqueueFields, b.Snapshot
		if b.TenantID != "" && b.TenantID != in.TenantID {
			return nil, fieldErrors(&provision.FieldError{Field: "tenant_id", Value: b.TenantID, Reason: "is not that of the path"})
		}
	}
	return s.enqueue(ctx, a)
}

// An ask is what somebody wants to be enqueued, wherever it came from.
type ask struct {
	caller   string // the request's when empty
	route    string
	key      string // Idempotency-Key; empty for none
	traceID  string // used when it is one
	tenantID string // made when empty
	slug     bool   // is required
	fields   EnqueueFields
	snapshot string // expected; empty for any
	isNew    bool   // the tenant must be one that there is not
	// allow is asked last, before the order is taken; nil allows it. It must be quick.
	allow func() error
}

// enqueue is the one way into the system.
func (s *Server) enqueue(ctx context.Context, a ask) (*acceptedOutput, error) {
	out, err := s.take(ctx, a)
	switch {
	case err != nil:
		s.metrics.enqueues.WithLabelValues(string(provision.ClassOf(err))).Inc()
	case out.Replayed != "":
		s.metrics.enqueues.WithLabelValues("replayed").Inc()
	default:
		s.metrics.enqueues.WithLabelValues("accepted").Inc()
	}
	return out, err
}

func (s *Server) take(ctx context.Context, a ask) (*acceptedOutput, error) {
	req, err := s.check(a)
	if err != nil {
		return nil, err
	}
	if a.caller == "" {
		a.caller = callerOf(ctx).name
	}
	hash := a.hash() // of what was asked for, before anything is made up
	if a.tenantID == "" {
		a.tenantID = "tenant-" + strings.ToLower(rand.Text())
	}
	if a.traceID = strings.TrimSpace(a.traceID); !provision.ValidTraceID(a.traceID) {
		a.traceID = "trace_" + strings.ToLower(rand.Text())
	}
	var slugs []string
	if a.fields.Slug == "" {
		slugs = derivedSlugs(a.tenantID)
	}
	r, err := s.Store.Enqueue(ctx, store.Order{
		Key:      store.Key{Scope: a.caller + " " + a.route, Value: a.key, Hash: hash},
		JobID:    store.NewJobID(s.now()),
		TraceID:  a.traceID,
		Actor:    a.caller,
		TenantID: a.tenantID,
		New:      a.isNew,
		Company:  a.fields.Company,
		Tier:     req.Tier,
		Slug:     a.fields.Slug,
		Slugs:    slugs,
		Domain:   s.Domain,
		Snapshot: a.snapshot,
		Decide:   s.decideFor(req, a.snapshot),
		Answer:   a.answer,
		Now:      s.now(),
	})
	if err != nil {
		return nil, err
	}
	out := &acceptedOutput{Status: http.StatusAccepted, Type: "application/json", Body: r.Answer}
	if r.Replayed {
		out.Replayed = "true"
	}
	return out, nil
}

// check names all that is wrong with the ask.
func (s *Server) check(a ask) (placement.Request, error) {
	req, err := a.fields.request()
	wrong := provision.FieldErrors(err)
	switch reason := s.slugReason(a.fields.Slug); {
	case a.fields.Slug == "" && a.slug:
		wrong = append(wrong, &provision.FieldError{Field: "subdomain_slug", Reason: "is required"})
	case a.fields.Slug != "" && reason != "":
		wrong = append(wrong, &provision.FieldError{Field: "subdomain_slug", Value: a.fields.Slug, Reason: reason})
	}
	return req, fieldErrors(wrong...)
}

// answer is what the caller is told of j, which is not stored yet.
func (a ask) answer(j store.Job) ([]byte, error) {
	if a.allow != nil {
		if err := a.allow(); err != nil {
			return nil, err
		}
	}
	return json.Marshal(accepted{j.ID, j.TenantID, j.TraceID, j.Status, j.CanonicalHostname})
}

// hash is a fingerprint of what is asked, however it was written.
func (a ask) hash() string {
	f := a.fields
	asked := fmt.Sprintf("%q", []string{a.tenantID, string(f.PlanTier), string(f.Tier), string(f.Region), f.Company, f.Slug, a.snapshot})
	sum := sha256.Sum256([]byte(asked))
	return hex.EncodeToString(sum[:])
}

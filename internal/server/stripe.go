package server

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"regexp"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/stripe/stripe-go/v82"
	"github.com/stripe/stripe-go/v82/webhook"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

type stripeInput struct {
	Signature string `header:"Stripe-Signature"`
	RawBody   []byte
	Body      map[string]any // for the documentation: what is signed are the bytes
}

// stripeAnswer is what Stripe's dashboard shows beside a delivery.
type stripeAnswer struct {
	JobID             string              `json:"job_id,omitempty"`
	TenantID          string              `json:"tenant_id,omitempty"`
	TraceID           string              `json:"trace_id,omitempty"`
	Status            provision.JobStatus `json:"status,omitempty" enum:"Pending"`
	CanonicalHostname string              `json:"canonical_hostname,omitempty"`
	Ignored           string              `json:"ignored,omitempty" doc:"why the event enqueues nothing"`
}

type stripeOutput struct {
	Status   int
	Type     string `header:"Content-Type"`
	Replayed string `header:"Idempotency-Replayed"`
	Body     []byte
}

func (*stripeOutput) document(op *huma.Operation, api huma.API) {
	op.Responses["200"] = response[stripeAnswer](api, "application/json", "Enqueued, now or before; or nothing that is to be")
}

// A checkoutSession is what is needed of Stripe's. The library's own type follows one
// version of their API; these fields have been the same in all.
// https://docs.stripe.com/api/checkout/sessions/object
type checkoutSession struct {
	ID            string                              `json:"id"`
	Mode          stripe.CheckoutSessionMode          `json:"mode"`
	PaymentStatus stripe.CheckoutSessionPaymentStatus `json:"payment_status"`
	Reference     string                              `json:"client_reference_id"`
	Metadata      map[string]string                   `json:"metadata"`
}

// stripeEvent enqueues the tenant that was paid for.
//
// Stripe sends an event again for three days until it is answered with 2xx, and shows each
// answer in its dashboard. An order that can never be granted is therefore refused with 4xx,
// and neither taken nor hidden: it stands in Stripe's list of failed deliveries, in our log,
// metrics and trace, and once somebody has removed the reason the next delivery takes it.
// https://docs.stripe.com/webhooks#behaviors
func (s *Server) stripeEvent(ctx context.Context, in *stripeInput) (*stripeOutput, error) {
	if s.StripeSecret == "" {
		return nil, &provision.Error{Class: provision.Busy, Text: "this control plane takes no events of Stripe: STRIPE_WEBHOOK_SECRET is not set",
			Next: "set it to the endpoint's signing secret; Stripe sends the event again"}
	}
	// Events of another version of the API are taken: what we read is the same in all.
	e, err := webhook.ConstructEventWithOptions(in.RawBody, in.Signature, s.StripeSecret, webhook.ConstructEventOptions{IgnoreAPIVersionMismatch: true})
	if err != nil {
		s.metrics.checkouts.WithLabelValues("unsigned").Inc()
		return nil, &badRequest{"the event is not Stripe's: " + err.Error(), "check STRIPE_WEBHOOK_SECRET, which each endpoint has its own of, and the clock"}
	}
	session, ignored, err := readCheckout(e)
	if ignored != "" {
		s.metrics.checkouts.WithLabelValues("ignored").Inc()
		body, err := json.Marshal(stripeAnswer{Ignored: ignored})
		return &stripeOutput{Status: http.StatusOK, Type: "application/json", Body: body}, err
	}
	if err == nil {
		var out *acceptedOutput
		if out, err = s.enqueueCheckout(ctx, session); err == nil {
			s.metrics.checkouts.WithLabelValues(cmp.Or(out.Replayed, "enqueued")).Inc()
			return &stripeOutput{http.StatusOK, out.Type, out.Replayed, out.Body}, nil
		}
	}
	s.refusedCheckout(ctx, e, session, err)
	return nil, err
}

// readCheckout returns the session that e says is paid; or why there is nothing to do.
func readCheckout(e stripe.Event) (c checkoutSession, ignored string, err error) {
	switch e.Type {
	case stripe.EventTypeCheckoutSessionCompleted, stripe.EventTypeCheckoutSessionAsyncPaymentSucceeded:
	default:
		return c, "events of the type " + string(e.Type) + " enqueue nothing", nil
	}
	if e.Data == nil || json.Unmarshal(e.Data.Raw, &c) != nil || c.ID == "" {
		return c, "", provision.Errorf(provision.Invalid, "the event holds no checkout session")
	}
	switch {
	case c.Mode == stripe.CheckoutSessionModeSetup:
		return c, "the session stores a card, and pays for nothing", nil
	case c.Reference == "" && c.Metadata["tenant_id"] == "" && c.Metadata["subdomain_slug"] == "":
		return c, "the session names neither a tenant_id nor a subdomain_slug: it is for something else", nil
	case c.PaymentStatus == stripe.CheckoutSessionPaymentStatusPaid,
		c.PaymentStatus == stripe.CheckoutSessionPaymentStatusNoPaymentRequired:
		return c, "", nil
	}
	return c, "the session is not paid yet: checkout.session.async_payment_succeeded will say so", nil
}

var tenantID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,127}$`)

// enqueueCheckout orders what a session has paid for. The session is the key: Stripe may tell
// of one payment in several events, and each of them in several deliveries.
// https://docs.stripe.com/webhooks#handle-duplicate-events
func (s *Server) enqueueCheckout(ctx context.Context, c checkoutSession) (*acceptedOutput, error) {
	// The buyer of a payment link writes the reference, as a parameter of its address: it can name
	// a new tenant, and not somebody else's. Metadata is ours.
	// https://docs.stripe.com/payment-links/url-parameters
	a := ask{caller: "stripe", route: "POST /webhooks/stripe", key: c.ID, traceID: c.Metadata["trace_id"],
		tenantID: cmp.Or(c.Metadata["tenant_id"], c.Reference), isNew: c.Metadata["tenant_id"] == ""}
	a.fields = EnqueueFields{Company: c.Metadata["company_name"], Slug: c.Metadata["subdomain_slug"], TierFields: TierFields{
		PlanTier: placement.Tier(c.Metadata["plan_tier"]), Region: placement.Region(c.Metadata["region"])}}
	var wrong []*provision.FieldError
	bad := func(field, value, reason string) {
		wrong = append(wrong, &provision.FieldError{Field: "data.object.metadata." + field, Value: value, Reason: reason})
	}
	f := a.fields
	if a.tenantID != "" && !tenantID.MatchString(a.tenantID) {
		bad("tenant_id", a.tenantID, "is no identifier")
	}
	if f.PlanTier != "" && !f.PlanTier.Valid() {
		bad("plan_tier", string(f.PlanTier), "is not free, basic, professional or enterprise")
	}
	if f.Region != "" && !f.Region.Valid() {
		bad("region", string(f.Region), "is not sg, us or eu")
	}
	if reason := s.slugReason(f.Slug); f.Slug != "" && reason != "" {
		bad("subdomain_slug", f.Slug, reason)
	}
	if f.Slug == "" && a.tenantID == "" {
		bad("subdomain_slug", "", "is required of a new tenant")
	}
	if len(f.Company) > 200 {
		a.fields.Company = string([]rune(f.Company)[:min(200, len([]rune(f.Company)))])
	}
	if err := fieldErrors(wrong...); err != nil {
		return nil, err
	}
	return s.enqueue(ctx, a)
}

// refusedCheckout tells operators of a payment that has led to no job: in the log, and in
// the trace, where the session stands for the job that there is not.
func (s *Server) refusedCheckout(ctx context.Context, e stripe.Event, c checkoutSession, why error) {
	tenant := cmp.Or(c.Metadata["tenant_id"], c.Reference)
	s.Log.ErrorContext(ctx, "a paid checkout is not enqueued", slog.String("event_id", e.ID), slog.String("session_id", c.ID),
		slog.String("tenant_id", tenant), slog.String("error", why.Error()))
	if provision.Retryable(why) {
		s.metrics.checkouts.WithLabelValues("postponed").Inc()
		return
	}
	s.metrics.checkouts.WithLabelValues("refused").Inc()
	event := provision.Event{ID: "stripe/" + e.ID, JobID: c.ID, TenantID: cmp.Or(tenant, "unknown"), Stage: "enqueue",
		Status: provision.Failed, Message: why.Error(), Attempt: 1, At: s.now()}
	if t := c.Metadata["trace_id"]; provision.ValidTraceID(t) {
		event.TraceID = strings.TrimSpace(t)
	}
	if c.ID == "" {
		return
	}
	if _, err := s.Store.AddEvents(ctx, []provision.Event{event}, s.now()); err != nil {
		s.Log.ErrorContext(ctx, "trace a refused checkout", slog.String("session_id", c.ID), slog.Any("error", err))
	}
}

// A badRequest is answered with 400.
type badRequest struct{ text, next string }

func (e *badRequest) Error() string { return e.text }

// Unwrap gives the error its class.
func (e *badRequest) Unwrap() error {
	return &provision.Error{Class: provision.Invalid, Text: e.text, Next: e.next}
}

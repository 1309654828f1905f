package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

type tenantInput struct {
	EnqueueHeaders
	Body struct {
		_ struct{} `json:"-" additionalProperties:"true"`
		EnqueueFields
		TenantID string `json:"tenant_id,omitempty" pattern:"^[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,127}$" doc:"made when absent"`
	}
}

// createTenant enqueues a tenant for anybody. Whoever does not bear the key gets a tenant
// that there was not before, of a tier that costs nothing, and is told nothing of others.
func (s *Server) createTenant(ctx context.Context, in *tenantInput) (*acceptedOutput, error) {
	a := ask{route: "POST /v1/tenants", key: in.Key, traceID: in.TraceID, tenantID: in.Body.TenantID, slug: true, fields: in.Body.EnqueueFields}
	if callerOf(ctx).internal {
		return s.enqueue(ctx, a)
	}
	a.isNew = true
	if req, err := a.fields.request(); err == nil && !slices.Contains(s.PublicTiers, req.Tier) {
		s.metrics.enqueues.WithLabelValues(string(provision.Denied)).Inc()
		return nil, &provision.Error{Class: provision.Denied,
			Text: fmt.Sprintf("plan_tier %s is not among those that can be had without the key: %s", req.Tier, words(s.PublicTiers)),
			Next: "pay for it in a Stripe checkout, whose event makes the tenant, or send INTERNAL_API_KEY"}
	}
	a.allow = s.allowance()
	out, err := s.enqueue(ctx, a)
	if later := (*laterError)(nil); errors.As(err, &later) {
		s.metrics.limited.Inc()
		s.Log.WarnContext(ctx, "public orders are refused: there were too many in an hour", slog.Duration("for", later.wait))
	}
	return out, err
}

// allowance lets an order by that makes a new tenant, as often as all of them together may.
// What is refused, or was answered before, takes nothing of what there is for all.
func (s *Server) allowance() func() error {
	taken := false // a transaction that is made again takes one all the same
	return func() error {
		if taken {
			return nil
		}
		wait := s.total.take(netip.Prefix{}, s.now())
		if taken = wait <= 0; taken {
			return nil
		}
		return &laterError{wait}
	}
}

// A laterError refuses an order until others have become too old to count.
type laterError struct{ wait time.Duration }

func (*laterError) Error() string { return "there are more orders than can be taken at the moment" }

// Unwrap gives the error its class.
func (e *laterError) Unwrap() error {
	return &provision.Error{Class: provision.Busy, Text: e.Error(), Next: "try again as late as Retry-After says"}
}

func words(tiers []placement.Tier) string {
	list := make([]string, len(tiers))
	for i, t := range tiers {
		list[i] = string(t)
	}
	return strings.Join(list, ", ")
}

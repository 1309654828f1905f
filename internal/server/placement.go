package server

import (
	"context"
	"errors"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// TierFields choose a tier; either name will do. It is exported, as all that is embedded
// here, because Huma does not see the fields of an unexported embedded type.
type TierFields struct {
	PlanTier placement.Tier   `json:"plan_tier,omitempty" enum:"free,basic,professional,enterprise" doc:"basic when absent"`
	Tier     placement.Tier   `json:"tier,omitempty" enum:"free,basic,professional,enterprise" doc:"another name of plan_tier"`
	Region   placement.Region `json:"region,omitempty" enum:"sg,us,eu" doc:"the installation's default when absent"`
}

// request is what the fields ask of placement.
func (f TierFields) request() (placement.Request, error) {
	r := placement.Request{Tier: f.PlanTier, Region: f.Region}
	if r.Tier == "" {
		r.Tier = f.Tier
	}
	if r.Tier == "" {
		r.Tier = placement.Basic
	}
	if f.Tier != "" && f.Tier != r.Tier {
		return r, fieldErrors(&provision.FieldError{Field: "tier", Value: string(f.Tier), Reason: "is not the plan_tier: give one of them"})
	}
	return r, nil
}

// PlacementFields are what both placement routes take.
type PlacementFields struct {
	TierFields
	TenantID string `json:"tenant_id,omitempty" maxLength:"128" doc:"echoed, nothing else"`
}

type computeBody struct {
	PlacementFields
	Limit *int `json:"candidates_limit,omitempty" minimum:"0" maximum:"1000000" doc:"how many candidates to answer with; 20 when absent, 0 for all"`
	placement.WhatIf
}

type computeInput struct{ Body *computeBody }

// computeOutput holds the JSON of a [placement.Answer].
type computeOutput struct {
	Type string `header:"Content-Type"`
	Body []byte
}

func (*computeOutput) document(op *huma.Operation, api huma.API) {
	op.Responses["200"] = response[placement.Answer](api, "application/json", "The decision, and what led to it")
}

func (s *Server) computePlacement(ctx context.Context, in *computeInput) (*computeOutput, error) {
	b := in.Body
	if b == nil {
		b = &computeBody{}
	}
	req, err := b.request()
	if err != nil {
		return nil, err
	}
	limit := placement.DefaultCandidates
	if b.Limit != nil {
		limit = *b.Limit
	}
	var a placement.Answer
	if b.WhatIf.IsZero() {
		var d placement.Decision
		if err := s.Store.Placement(ctx, func(x *placement.Index) { d = x.Decide(req, s.now(), limit) }); err != nil {
			return nil, err
		}
		a = d.Answer(limit)
	} else if a, err = s.compare(ctx, req, b.WhatIf, limit); err != nil {
		return nil, err
	}
	a.TenantID = b.TenantID
	body, err := s.spelled.answer(a)
	return &computeOutput{"application/json", body}, err
}

// compare decides in the world that there is and in the one that w makes of it.
func (s *Server) compare(ctx context.Context, req placement.Request, w placement.WhatIf, limit int) (placement.Answer, error) {
	world := placement.Snapshot{Now: s.now()}
	err := s.Store.Placement(ctx, func(x *placement.Index) {
		world.Nodes = x.Nodes()
		world.Thresholds = x.Decide(req, world.Now, 1).Thresholds
	})
	if err != nil {
		return placement.Answer{}, err
	}
	c, err := w.Decide(req, world)
	if wrong := (placement.FieldErrors)(nil); errors.As(err, &wrong) {
		list := make([]*provision.FieldError, len(wrong))
		for i, f := range wrong {
			list[i] = &provision.FieldError{Field: f.Field, Value: f.Value, Reason: f.Reason}
		}
		return placement.Answer{}, fieldErrors(list...)
	}
	return c.Answer(limit), err
}

type dryRunInput struct{ Body *PlacementFields }

type dryRunOutput struct {
	Body struct {
		CreateNewServer bool             `json:"createNewServer"`
		TargetServerID  *string          `json:"targetServerId"`
		Region          placement.Region `json:"region"`
		Dedicated       bool             `json:"dedicated"`
		DecisionReason  placement.Reason `json:"decisionReason"`
		Algorithm       string           `json:"algorithm"`
	}
}

func (s *Server) dryRun(ctx context.Context, in *dryRunInput) (*dryRunOutput, error) {
	f := PlacementFields{}
	if in.Body != nil {
		f = *in.Body
	}
	req, err := f.request()
	if err != nil {
		return nil, err
	}
	var d placement.Decision
	if err := s.Store.Placement(ctx, func(x *placement.Index) { d = x.Decide(req, s.now(), 1) }); err != nil {
		return nil, err
	}
	out := &dryRunOutput{}
	a := d.Answer(1)
	out.Body.CreateNewServer, out.Body.TargetServerID = a.Placement.CreateNewServer, a.Placement.TargetServerID
	out.Body.Region, out.Body.Dedicated = a.Region, a.Placement.Dedicated
	out.Body.DecisionReason, out.Body.Algorithm = a.DecisionReason, a.Algorithm
	return out, nil
}

// decideFor decides an order. A tenant that is on a shared node already stays there, as
// long as the node is active: nothing moves a tenant's data.
func (s *Server) decideFor(r placement.Request, snapshot string) func(store.World) placement.Decision {
	candidates := store.AuditCandidates
	if snapshot != "" { // the whole answer may be told
		candidates = placement.DefaultCandidates
	}
	return func(w store.World) placement.Decision {
		r := r
		home, settled := w.Nodes.Node(w.At)
		if r.Region == "" && settled {
			r.Region = home.Region
		}
		d := w.Nodes.Decide(r, s.now(), candidates)
		if settled && home.Active && !home.Dedicated && home.Region == d.Region && !d.Placement.Dedicated {
			d.Reason = placement.ExistingNodeSelected
			d.Placement.CreateNewServer, d.Placement.TargetServerID = false, home.ID
		}
		return d
	}
}

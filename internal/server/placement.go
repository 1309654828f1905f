package server

import (
	"context"

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

type placementBody struct {
	TierFields
	TenantID string `json:"tenant_id,omitempty" maxLength:"128" doc:"echoed, nothing else"`
}

type placementInput struct {
	Body *placementBody
}

// placementResult is [placement.Result] as Prego's Worker answers it: null for no server.
type placementResult struct {
	Region          placement.Region `json:"region"`
	CreateNewServer bool             `json:"create_new_server"`
	TargetServerID  *string          `json:"target_server_id"`
	Dedicated       bool             `json:"dedicated"`
}

type thresholds struct {
	MemoryPctMax      float64          `json:"memory_pct_max"`
	MaxTenantsPerNode int              `json:"max_tenants_per_node"`
	MetricsMaxAge     string           `json:"metrics_max_age" example:"15m0s"`
	DefaultRegion     placement.Region `json:"default_region"`
}

type decisionBody struct {
	Placement      placementResult       `json:"placement"`
	Candidates     []placement.Candidate `json:"candidates" doc:"every node of the region, the best first, with what speaks against it"`
	Cluster        placement.Cluster     `json:"cluster"`
	SelectedNodeID *string               `json:"selected_node_id"`
	DecisionReason placement.Reason      `json:"decision_reason" enum:"dedicated_tier,existing_node_selected,no_eligible_node,no_nodes_in_region"`
	Region         placement.Region      `json:"region"`
	Thresholds     thresholds            `json:"thresholds"`
	Algorithm      string                `json:"algorithm"`
	TenantID       string                `json:"tenant_id,omitempty"`
}

type decisionOutput struct{ Body decisionBody }

func (s *Server) computePlacement(ctx context.Context, in *placementInput) (*decisionOutput, error) {
	body := in.Body
	if body == nil {
		body = &placementBody{}
	}
	req, err := body.request()
	if err != nil {
		return nil, err
	}
	nodes, err := s.Store.Placeable(ctx)
	if err != nil {
		return nil, err
	}
	d := s.decide(req, nodes)
	t := d.Thresholds
	out := &decisionOutput{decisionBody{
		Placement: placementResult{d.Placement.Region, d.Placement.CreateNewServer,
			orNull(d.Placement.TargetServerID), d.Placement.Dedicated},
		Candidates:     d.Candidates,
		Cluster:        d.Cluster,
		SelectedNodeID: orNull(d.SelectedNodeID()),
		DecisionReason: d.Reason,
		Region:         d.Region,
		Thresholds:     thresholds{t.MemoryPctMax, t.MaxTenantsPerNode, t.MetricsMaxAge.String(), t.DefaultRegion},
		Algorithm:      placement.Algorithm,
		TenantID:       body.TenantID,
	}}
	if out.Body.Candidates == nil {
		out.Body.Candidates = []placement.Candidate{}
	}
	return out, nil
}

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

func (s *Server) dryRun(ctx context.Context, in *placementInput) (*dryRunOutput, error) {
	d, err := s.computePlacement(ctx, in)
	if err != nil {
		return nil, err
	}
	out := &dryRunOutput{}
	out.Body.CreateNewServer = d.Body.Placement.CreateNewServer
	out.Body.TargetServerID = d.Body.Placement.TargetServerID
	out.Body.Region = d.Body.Region
	out.Body.Dedicated = d.Body.Placement.Dedicated
	out.Body.DecisionReason = d.Body.DecisionReason
	out.Body.Algorithm = d.Body.Algorithm
	return out, nil
}

func (s *Server) decide(r placement.Request, nodes []placement.Node) placement.Decision {
	return placement.Decide(r, placement.Snapshot{Nodes: nodes, Thresholds: s.Thresholds, Now: s.now()})
}

// decideFor decides an order. A tenant that is on a shared node already stays there, as
// long as the node is active: nothing moves a tenant's data.
func (s *Server) decideFor(r placement.Request) func(store.World) placement.Decision {
	return func(w store.World) placement.Decision {
		r := r
		var home placement.Node
		for _, n := range w.Nodes {
			if n.ID == w.At && n.ID != "" {
				home = n
			}
		}
		if r.Region == "" {
			r.Region = home.Region
		}
		d := s.decide(r, w.Nodes)
		if home.Active && !home.Dedicated && home.Region == d.Region && !d.Placement.Dedicated {
			d.Reason = placement.ExistingNodeSelected
			d.Placement.CreateNewServer, d.Placement.TargetServerID = false, home.ID
		}
		return d
	}
}

// orNull is s, or nil when it is empty.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

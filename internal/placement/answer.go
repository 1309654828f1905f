package placement

import "time"

// DefaultCandidates is how many candidates an answer has where nobody says.
const DefaultCandidates = 20

// An Outcome is a [Decision] as the control plane's routes spell it.
type Outcome struct {
	Placement       OutcomeResult      `json:"placement"`
	Candidates      []Candidate        `json:"candidates" doc:"nodes of the region, the best first, with what speaks against each"`
	CandidatesTotal int                `json:"candidates_total" doc:"how many there are; candidates can be fewer, see candidates_limit"`
	Cluster         Cluster            `json:"cluster" doc:"of the region"`
	Clusters        map[Region]Cluster `json:"clusters" doc:"of every region"`
	SelectedNodeID  *string            `json:"selected_node_id"`
	DecisionReason  Reason             `json:"decision_reason" enum:"dedicated_tier,existing_node_selected,no_eligible_node,no_nodes_in_region"`
	Region          Region             `json:"region"`
	Thresholds      OutcomeThresholds  `json:"thresholds"`
	Snapshot        string             `json:"snapshot" doc:"a hash of what was decided on: another one means that something of it has moved"`
}

// An OutcomeResult is a [Result] as Prego's Worker answers it: null for no server.
type OutcomeResult struct {
	Region          Region  `json:"region"`
	CreateNewServer bool    `json:"create_new_server"`
	TargetServerID  *string `json:"target_server_id"`
	Dedicated       bool    `json:"dedicated"`
}

// OutcomeThresholds are [Thresholds] in JSON.
type OutcomeThresholds struct {
	MemoryPctMax      float64 `json:"memory_pct_max"`
	MaxTenantsPerNode int     `json:"max_tenants_per_node"`
	MetricsMaxAge     string  `json:"metrics_max_age" example:"15m0s"`
	DefaultRegion     Region  `json:"default_region"`
}

// An Answer is the whole answer of POST /internal/placement/compute. With all candidates it
// is a snapshot of the region, too: see [ParseSnapshot].
type Answer struct {
	Outcome
	PlanTier  Tier           `json:"plan_tier"`
	DecidedAt time.Time      `json:"decided_at"`
	Algorithm string         `json:"algorithm"`
	TenantID  string         `json:"tenant_id,omitempty"`
	WhatIf    *WhatIfOutcome `json:"what_if,omitempty"`
}

// A WhatIfOutcome is what a [WhatIf] would lead to.
type WhatIfOutcome struct {
	Outcome
	Changes      []Change `json:"changes" doc:"the placement's first, then those of limits, regions and nodes"`
	ChangesTotal int      `json:"changes_total"`
}

// Answer spells d, with at most limit of its candidates; 0 is all.
func (d Decision) Answer(limit int) Answer {
	return Answer{Outcome: d.outcome(limit), PlanTier: d.Tier, DecidedAt: d.At, Algorithm: Algorithm}
}

// Answer spells c: the decision as it is, with the one that would be beside it, each with
// at most limit candidates, and as many changes of nodes; 0 is all.
func (c Comparison) Answer(limit int) Answer {
	a := c.Before.Answer(limit)
	a.WhatIf = &WhatIfOutcome{c.After.outcome(limit), c.limited(limit), len(c.Changes)}
	return a
}

func (d Decision) outcome(limit int) Outcome {
	o := Outcome{
		Placement: OutcomeResult{d.Placement.Region, d.Placement.CreateNewServer,
			orNull(d.Placement.TargetServerID), d.Placement.Dedicated},
		Candidates:      d.Candidates,
		CandidatesTotal: d.Total,
		Cluster:         d.Cluster,
		Clusters:        d.Clusters,
		SelectedNodeID:  orNull(d.SelectedNodeID()),
		DecisionReason:  d.Reason,
		Region:          d.Region,
		Thresholds: OutcomeThresholds{d.Thresholds.MemoryPctMax, d.Thresholds.MaxTenantsPerNode,
			d.Thresholds.MetricsMaxAge.String(), d.Thresholds.DefaultRegion},
		Snapshot: d.Snapshot,
	}
	if limit > 0 && limit < len(o.Candidates) {
		o.Candidates = o.Candidates[:limit:limit]
	}
	if o.Candidates == nil {
		o.Candidates = []Candidate{} // and not null
	}
	return o
}

// orNull is s, or nil when it is empty.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

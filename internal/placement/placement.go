// Package placement decides where a tenant lands: on a node that exists, on a new
// shared server, or on a dedicated stack of its own.
//
// It is pure: what is known of the world comes in as a [Snapshot], and the whole
// answer goes out as a [Decision], so that the same question always has the same
// answer and an old decision can be replayed, see [ParseSnapshot]. [Decide] is the
// definition: it looks at every node. [Index] gives the same answers, kept up to date
// node by node. [WhatIf] compares the world with another one.
//
// A new rule is a new reason in reasons, and in digestOf whatever else it looks at.
package placement

import "time"

// Algorithm names the rules below. It is part of every answer, so that a reader of
// an old decision knows which rules made it.
const Algorithm = "decidePlacement_unified_v1"

// A Region is where servers of a tenant stand, as the control plane names it.
type Region string

// The regions.
const (
	SG Region = "sg"
	US Region = "us"
	EU Region = "eu"
)

// Regions lists every region, in the order that people are shown.
func Regions() []Region { return []Region{SG, US, EU} }

// Valid reports whether r is one of [Regions].
func (r Region) Valid() bool { return r == SG || r == US || r == EU }

// A Tier is what a tenant pays for.
type Tier string

// The tiers.
const (
	Free         Tier = "free"
	Basic        Tier = "basic"
	Professional Tier = "professional"
	Enterprise   Tier = "enterprise"
)

// Tiers lists every tier, from the smallest.
func Tiers() []Tier { return []Tier{Free, Basic, Professional, Enterprise} }

// Valid reports whether t is one of [Tiers].
func (t Tier) Valid() bool {
	return t == Free || t == Basic || t == Professional || t == Enterprise
}

// Dedicated reports whether a tenant of this tier has servers of its own.
func (t Tier) Dedicated() bool { return t == Enterprise }

// A Request asks where a tenant of Tier lands in Region.
// An empty Tier is [Basic]; an empty Region is the one of the [Snapshot]'s thresholds.
type Request struct {
	Tier   Tier
	Region Region
}

// A Node is what placement needs to know of a server.
type Node struct {
	ID        string
	Region    Region
	Active    bool
	Dedicated bool
	// Tenants counts the tenants on the node and the jobs on their way to it.
	Tenants int
	// MemoryPct is memory in use, 0 to 100; nil when no metric has come yet.
	MemoryPct *float64
	// MetricsAt is when MemoryPct was measured; zero when never.
	MetricsAt time.Time
}

// Thresholds are the limits that a node must keep to be eligible.
type Thresholds struct {
	MemoryPctMax      float64       // at most; PLACEMENT_MEMORY_PCT_MAX
	MaxTenantsPerNode int           // fewer than; PLACEMENT_MAX_TENANTS_PER_NODE
	MetricsMaxAge     time.Duration // at most, behind or ahead of our clock; PLACEMENT_METRICS_MAX_AGE
	DefaultRegion     Region        // of a request that names none; PLACEMENT_DEFAULT_REGION
}

// DefaultThresholds are the limits of an installation that sets none.
func DefaultThresholds() Thresholds {
	return Thresholds{
		MemoryPctMax:      80,
		MaxTenantsPerNode: 40,
		MetricsMaxAge:     15 * time.Minute,
		DefaultRegion:     SG,
	}
}

// A Snapshot is the world as a decision sees it. No two of its nodes have the same ID.
type Snapshot struct {
	Nodes      []Node
	Thresholds Thresholds
	Now        time.Time
}

// A Result is the placement itself, as provision_jobs and the message carry it.
type Result struct {
	Region          Region `json:"region" enum:"sg,us,eu"`
	CreateNewServer bool   `json:"create_new_server"`
	// TargetServerID is the node to use; empty when a server is to be created.
	TargetServerID string `json:"target_server_id"`
	Dedicated      bool   `json:"dedicated"`
}

// A Reason says in one word why a placement is what it is.
type Reason string

// The reasons.
const (
	DedicatedTier        Reason = "dedicated_tier"
	ExistingNodeSelected Reason = "existing_node_selected"
	NoEligibleNode       Reason = "no_eligible_node"
	NoNodesInRegion      Reason = "no_nodes_in_region"
)

// A Candidate is one node of the region with all that was decided on, and what spoke against it.
type Candidate struct {
	NodeID    string   `json:"node_id"`
	Eligible  bool     `json:"eligible"`
	Rank      int      `json:"rank,omitempty" doc:"1 is the best; absent when not eligible"`
	Reasons   []string `json:"reasons,omitempty" doc:"what speaks against it, each with its number and the limit"`
	Active    bool     `json:"active"`
	Dedicated bool     `json:"dedicated,omitempty"`
	// MemoryPct is nil for a value that is no percentage, and MetricsAt zero for a time that
	// no metric can have: neither reaches JSON.
	MemoryPct *float64  `json:"memory_pct,omitempty"`
	Tenants   int       `json:"tenant_count"`
	MetricsAt time.Time `json:"metrics_at,omitzero"`
}

// A Cluster sums a region up.
type Cluster struct {
	Nodes      int `json:"nodes"`
	Eligible   int `json:"eligible"`
	Tenants    int `json:"tenants"`     // on all nodes
	FreePlaces int `json:"free_places"` // on eligible nodes
}

// A Decision is a placement, and everything that led to it.
type Decision struct {
	Placement Result
	Reason    Reason
	Tier      Tier // that was asked for, or [Basic]
	Region    Region
	// Candidates are the nodes of the region, the best first: all Total of them, or as many
	// as were asked for.
	Candidates []Candidate
	Total      int
	Cluster    Cluster            // of Region
	Clusters   map[Region]Cluster // of every region, the empty ones among [Regions] too
	Thresholds Thresholds
	// Snapshot is a hash of what was decided on, 32 hex digits. Two decisions have the same
	// one exactly if they were made on the same things: for a dedicated tier its region; for
	// any other the region, the limits, and of each node there its id, whether it is active
	// and dedicated, its tenants, its memory in use, and whether its metrics are fresh. How
	// old exactly they are is not part of it, nor is another region.
	Snapshot string
	At       time.Time // when
}

// SelectedNodeID is the node that the tenant lands on; empty when a server is to be created.
func (d Decision) SelectedNodeID() string { return d.Placement.TargetServerID }

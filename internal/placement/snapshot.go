package placement

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// A file is what [ParseSnapshot] reads. It is of either kind, but for what both have.
type file struct {
	Nodes      []fileNode `json:"nodes"`
	Candidates []fileNode `json:"candidates"` // of the region, in an [Answer]
	Total      int        `json:"candidates_total"`
	Region     Region     `json:"region"`
	PlanTier   Tier       `json:"plan_tier"`

	DecidedAt  *time.Time `json:"decided_at"`
	Thresholds struct {
		Overrides
		DefaultRegion *Region `json:"default_region"`
	} `json:"thresholds"`
}

// A fileNode is a node as GET /internal/nodes lists it, or a [Candidate].
type fileNode struct {
	ID        string    `json:"node_id"`
	Region    Region    `json:"region"`
	Status    string    `json:"status"`
	Active    *bool     `json:"active"`
	Dedicated bool      `json:"dedicated"`
	Tenants   int       `json:"tenant_count"`
	MemoryPct *float64  `json:"memory_pct"`
	MetricsAt time.Time `json:"metrics_at"`
}

// ParseSnapshot reads a snapshot in JSON. It is an [Answer] with all its candidates, so that
// the decision can be made again: then asked is what was asked. Or it is an object with
// nodes as GET /internal/nodes lists them, and, where they are not t and now, thresholds and
// decided_at as in an Answer. The error is a [FieldErrors], or one of encoding/json.
//
// An Answer tells of the other regions no more than their sums: those are empty when it is
// decided again.
func ParseSnapshot(data []byte, t Thresholds, now time.Time) (s Snapshot, asked Request, err error) {
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return s, asked, err
	}
	var errs FieldErrors
	s = Snapshot{Thresholds: WhatIf{Thresholds: &f.Thresholds.Overrides}.limits(t, &errs), Now: now}
	if f.DecidedAt != nil {
		s.Now = *f.DecidedAt
	}
	if r := f.Thresholds.DefaultRegion; r != nil {
		if s.Thresholds.DefaultRegion = *r; *r != "" && !r.Valid() {
			errs.add("thresholds.default_region", string(*r), "is not sg, us or eu")
		}
	}
	switch {
	case f.Nodes != nil:
		s.Nodes = f.nodes(f.Nodes, "nodes", &errs)
	case f.Candidates == nil:
		errs.add("nodes", "", "are missing, and so are candidates: it is no snapshot")
	default:
		asked = f.asked(&errs)
		s.Nodes = f.nodes(f.Candidates, "candidates", &errs)
	}
	if errs != nil {
		return Snapshot{}, Request{}, errs
	}
	return s, asked, nil
}

// asked is the question of an answer; each candidate is in the region that it was about.
func (f *file) asked(errs *FieldErrors) Request {
	for i := range f.Candidates {
		f.Candidates[i].Region = f.Region
	}
	if !f.Region.Valid() {
		errs.add("region", string(f.Region), "is not sg, us or eu")
	}
	if f.PlanTier != "" && !f.PlanTier.Valid() {
		errs.add("plan_tier", string(f.PlanTier), "is not free, basic, professional or enterprise")
	}
	if f.Total > len(f.Candidates) {
		errs.add("candidates", strconv.Itoa(len(f.Candidates)), "are not all "+strconv.Itoa(f.Total)+" that were decided on: ask with candidates_limit 0")
	}
	return Request{Tier: f.PlanTier, Region: f.Region}
}

func (f *file) nodes(list []fileNode, name string, errs *FieldErrors) []Node {
	nodes := make([]Node, len(list))
	seen := map[string]bool{}
	for i, n := range list {
		at := name + "[" + strconv.Itoa(i) + "]"
		if n.ID == "" {
			errs.add(at+".node_id", "", "is missing")
		} else if strings.ContainsFunc(n.ID, func(r rune) bool { return !unicode.IsPrint(r) }) {
			errs.add(at+".node_id", n.ID, "holds a character that cannot be printed")
		} else if seen[n.ID] {
			errs.add(at+".node_id", n.ID, "is there twice")
		}
		seen[n.ID] = true
		if !n.Region.Valid() && name == "nodes" {
			errs.add(at+".region", string(n.Region), "is not sg, us or eu")
		}
		active := n.Status == "active" || n.Status == ""
		if n.Active != nil {
			active = *n.Active
		}
		nodes[i] = Node{ID: n.ID, Region: n.Region, Active: active, Dedicated: n.Dedicated,
			Tenants: n.Tenants, MemoryPct: n.MemoryPct, MetricsAt: n.MetricsAt}
	}
	return nodes
}

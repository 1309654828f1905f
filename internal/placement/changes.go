package placement

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Change is one difference that a [WhatIf] makes.
type Change struct {
	What   string `json:"what" enum:"placement,thresholds,cluster,node"`
	NodeID string `json:"node_id,omitempty" doc:"of a change to a node"`
	Region Region `json:"region,omitempty" doc:"of a change to a cluster"`
	Text   string `json:"text" doc:"a sentence"`
}

// changes lists what differs between the two. A node's rank alone is no change of its own:
// it moves with the others.
func (w WhatIf) changes(before, after Decision) []Change {
	list := []Change{{What: "placement", Text: placementChange(before, after)}}
	list = append(list, thresholdChanges(before.Thresholds, after.Thresholds)...)
	for _, region := range slices.Sorted(maps.Keys(after.Clusters)) {
		if text := clusterChange(before.Clusters[region], after.Clusters[region]); text != "" {
			list = append(list, Change{What: "cluster", Region: region, Text: string(region) + " " + text})
		}
	}
	was := make(map[string]Candidate, len(before.Candidates))
	for _, c := range before.Candidates {
		was[c.NodeID] = c
	}
	nodes := len(list)
	for _, c := range after.Candidates {
		if text := nodeChange(was[c.NodeID], c); text != "" {
			list = append(list, Change{What: "node", NodeID: c.NodeID, Text: text})
		}
	}
	slices.SortFunc(list[nodes:], func(a, b Change) int { return cmp.Compare(a.NodeID, b.NodeID) })
	return list
}

// limited returns the changes with those of at most limit nodes; 0 is all.
func (c Comparison) limited(limit int) []Change {
	first := slices.IndexFunc(c.Changes, func(c Change) bool { return c.What == "node" })
	if limit <= 0 || first < 0 {
		return c.Changes
	}
	return c.Changes[:min(first+limit, len(c.Changes))]
}

// where says in words where r puts the tenant.
func (r Result) where() string {
	switch {
	case r.Dedicated:
		return "a dedicated stack in " + string(r.Region)
	case r.CreateNewServer:
		return "a new shared server in " + string(r.Region)
	}
	return "node " + r.TargetServerID
}

func placementChange(before, after Decision) string {
	was, is := before.Placement.where(), after.Placement.where()
	switch {
	case was != is:
		return fmt.Sprintf("the tenant would land on %s (%s), and not on %s (%s)", is, after.Reason, was, before.Reason)
	case before.Reason != after.Reason:
		return fmt.Sprintf("the tenant would still land on %s, but for another reason (%s, and not %s)", is, after.Reason, before.Reason)
	}
	return fmt.Sprintf("the tenant would still land on %s (%s)", is, after.Reason)
}

func thresholdChanges(before, after Thresholds) []Change {
	var list []Change
	say := func(text string) { list = append(list, Change{What: "thresholds", Text: text}) }
	if was, is := before.MemoryPctMax, after.MemoryPctMax; was != is {
		say(fmt.Sprintf("memory_pct_max would be %s in place of %s", decimal(is), decimal(was)))
	}
	if was, is := before.MaxTenantsPerNode, after.MaxTenantsPerNode; was != is {
		say(fmt.Sprintf("max_tenants_per_node would be %d in place of %d", is, was))
	}
	if was, is := before.MetricsMaxAge, after.MetricsMaxAge; was != is {
		say(fmt.Sprintf("metrics_max_age would be %s in place of %s", is, was))
	}
	return list
}

func clusterChange(before, after Cluster) string {
	var list []string
	say := func(what string, was, is int) {
		if was != is {
			list = append(list, fmt.Sprintf("%d in place of %d %s", is, was, what))
		}
	}
	say("eligible nodes", before.Eligible, after.Eligible)
	say("tenants", before.Tenants, after.Tenants)
	say("free places", before.FreePlaces, after.FreePlaces)
	if list == nil {
		return ""
	}
	return "would have " + strings.Join(list, ", ")
}

func nodeChange(was, is Candidate) string {
	var list []string
	if was.Active && !is.Active {
		list = append(list, "would be drained")
	}
	if was.Tenants != is.Tenants {
		list = append(list, fmt.Sprintf("would have %d in place of %d tenants", is.Tenants, was.Tenants))
	}
	switch {
	case was.Eligible && !is.Eligible:
		list = append(list, fmt.Sprintf("would no longer be eligible, and was rank %d: %s", was.Rank, strings.Join(is.Reasons, "; ")))
	case is.Eligible && !was.Eligible:
		list = append(list, fmt.Sprintf("would be eligible, with rank %d; as it is, it is not: %s", is.Rank, strings.Join(was.Reasons, "; ")))
	case list != nil && was.Rank != is.Rank:
		list = append(list, fmt.Sprintf("would be rank %d, and was %d", is.Rank, was.Rank))
	}
	if list == nil {
		return ""
	}
	return is.NodeID + " " + strings.Join(list, ", ")
}

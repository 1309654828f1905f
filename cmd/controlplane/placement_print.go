package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/pregoi/provision-tenant/internal/placement"
)

// printAnswer writes a for a person: the decision in a sentence, then what it was made on.
func printAnswer(out io.Writer, a placement.Answer) error {
	fmt.Fprintln(out, sentence(a.PlanTier, a.Outcome))
	if err := printOutcome(out, a.Outcome); err != nil || a.WhatIf == nil {
		return err
	}
	w := a.WhatIf
	fmt.Fprintln(out, "\nwhat if:", sentence(a.PlanTier, w.Outcome))
	for _, c := range w.Changes {
		fmt.Fprintln(out, "  -", c.Text)
	}
	if more := w.ChangesTotal - len(w.Changes); more > 0 {
		fmt.Fprintf(out, "  - and %d more nodes would change; --all shows them\n", more)
	}
	return printOutcome(out, w.Outcome)
}

// sentence says the decision, and why.
func sentence(tier placement.Tier, o placement.Outcome) string {
	what := "a new shared server"
	why := fmt.Sprintf("%s has no nodes", o.Region)
	switch o.DecisionReason {
	case placement.DedicatedTier:
		what, why = "a dedicated stack", "that is what the tier has"
	case placement.NoEligibleNode:
		why = fmt.Sprintf("none of %d nodes is eligible", o.Cluster.Nodes)
	case placement.ExistingNodeSelected:
		what = "node " + *cmp.Or(o.SelectedNodeID, new(""))
		why = chosen(o)
	}
	return fmt.Sprintf("%s tenant in %s: %s, since %s (%s)", tier, o.Region, what, why, o.DecisionReason)
}

// chosen says what made the node the first.
func chosen(o placement.Outcome) string {
	if o.Cluster.Eligible == 1 || len(o.Candidates) < 2 {
		return "it is the only eligible node"
	}
	why := fmt.Sprintf("of %d eligible nodes it has the least memory in use", o.Cluster.Eligible)
	first, second := o.Candidates[0], o.Candidates[1]
	switch {
	case first.MemoryPct == nil || second.MemoryPct == nil || *first.MemoryPct < *second.MemoryPct:
		return why
	case first.Tenants < second.Tenants:
		return why + ", and of those with as little the fewest tenants"
	}
	return why + ", and of those with as little and as few tenants it is the first by name"
}

func printOutcome(out io.Writer, o placement.Outcome) error {
	if len(o.Candidates) > 0 {
		fmt.Fprintln(out)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "RANK\tNODE\tMEMORY\tTENANTS\tAGAINST")
		for _, n := range o.Candidates {
			rank, memory := "-", "-"
			if n.Rank > 0 {
				rank = strconv.Itoa(n.Rank)
			}
			if n.MemoryPct != nil {
				memory = fmt.Sprintf("%.1f%%", *n.MemoryPct)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", rank, n.NodeID, memory, n.Tenants, cmp.Or(strings.Join(n.Reasons, "; "), "nothing"))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if more := o.CandidatesTotal - len(o.Candidates); more > 0 {
		fmt.Fprintf(out, "and %d more; --all shows them\n", more)
	}
	_, err := fmt.Fprintf(out, "\n%d nodes in %s, %d eligible, %d tenants, %d free places; memory at most %g%%, fewer than %d tenants, metrics at most %s old\nsnapshot %s (%s)\n",
		o.Cluster.Nodes, o.Region, o.Cluster.Eligible, o.Cluster.Tenants, o.Cluster.FreePlaces,
		o.Thresholds.MemoryPctMax, o.Thresholds.MaxTenantsPerNode, o.Thresholds.MetricsMaxAge, o.Snapshot, placement.Algorithm)
	return err
}

package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// placementFlags are the question.
type placementFlags struct {
	url, tier, region, tenant string
	json                      bool
}

func placementCommand(stdout io.Writer, getenv func(string) string) *cobra.Command {
	var f placementFlags
	c := &cobra.Command{
		Use:   "placement",
		Short: "Ask a control plane where a tenant would land, and why; nothing is changed",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return askPlacement(c, f, stdout, getenv)
		},
	}
	c.Flags().StringVar(&f.url, "url", "", "the control plane's address (default CONTROL_PLANE_URL)")
	c.Flags().StringVar(&f.tier, "tier", "basic", "free, basic, professional or enterprise")
	c.Flags().StringVar(&f.region, "region", "", "sg, us or eu (default the control plane's)")
	c.Flags().StringVar(&f.tenant, "tenant", "", "a tenant_id, echoed")
	c.Flags().BoolVar(&f.json, "json", false, "print the answer as it came")
	return c
}

func askPlacement(c *cobra.Command, f placementFlags, stdout io.Writer, getenv func(string) string) error {
	q := controlplane.Question{Tier: placement.Tier(f.tier), Region: placement.Region(f.region), TenantID: f.tenant}
	var errs []error
	if !q.Tier.Valid() {
		errs = append(errs, fmt.Errorf("--tier %q is not free, basic, professional or enterprise", f.tier))
	}
	if q.Region != "" && !q.Region.Valid() {
		errs = append(errs, fmt.Errorf("--region %q is not sg, us or eu", f.region))
	}
	cp := &controlplane.Client{
		URL: cmp.Or(f.url, strings.TrimSpace(getenv("CONTROL_PLANE_URL"))),
		Key: strings.TrimSpace(getenv("INTERNAL_API_KEY")),
	}
	if cp.URL == "" {
		errs = append(errs, fmt.Errorf("CONTROL_PLANE_URL is not set, and there is no --url"))
	}
	if err := invalid(errs); err != nil {
		return err
	}
	p, err := cp.Place(c.Context(), q)
	if err != nil {
		return err
	}
	if f.json {
		_, err = stdout.Write(p.JSON)
	} else {
		err = printPlacement(stdout, q, p)
	}
	if err != nil {
		return provision.Errorf(provision.Internal, "print the answer: %w", err)
	}
	return nil
}

// printPlacement writes p for a person: the decision first, then what it was made on.
func printPlacement(out io.Writer, q controlplane.Question, p controlplane.Placement) error {
	where := "a new shared server"
	switch {
	case p.Placement.Dedicated:
		where = "a dedicated stack"
	case p.SelectedNodeID != "":
		where = "node " + p.SelectedNodeID
	}
	fmt.Fprintf(out, "%s tenant in %s: %s (%s)\n", q.Tier, p.Region, where, p.DecisionReason)
	if len(p.Candidates) > 0 {
		fmt.Fprintln(out)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "RANK\tNODE\tMEMORY\tTENANTS\tAGAINST")
		for _, n := range p.Candidates {
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
	_, err := fmt.Fprintf(out, "\n%d nodes in %s, %d eligible, %d tenants, %d free places; memory at most %g%%, fewer than %d tenants, metrics at most %s old (%s)\n",
		p.Cluster.Nodes, p.Region, p.Cluster.Eligible, p.Cluster.Tenants, p.Cluster.FreePlaces,
		p.Thresholds.MemoryPctMax, p.Thresholds.MaxTenantsPerNode, p.Thresholds.MetricsMaxAge, p.Algorithm)
	return err
}

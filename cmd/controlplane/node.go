package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// nodeStatuses are what can be made of a node, and what that means.
var nodeStatuses = []struct {
	verb, short string
	status      provision.NodeStatus
}{
	{"activate", "Let a node get new tenants again", provision.NodeActive},
	{"drain", "Let a node keep its tenants, and get no new ones", provision.NodeDraining},
	{"disable", "Say that a node is out of use: it gets no new tenants", provision.NodeDisabled},
}

func nodeCommand(stdout io.Writer, getenv func(string) string) *cobra.Command {
	url := ""
	c := &cobra.Command{
		Use:   "node",
		Short: "Drain a node, or take it into use again",
		Long: "Drain a node of a control plane that is up, or take it into use again. A run that registers its\n" +
			"node again does not undo it. A job that is on its way to a node that is drained fails, and its\n" +
			"tenant can be enqueued again.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.PersistentFlags().StringVar(&url, "url", "", "the control plane's `address` (default CONTROL_PLANE_URL)")
	for _, s := range nodeStatuses {
		c.AddCommand(&cobra.Command{
			Use:   s.verb + " NODE_ID",
			Short: s.short,
			Args:  usageArgs(cobra.ExactArgs(1)),
			RunE: func(c *cobra.Command, args []string) error {
				return setNodeStatus(c.Context(), url, args[0], s.status, stdout, getenv)
			},
		})
	}
	return c
}

func setNodeStatus(ctx context.Context, url, id string, status provision.NodeStatus, stdout io.Writer, getenv func(string) string) error {
	env := func(name string) string { return strings.TrimSpace(getenv(name)) }
	cp := &controlplane.Client{URL: cmp.Or(url, env("CONTROL_PLANE_URL")), Key: env("INTERNAL_API_KEY")}
	if cp.URL == "" {
		return invalid([]error{fmt.Errorf("CONTROL_PLANE_URL is not set, and there is no --url")})
	}
	n, err := cp.SetNodeStatus(ctx, id, status)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(stdout, "node %s in %s is %s, and has %d tenants\n", n.ID, n.Region, n.Status, n.TenantCount); err != nil {
		return provision.Errorf(provision.Internal, "print: %w", err)
	}
	return nil
}

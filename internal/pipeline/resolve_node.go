package pipeline

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// ResolveNode finds the node that the placement chose, and refuses one that the tenant
// must not land on. node answers [provision.NotFound] for a node that is not there.
func ResolveNode(node func(ctx context.Context, id string) (provision.Node, error)) Step {
	return Step{
		Name: "resolve_node",
		Skip: func(r *Run) string {
			if r.Job.TargetServerID == "" {
				return "no target server: one will be created"
			}
			return ""
		},
		Do: func(ctx context.Context, r *Run) (string, error) {
			n, err := node(ctx, r.Job.TargetServerID)
			if err != nil {
				return "", err
			}
			if err := fit(n, r.Job); err != nil {
				return "", err
			}
			r.Node = n
			return fmt.Sprintf("node %s at %s", n.ID, n.Host), nil
		},
	}
}

// fit says why the tenant of j must not land on n.
func fit(n provision.Node, j provision.Job) error {
	switch {
	case n.ID != j.TargetServerID:
		return provision.Errorf(provision.Internal, "asked for node %s, the control plane answered with node %q", j.TargetServerID, n.ID)
	case n.Region != j.Region:
		return provision.Errorf(provision.Invalid, "node %s: expected region %s, found %s", n.ID, j.Region, n.Region)
	case n.Status != provision.NodeActive:
		return provision.Errorf(provision.Invalid, "node %s: expected status %s, found %s", n.ID, provision.NodeActive, n.Status)
	case n.Dedicated && n.TenantID != j.TenantID:
		return provision.Errorf(provision.Conflict, "node %s: expected a shared node or one of tenant %s, found one dedicated to tenant %s", n.ID, j.TenantID, n.TenantID)
	case n.Host == "":
		return provision.Errorf(provision.Invalid, "node %s: has no host", n.ID)
	}
	for _, host := range []string{n.Host, n.DBHost, n.RedisHost} {
		if host != "" && !isHost(host) {
			return provision.Errorf(provision.Invalid, "node %s: %.80q is neither an address nor the name of a host", n.ID, host)
		}
	}
	return nil
}

// isHost reports whether s can be an address or a name. What is handed over is evaluated there:
// Ansible takes {{ … }} in an inventory for an expression.
func isHost(s string) bool {
	if ip, err := netip.ParseAddr(s); err == nil {
		return ip.Zone() == ""
	}
	return len(s) <= 253 && s[0] != '-' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == ""
}

package pipeline

import (
	"context"
	"fmt"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// Nodes are the servers that the control plane knows.
type Nodes interface {
	// Node answers [provision.NotFound] for a node that is not there.
	Node(ctx context.Context, id string) (provision.Node, error)
	// RegisterNode sends the node once. It answers [provision.Busy] when it cannot tell
	// whether the node was taken.
	RegisterNode(ctx context.Context, n provision.Node, j provision.Job) error
}

// registerTries is how often a node is sent before the run gives up.
const registerTries = 4

// RegisterNode makes the control plane know the job's app server.
func RegisterNode(nodes Nodes) Step {
	return Step{
		Name: "register_node",
		Skip: usesNode,
		Plan: func(ctx context.Context, r *Run) (string, error) {
			if len(r.Servers) == 0 {
				return "register the new server as a node", nil
			}
			known, err := registered(ctx, nodes, r.Node)
			if err != nil || known {
				return "", err
			}
			return fmt.Sprintf("register node %s at %s", r.Node.ID, r.Node.Host), nil
		},
		Do: func(ctx context.Context, r *Run) (string, error) {
			if len(r.Servers) == 0 {
				return "", provision.Errorf(provision.Invalid, "stack %s holds no server of this job", r.Stack)
			}
			for try := 1; ; try++ {
				// Look first: the answer to an earlier try may have been lost.
				known, err := registered(ctx, nodes, r.Node)
				switch {
				case known && try == 1:
					return fmt.Sprintf("node %s was registered already", r.Node.ID), nil
				case known:
					return fmt.Sprintf("node %s at %s", r.Node.ID, r.Node.Host), nil
				case err == nil:
					err = nodes.RegisterNode(ctx, r.Node, r.Job)
				}
				if err == nil {
					return fmt.Sprintf("node %s at %s", r.Node.ID, r.Node.Host), nil
				}
				if provision.ClassOf(err) != provision.Busy || try == registerTries {
					return "", err
				}
				if err := sleep(ctx, time.Second<<(try-1)); err != nil {
					return "", err
				}
			}
		},
	}
}

// registered reports whether the control plane knows n. Another node under its id is a conflict.
func registered(ctx context.Context, nodes Nodes, n provision.Node) (bool, error) {
	have, err := nodes.Node(ctx, n.ID)
	switch {
	case provision.ClassOf(err) == provision.NotFound:
		return false, nil
	case err != nil:
		return false, err
	case have.Region != n.Region || have.Host != n.Host || have.Dedicated != n.Dedicated || have.TenantID != n.TenantID:
		return false, provision.Errorf(provision.Conflict,
			"node %s is registered as another: expected region %s, host %s, tenant %q, found region %s, host %s, tenant %q",
			n.ID, n.Region, n.Host, n.TenantID, have.Region, have.Host, have.TenantID)
	}
	return true, nil
}

// sleep waits, unless ctx is done first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

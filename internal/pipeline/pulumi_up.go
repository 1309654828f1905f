package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// A Program is the Pulumi program whose stacks hold the servers. Where new servers may
// stand is told in places, in the order in which they are tried; none leave it to the program.
type Program interface {
	// Check refuses what Preview and Up would: a backend or a source that cannot be read, a
	// stack that is another tenant's.
	Check(ctx context.Context, j provision.Job, stack string) error
	// Preview says what Up would do, and changes nothing.
	Preview(ctx context.Context, j provision.Job, stack string, places ...provision.Place) (provision.StackPlan, error)
	// Up makes the stack hold the job's servers, and never deletes or replaces one. When it
	// fails, the result's Changes still say what had been done by then.
	Up(ctx context.Context, j provision.Job, stack string, places ...provision.Place) (provision.StackResult, error)
}

// Machines are the servers as their vendor knows them.
type Machines interface {
	// Preflight says which places of the order can be tried. It refuses an order that cannot
	// be filled, and, if something is to be made, a token that may not write.
	Preflight(ctx context.Context, j provision.Job, o provision.Order, write bool) (provision.Offer, error)
	// Verify waits until the servers run, and returns them completed with what the vendor
	// knows. It fails if one is missing, in another region, or has another address than s says.
	Verify(ctx context.Context, j provision.Job, s []provision.Server) ([]provision.Server, error)
	// Label sets labels on a server, and refuses one that carries another tenant's.
	Label(ctx context.Context, s provision.Server, labels map[string]string) error
}

// PulumiUp makes the stack hold the job's servers, and looks at the vendor's whether
// they are really there. New ones are made as the order says.
func PulumiUp(program Program, machines Machines, order provision.Order) Step {
	return Step{
		Name:  "pulumi_up",
		Skip:  usesNode,
		Check: func(ctx context.Context, r *Run) error { return checkStack(ctx, r, program, machines, order) },
		Plan: func(ctx context.Context, r *Run) (string, error) {
			plan, err := program.Preview(ctx, r.Job, r.Stack, r.places(order)...)
			if err != nil {
				return "", err
			}
			if len(plan.Changes) > 0 || len(plan.Servers) == 0 {
				return wouldChange(r.Stack, plan.Changes), nil
			}
			servers, err := machines.Verify(ctx, r.Job, plan.Servers)
			if err != nil {
				return "", err
			}
			if len(servers) == 0 {
				return wouldChange(r.Stack, nil), nil
			}
			r.setServers(servers)
			return "", nil
		},
		Do: func(ctx context.Context, r *Run) (string, error) {
			result, err := program.Up(ctx, r.Job, r.Stack, r.places(order)...)
			r.Changes = result.Changes
			if err != nil {
				return "", r.nowhereElse(err)
			}
			servers, err := machines.Verify(ctx, r.Job, result.Servers)
			if err != nil {
				return "", err
			}
			if len(servers) == 0 {
				return "", provision.Errorf(provision.Invalid, "stack %s exports no server of this job", r.Stack)
			}
			r.setServers(servers)
			for _, s := range servers {
				if err := machines.Label(ctx, s, labels(r.Job, r.Node.ID, s.Role)); err != nil {
					return "", err
				}
			}
			return fmt.Sprintf("stack %s: %s; %s", r.Stack, count(result.Changes), list(servers)), nil
		},
	}
}

// checkStack asks the program and the vendor at the same time.
func checkStack(ctx context.Context, r *Run, program Program, machines Machines, order provision.Order) error {
	if usesNode(r) != "" {
		return nil
	}
	var refused error
	var asked sync.WaitGroup
	asked.Go(func() { refused = program.Check(ctx, r.Job, r.Job.StackName()) })
	offer, err := machines.Preflight(ctx, r.Job, order, !r.Plan)
	asked.Wait()
	r.offer = &offer
	return provision.Join(refused, err)
}

// places are where new servers may stand, and what was said about them is passed on.
func (r *Run) places(order provision.Order) []provision.Place {
	if r.offer == nil {
		return order.Places()
	}
	r.Warnings = append(r.Warnings, r.offer.Warnings...)
	return r.offer.Places
}

// nowhereElse adds to an error that says that there is no server to be had which places
// were not even tried.
func (r *Run) nowhereElse(err error) error {
	e := (*provision.Error)(nil)
	if provision.ClassOf(err) != provision.NoCapacity || !errors.As(err, &e) || r.offer == nil || len(r.offer.Skipped) == 0 {
		return err
	}
	with := *e
	with.Text += "; not tried: " + strings.Join(r.offer.Skipped, ", ")
	return &with
}

// setServers records the servers, and the node that they make: a function of what exists.
func (r *Run) setServers(servers []provision.Server) {
	r.Servers = servers
	r.CreatedServer = true
	app := servers[0]
	r.Node = provision.Node{
		ID:               provision.NodeID(string(r.Job.Region), app.ID),
		Region:           r.Job.Region,
		Host:             app.IPv4,
		IPv6:             app.IPv6,
		Status:           provision.NodeActive,
		Dedicated:        r.Job.Dedicated,
		Provider:         "hetzner",
		ProviderServerID: app.ID,
	}
	if r.Job.Dedicated {
		r.Node.TenantID = r.Job.TenantID
	}
	for _, s := range servers[1:] {
		switch s.Role {
		case provision.DB:
			r.Node.DBHost = s.IPv4
		case provision.Redis:
			r.Node.RedisHost = s.IPv4
		}
	}
}

// labels are what a server is marked with at its vendor.
func labels(j provision.Job, nodeID string, role provision.Role) map[string]string {
	return map[string]string{
		"tenant_id": provision.LabelValue(j.TenantID),
		"job_id":    provision.LabelValue(j.ID),
		"node_id":   provision.LabelValue(nodeID),
		"role":      string(role),
	}
}

func wouldChange(stack string, changes []provision.Change) string {
	if len(changes) == 0 {
		return "stack " + stack + " holds no server of this job"
	}
	names := make([]string, len(changes))
	for i, c := range changes {
		names[i] = c.String()
	}
	return fmt.Sprintf("stack %s: %s", stack, strings.Join(names, ", "))
}

func count(changes []provision.Change) string {
	if len(changes) == 0 {
		return "nothing to change"
	}
	n := map[provision.Op]int{}
	for _, c := range changes {
		n[c.Op]++
	}
	var parts []string
	for _, op := range []provision.Op{provision.Create, provision.Update} {
		if n[op] > 0 {
			parts = append(parts, fmt.Sprintf("%d %sd", n[op], op))
		}
	}
	return strings.Join(parts, ", ")
}

func list(servers []provision.Server) string {
	texts := make([]string, len(servers))
	for i, s := range servers {
		texts[i] = fmt.Sprintf("%s server %s at %s", s.Role, s.ID, s.IPv4)
	}
	return strings.Join(texts, ", ")
}

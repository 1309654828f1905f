package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// A tenant is one of the demo's.
type tenant struct {
	id   string
	tier placement.Tier
	want expectation
}

// An expectation says what the demo holds a tenant to: a provisioned tenant that landed
// elsewhere would show a placement that is wrong.
type expectation struct {
	reason  placement.Reason
	servers int  // made for the tenant
	stack   bool // whether there is one
}

var (
	freeTenant       = tenant{"acme-1", placement.Free, expectation{placement.NoNodesInRegion, 1, true}}
	basicTenant      = tenant{"birch-2", placement.Basic, expectation{placement.ExistingNodeSelected, 0, false}}
	enterpriseTenant = tenant{"cedar-3", placement.Enterprise, expectation{placement.DedicatedTier, 3, true}}
)

// Demo provisions three tenants: a free one and an enterprise one side by side, and a
// basic one as soon as the free one's node is there. It draws a timeline on out, reads
// everything back, prints it, and fails unless every fact is right. live says that out is
// a terminal.
func (s *Sandbox) Demo(ctx context.Context, out io.Writer, live bool) error {
	start := time.Now()
	t := newTimeline(out, live)
	lanes := map[string]*lane{}
	tenants := []tenant{freeTenant, basicTenant, enterpriseTenant}
	for _, tn := range tenants {
		lanes[tn.id] = t.lane(tn.id)
	}
	jobs := make([]string, len(tenants))
	provisionTenant := func(ctx context.Context, i int) (err error) {
		jobs[i], err = s.provision(ctx, t, lanes[tenants[i].id], tenants[i])
		return err
	}
	stop := t.keepDrawing()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return provisionTenant(gctx, 2) })
	g.Go(func() error {
		if err := provisionTenant(gctx, 0); err != nil {
			return err
		}
		// The node's agent reports: without metrics no tenant would be put there.
		if err := s.pushMetrics(gctx); err != nil {
			return err
		}
		return provisionTenant(gctx, 1)
	})
	err := g.Wait()
	stop()
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	sheets := make([]sheet, len(tenants))
	for i, tn := range tenants {
		sheets[i] = s.readBack(ctx, tn.id, jobs[i], &tn.want)
	}
	wrong := printSheets(out, sheets)
	switch {
	case err != nil:
		return err
	case wrong > 0:
		return provision.Errorf(provision.Internal, "%d of the facts above are wrong", wrong)
	}
	fmt.Fprintf(out, "\nThree tenants in %.1f s. All of this was read back: jobs, nodes and traces from the control plane, runs\nfrom GitHub, servers from Hetzner, records from Cloudflare, stacks from Pulumi's backend.\n", time.Since(start).Seconds())
	return nil
}

// provision enqueues a tenant and follows its job to the end.
func (s *Sandbox) provision(ctx context.Context, t *timeline, l *lane, tn tenant) (jobID string, err error) {
	start := time.Now()
	t.set(l, "enqueue", provision.Started, 0, "")
	accepted, err := s.Client.Enqueue(ctx, controlplane.Order{
		TenantID: tn.id, Tier: tn.tier, Region: placement.SG, Slug: tn.id, Key: "demo-" + tn.id,
	})
	if err != nil {
		t.set(l, "enqueue", provision.Failed, time.Since(start), err.Error())
		return "", err
	}
	t.set(l, "enqueue", provision.Succeeded, time.Since(start), accepted.JobID)
	return accepted.JobID, s.follow(ctx, t, l, accepted.JobID)
}

// followTime bounds how long a job is waited for, and pollTime is the time between looks.
const (
	followTime = 10 * time.Minute
	pollTime   = 150 * time.Millisecond
)

// follow shows a job's progress until it has ended, and returns why it failed.
func (s *Sandbox) follow(ctx context.Context, t *timeline, l *lane, jobID string) error {
	ctx, cancel := context.WithTimeout(ctx, followTime)
	defer cancel()
	tick := time.NewTicker(pollTime)
	defer tick.Stop()
	for {
		job, err := s.Client.Job(ctx, jobID)
		if err != nil {
			return err
		}
		t.note(l, fmt.Sprintf("%s: %s", job.PlanTier, job.DecisionReason))
		if job.Status == provision.JobPending {
			t.set(l, "dispatch", provision.Started, 0, "")
		} else {
			t.set(l, "dispatch", provision.Succeeded, job.DispatchedAt.Sub(job.CreatedAt), "run "+job.RunID)
		}
		events, err := s.Client.Trace(ctx, jobID)
		if err != nil {
			return err
		}
		for _, e := range events {
			t.set(l, e.Stage, e.Status, time.Duration(e.DurationMS)*time.Millisecond, e.Message)
		}
		if job.Status.Terminal() && ended(events) {
			if job.Status != provision.JobCompleted {
				return fmt.Errorf("job %s is %s: %s", jobID, job.Status, job.Error)
			}
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return provision.Errorf(provision.Busy, "job %s is still %s after %s", jobID, job.Status, followTime)
			}
			return ctx.Err()
		}
	}
}

// ended reports whether the last step has told how it ended: the trace is delivered in
// the background, and may come after the completion.
func ended(events []provision.Event) bool {
	for _, e := range events {
		if e.Stage == "provision_complete" && e.Status != provision.Started {
			return true
		}
	}
	return false
}

// pushMetrics does what the agents on the nodes do: each tells the control plane how
// full its server is. The figures are made up; the tenants are counted.
func (s *Sandbox) pushMetrics(ctx context.Context) error {
	nodes, err := s.Client.Nodes(ctx)
	if err != nil {
		return err
	}
	for i, n := range nodes {
		if n.Dedicated {
			continue
		}
		memory, cpu, disk := 20+float64(i), 5.0, 10.0
		err := s.Client.PushMetrics(ctx, controlplane.Metrics{NodeID: n.ID, MemoryPct: &memory, CPUPct: &cpu, DiskPct: &disk, TenantCount: n.TenantCount})
		if err != nil {
			return err
		}
	}
	return nil
}

// Wait keeps the nodes' agents reporting until ctx is done, which is no error, or the
// control plane has ended, which is one.
func (s *Sandbox) Wait(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.controlPlane.done:
			return s.controlPlane.failure()
		case <-tick.C:
			if err := s.pushMetrics(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

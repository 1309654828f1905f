package main

import (
	"context"
	"fmt"

	"github.com/pregoi/provision-tenant/internal/actions"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/pulumi"
)

// Emit shows what happens to whoever reads the log, as a fold for each step, and tells the
// control plane, without secrets.
func (t *trace) Emit(e provision.Event) {
	e.Message = t.gha.Redact(e.Message)
	if t.remote != nil {
		t.remote.Emit(e)
	}
	took := float64(e.DurationMS) / 1000
	switch e.Status {
	case provision.Started:
		t.gha.Group(e.Stage)
		return
	case provision.Skipped:
		t.gha.Info(fmt.Sprintf("%s: skipped, %s", e.Stage, e.Message))
		return
	case provision.Succeeded:
		t.gha.Info(fmt.Sprintf("%s (%.1f s)", e.Message, took))
	case provision.Failed:
		t.gha.Info(fmt.Sprintf("failed after %.1f s: %s", took, e.Message))
	}
	t.gha.EndGroup()
}

// close delivers what is left of the trace, and says what could not be delivered. It takes
// a moment, and never fails the job.
func (t *trace) close(ctx context.Context) {
	if t.remote == nil {
		return
	}
	limit := traceTime
	if ctx.Err() != nil {
		limit = cancelTime
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if lost := t.remote.Close(ctx); len(lost) > 0 {
		t.gha.Warning("trace", fmt.Sprintf("%d events of the trace were not delivered: %v", len(lost), lost[0].Err))
	}
}

// showProgress prints what happens to a stack while it is being updated.
func showProgress(gha *actions.Action, p pulumi.Progress) { gha.Info("  " + p.String()) }

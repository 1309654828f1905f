package main

import (
	"cmp"
	"fmt"

	"github.com/pregoi/provision-tenant/internal/actions"
	"github.com/pregoi/provision-tenant/internal/pipeline"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/pulumi"
)

// A logTracer shows the steps to whoever reads the log, as a fold for each.
type logTracer struct{ gha *actions.Action }

func (t logTracer) Emit(e provision.Event) {
	switch e.Status {
	case provision.Started:
		t.gha.Group(e.Stage)
		return
	case provision.Skipped:
		t.gha.Info(fmt.Sprintf("%s: skipped, %s", e.Stage, e.Message))
		return
	case provision.Succeeded:
		t.gha.Info(fmt.Sprintf("%s (%.1f s)", e.Message, float64(e.DurationMS)/1000))
	case provision.Failed:
		t.gha.Info(fmt.Sprintf("failed after %.1f s: %s", float64(e.DurationMS)/1000, e.Message))
	}
	t.gha.EndGroup()
}

// tracers tells every one of them.
type tracers []pipeline.Tracer

func (ts tracers) Emit(e provision.Event) {
	for _, t := range ts {
		t.Emit(e)
	}
}

// showProgress prints what happens to a stack while it is being updated.
func showProgress(gha *actions.Action, p pulumi.Progress) {
	switch p.Doing {
	case pulumi.Started:
		gha.Info(fmt.Sprintf("  %s …", p.Change))
	case pulumi.Finished:
		gha.Info(fmt.Sprintf("  %s: done (%.1f s)", p.Change, p.Elapsed.Seconds()))
	case pulumi.Failed:
		gha.Info(fmt.Sprintf("  %s: failed after %.1f s: %s", p.Change, p.Elapsed.Seconds(), p.Text))
	case pulumi.Waiting:
		gha.Info(fmt.Sprintf("  waiting for the stack's lock (%.0f s so far), held by %s", p.Elapsed.Seconds(), cmp.Or(p.Holder, "another update")))
	case pulumi.Noted:
		gha.Info("  " + p.Text)
	}
}

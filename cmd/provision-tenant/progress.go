package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pregoi/provision-tenant/internal/actions"
	"github.com/pregoi/provision-tenant/internal/controlplane"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/pulumi"
)

// A trace is told what happens. It shows it to whoever reads the log, as a fold for each
// step, and tells the control plane.
type trace struct {
	gha    *actions.Action
	remote *controlplane.Tracer // nil when nobody there is told
	lost   []provision.Event    // set by close: what was not delivered

	mu    sync.Mutex
	step  provision.Event // the one that has begun and not ended; else zero
	doing []doing         // what has begun and not ended, the oldest first
	lock  pulumi.Progress // the lock that is being waited for; else zero
	told  int             // live events so far
	beat  *time.Timer     // runs while a step does
}

// A doing is a resource that is being made or changed.
type doing struct {
	change provision.Change
	since  time.Time
}

const (
	// beatTime is how long a step says nothing before it says that it is still there.
	beatTime = 30 * time.Second
	// maxLive is how many events of a run tell of single resources. A stack has a dozen.
	maxLive = 100
)

// Emit takes the beginning and the end of a step.
func (t *trace) Emit(e provision.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.Message = t.gha.Redact(e.Message)
	if t.remote != nil {
		t.remote.Emit(e)
	}
	took := float64(e.DurationMS) / 1000
	switch e.Status {
	case provision.Started:
		t.gha.Group(e.Stage)
		t.step, t.doing, t.lock = e, nil, pulumi.Progress{}
		t.rest()
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
	t.step = provision.Event{}
	t.rest()
}

// progress takes what happens to a stack while a step looks at it or updates it.
func (t *trace) progress(p pulumi.Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.Doing != pulumi.Waiting {
		t.lock = pulumi.Progress{}
	}
	switch p.Doing {
	case pulumi.Waiting:
		if t.lock.Doing != "" {
			t.lock = p
			return // said already; the heartbeat says how long it takes
		}
		t.lock = p
	case pulumi.Started:
		t.doing = append(t.doing, doing{p.Change, time.Now()})
		t.live(p)
	case pulumi.Finished, pulumi.Failed:
		t.doing = slices.DeleteFunc(t.doing, func(d doing) bool { return d.change == p.Change })
		t.live(p)
	}
	t.say(p.String())
}

// say prints a line below the step's title: how far the step is, and text.
func (t *trace) say(text string) {
	t.gha.Info(fmt.Sprintf("%7.1f s  %s", t.elapsed().Seconds(), text))
	t.rest()
}

// elapsed is how long the step has taken; 0 before the first.
func (t *trace) elapsed() time.Duration {
	if t.step.ID == "" {
		return 0
	}
	return max(0, time.Since(t.step.At))
}

// live tells the control plane of one resource: its name and type, and how long it took;
// nothing of what it is set to. The step has still not ended, so that is the event's status.
func (t *trace) live(p pulumi.Progress) {
	if t.remote == nil || t.step.ID == "" || t.told > maxLive {
		return
	}
	t.told++
	e := t.step
	e.ID = fmt.Sprintf("%s/%d", t.step.ID, t.told)
	e.At, e.DurationMS = time.Now().UTC(), p.Elapsed.Milliseconds()
	p.Text = ""
	e.Message = t.gha.Redact(strings.TrimSuffix(p.String(), ": "))
	if t.told > maxLive {
		e.Message, e.DurationMS = "more happens to the stack than is told here: see the run's log", 0
	}
	t.remote.Emit(e)
}

// rest puts the heartbeat off, as something was just said; without a step it ends.
func (t *trace) rest() {
	if t.beat != nil {
		t.beat.Stop()
	}
	t.beat = nil
	if t.step.ID == "" {
		return
	}
	var own *time.Timer
	own = time.AfterFunc(beatTime, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.beat == own { // else something was said, or the step has ended
			t.say(t.still())
		}
	})
	t.beat = own
}

// still says what takes so long.
func (t *trace) still() string {
	if t.lock.Doing != "" {
		return t.lock.String()
	}
	var parts []string
	for _, d := range t.doing {
		parts = append(parts, fmt.Sprintf("%s (%.0f s)", d.change, time.Since(d.since).Seconds()))
	}
	switch n := len(parts); {
	case n == 0:
		return "still at it"
	case n > 3:
		parts = append(parts[:3], fmt.Sprintf("%d more", n-3))
	}
	return "still waiting for: " + strings.Join(parts, ", ")
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
	lost := t.remote.Close(ctx)
	for _, d := range lost {
		t.lost = append(t.lost, d.Event)
	}
	if len(lost) > 0 {
		t.gha.Warning("trace", fmt.Sprintf("%d events of the trace were not delivered: %v", len(lost), lost[0].Err))
	}
}

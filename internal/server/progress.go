package server

import (
	"context"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// stages are the steps of a run in their order, and what the tenant is shown of each.
var stages = []struct{ stage, label string }{
	{"resolve_node", "Check resource"},
	{"select_stack", "Choose stack"},
	{"pulumi_up", "Create server"},
	{"register_node", "Register server"},
	{"tenant_dns", "Set up address"},
	{"provision_complete", "Finish"},
}

// maxProgress is how many events progress is made of, the last ones. A run sends a few dozen.
const maxProgress = 500

type progressStep struct {
	Stage      string           `json:"stage"`
	Label      string           `json:"label"`
	Status     provision.Status `json:"status" enum:"started,succeeded,failed,skipped"`
	At         time.Time        `json:"at"`
	DurationMS int64            `json:"duration_ms,omitempty"`
}

type progressOutput struct {
	Body struct {
		JobID    string              `json:"job_id"`
		TenantID string              `json:"tenant_id"`
		Status   provision.JobStatus `json:"status"`
		Label    string              `json:"provision_ui_current_label"`
		Steps    []progressStep      `json:"steps" doc:"the steps that have begun, in their order"`
		RunURL   string              `json:"run_url,omitempty"`
		Error    string              `json:"error,omitempty"`
	}
}

// publicJob answers whoever knows the job_id, which cannot be guessed. It tells no addresses.
func (s *Server) publicJob(ctx context.Context, in *jobInput) (*progressOutput, error) {
	j, err := s.Store.Job(ctx, in.JobID)
	if err != nil {
		return nil, err
	}
	events, _, err := s.Store.JobEvents(ctx, in.JobID, store.Page{Limit: maxProgress, Last: true})
	if err != nil {
		return nil, err
	}
	out := &progressOutput{}
	out.Body.JobID, out.Body.TenantID, out.Body.Status, out.Body.RunURL = j.ID, j.TenantID, j.Status, j.RunURL
	out.Body.Steps, out.Body.Label = progress(events)
	switch {
	case j.Status == provision.JobFailed:
		out.Body.Error = publicError(j.ErrorClass)
	case j.Status == provision.JobPending || j.Status == provision.JobDispatched:
		out.Body.Label = "Waiting"
	case j.Status == provision.JobCompleted:
		out.Body.Label = "Ready"
	}
	return out, nil
}

// publicError is what a tenant is told of a failure: the text itself may name addresses and
// other tenants, and is for operators.
func publicError(class provision.Class) string {
	switch class {
	case provision.Conflict:
		return "something that this tenant asks for belongs to another"
	case provision.Busy, provision.Cancelled:
		return "it was stopped before it was done, and can be tried again"
	case provision.NoCapacity:
		return "there is no server to be had at the moment"
	}
	return "it failed, and an operator has to look at it"
}

// progress is the last that was heard of each step, and the label of the one that the run
// is at: the last that has begun.
func progress(events []provision.Event) ([]progressStep, string) {
	last := map[string]provision.Event{}
	for _, e := range events {
		// What a step tells on its way, as of a single server, begins nothing anew.
		if was, ok := last[e.Stage]; ok && e.Status == provision.Started && was.Status == e.Status && was.Attempt == e.Attempt && was.RunURL == e.RunURL {
			continue
		}
		last[e.Stage] = e
	}
	steps, label := []progressStep{}, "Waiting"
	for _, s := range stages {
		e, ok := last[s.stage]
		if !ok {
			continue
		}
		steps = append(steps, progressStep{s.stage, s.label, e.Status, e.At, e.DurationMS})
		label = s.label
	}
	return steps, label
}

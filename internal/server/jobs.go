package server

import (
	"context"
	"time"

	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/store"
)

// jobRow is a job as operators see it.
type jobRow struct {
	JobID             string              `json:"job_id"`
	TenantID          string              `json:"tenant_id"`
	Status            provision.JobStatus `json:"status" enum:"Pending,Dispatched,Running,Completed,Failed,Cancelled"`
	InfraMode         string              `json:"infra_mode" enum:"create_new_server,use_existing"`
	Dedicated         *int                `json:"dedicated" doc:"1 or null"`
	Region            placement.Region    `json:"region" enum:"sg,us,eu"`
	TargetServerID    string              `json:"target_server_id"`
	SubdomainSlug     string              `json:"subdomain_slug"`
	CanonicalHostname string              `json:"canonical_hostname"`
	TraceID           string              `json:"trace_id"`
	PlanTier          placement.Tier      `json:"plan_tier"`
	DecisionReason    placement.Reason    `json:"decision_reason"`
	Attempt           int                 `json:"attempt" doc:"how many runs were asked for: a retry begins another"`
	Tries             int                 `json:"tries" doc:"how often the run of this attempt was triggered, or tried to be"`
	RunID             string              `json:"run_id,omitempty"`
	RunURL            string              `json:"run_url,omitempty"`
	NodeID            string              `json:"node_id,omitempty"`
	Host              string              `json:"host,omitempty"`
	Stack             string              `json:"stack,omitempty"`
	Error             string              `json:"error,omitempty"`
	ErrorClass        provision.Class     `json:"error_class,omitempty"`
	CreatedAt         time.Time           `json:"created_at"`
	UpdatedAt         time.Time           `json:"updated_at"`
	DispatchedAt      time.Time           `json:"dispatched_at,omitzero"`
	StartedAt         time.Time           `json:"started_at,omitzero"`
	EndedAt           time.Time           `json:"ended_at,omitzero"`
}

func newJobRow(j store.Job) jobRow {
	row := jobRow{
		JobID: j.ID, TenantID: j.TenantID, Status: j.Status, InfraMode: "use_existing", Region: j.Region,
		TargetServerID: j.TargetServerID, SubdomainSlug: j.SubdomainSlug, CanonicalHostname: j.CanonicalHostname,
		TraceID: j.TraceID, PlanTier: j.Tier, DecisionReason: j.Reason,
		Attempt: j.Attempt, Tries: j.Tries, RunID: j.RunID, RunURL: j.RunURL,
		NodeID: j.NodeID, Host: j.Host, Stack: j.Stack, Error: j.Error, ErrorClass: j.ErrorClass,
		CreatedAt: j.CreatedAt, UpdatedAt: j.UpdatedAt, DispatchedAt: j.DispatchedAt, StartedAt: j.StartedAt, EndedAt: j.EndedAt,
	}
	if j.CreateNewServer {
		row.InfraMode = "create_new_server"
	}
	if j.Dedicated {
		row.Dedicated = new(1)
	}
	return row
}

type listJobsInput struct {
	Status   provision.JobStatus `query:"status" enum:"Pending,Dispatched,Running,Completed,Failed,Cancelled"`
	TenantID string              `query:"tenant_id" maxLength:"128"`
	Limit    int                 `query:"limit" default:"100" minimum:"1" maximum:"500"`
}

type listJobsOutput struct {
	Body struct {
		Jobs []jobRow `json:"jobs"`
	}
}

func (s *Server) listJobs(ctx context.Context, in *listJobsInput) (*listJobsOutput, error) {
	list, err := s.Store.Jobs(ctx, store.Filter{Status: in.Status, TenantID: in.TenantID, Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	out := &listJobsOutput{}
	out.Body.Jobs = make([]jobRow, len(list))
	for i, j := range list {
		out.Body.Jobs[i] = newJobRow(j)
	}
	return out, nil
}

type jobInput struct {
	JobID string `path:"job_id" maxLength:"128"`
}

type jobOutput struct{ Body jobRow }

func (s *Server) getJob(ctx context.Context, in *jobInput) (*jobOutput, error) {
	j, err := s.Store.Job(ctx, in.JobID)
	if err != nil {
		return nil, err
	}
	return &jobOutput{newJobRow(j)}, nil
}

package server

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pregoi/provision-tenant/internal/provision"
)

type completeInput struct {
	Body struct {
		JobID      string              `json:"job_id" minLength:"1" maxLength:"128"`
		TenantID   string              `json:"tenant_id" minLength:"1" maxLength:"128"`
		Status     provision.JobStatus `json:"status" enum:"Completed,Failed,Cancelled"`
		NodeID     string              `json:"node_id,omitempty" maxLength:"128"`
		Host       string              `json:"host,omitempty" maxLength:"253"`
		Stack      string              `json:"stack,omitempty" maxLength:"100"`
		Hostname   string              `json:"hostname,omitempty" maxLength:"253"`
		Error      string              `json:"error,omitempty" maxLength:"16384"`
		ErrorClass provision.Class     `json:"error_class,omitempty" maxLength:"32"`
		RunURL     string              `json:"run_url,omitempty" maxLength:"2048"`
		Attempt    int                 `json:"attempt,omitempty" minimum:"0" maximum:"1000000" doc:"of the run, as GitHub counts; absent when unknown"`
	}
}

type completeOutput struct {
	Body struct {
		JobID    string              `json:"job_id"`
		TenantID string              `json:"tenant_id"`
		Status   provision.JobStatus `json:"status" doc:"of the job now"`
		Changed  bool                `json:"changed"`
		Why      string              `json:"why,omitempty" doc:"nothing was changed"`
	}
}

// complete takes a run's word for how its job ended. What comes too late, or from a run
// that the job has left behind, changes nothing, and is answered with why.
func (s *Server) complete(ctx context.Context, in *completeInput) (*completeOutput, error) {
	j, refused, err := s.Store.Complete(ctx, provision.Completion(in.Body), s.now())
	if err != nil {
		return nil, err
	}
	out := &completeOutput{}
	out.Body.JobID, out.Body.TenantID, out.Body.Status = j.ID, j.TenantID, j.Status
	out.Body.Changed, out.Body.Why = refused == "", refused
	return out, nil
}

type retryOutput struct{ Body jobRow }

func (*retryOutput) document(op *huma.Operation, _ huma.API) { op.DefaultStatus = http.StatusAccepted }

// retryJob makes a job that has failed Pending again: its message goes out as another
// attempt, and starts another run.
func (s *Server) retryJob(ctx context.Context, in *jobInput) (*retryOutput, error) {
	j, err := s.Store.Retry(ctx, in.JobID, callerOf(ctx).name, s.now())
	if err != nil {
		return nil, err
	}
	return &retryOutput{newJobRow(j)}, nil
}

package pipeline

import (
	"context"
	"fmt"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// ProvisionComplete tells the control plane how the job ended, also when a step failed or
// the run was cancelled. complete answers [provision.NotFound] for a job that the control
// plane does not know, as when somebody started the run by hand: that is a warning.
func ProvisionComplete(complete func(context.Context, provision.Completion) error) Step {
	return Step{
		Name:   "provision_complete",
		Always: true,
		Plan: func(_ context.Context, r *Run) (string, error) {
			return fmt.Sprintf("tell the control plane that job %s is %s", r.Job.ID, r.completion().Status), nil
		},
		Do: func(ctx context.Context, r *Run) (string, error) {
			c := r.completion()
			err := complete(ctx, c)
			if provision.ClassOf(err) == provision.NotFound {
				text := fmt.Sprintf("the control plane does not know job %s: was the run started by hand?", r.Job.ID)
				r.Warnings = append(r.Warnings, text)
				return text, nil
			}
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("job %s is %s", r.Job.ID, c.Status), nil
		},
	}
}

// completion says how the run ended.
func (r *Run) completion() provision.Completion {
	c := provision.Completion{
		JobID:    r.Job.ID,
		TenantID: r.Job.TenantID,
		Status:   provision.JobCompleted,
		NodeID:   r.Node.ID,
		Host:     r.Node.Host,
		Stack:    r.Stack,
		Hostname: r.Job.CanonicalHostname,
		RunURL:   r.Attempt.URL,
	}
	if r.Err != nil {
		c.Status = provision.JobFailed
		c.Error = r.Err.Error()
		c.ErrorClass = provision.ClassOf(r.Err)
		if c.ErrorClass == provision.Cancelled {
			c.Status = provision.JobCancelled
		}
	}
	return c
}

package pipeline

import (
	"context"
	"fmt"

	"github.com/pregoi/provision-tenant/internal/provision"
)

// ProvisionComplete tells the control plane how the job ended, also when a step failed or
// the run was cancelled. known and complete answer [provision.NotFound] for a job that it
// does not know, as when somebody started the run by hand: that is a warning. That it
// knows the job as another tenant's, or for another place, is refused before anything is made,
// and nothing is said of that job: it may be on its way, or done.
func ProvisionComplete(known func(ctx context.Context, jobID string) (provision.Job, error), complete func(context.Context, provision.Completion) error) Step {
	return Step{
		Name:   "provision_complete",
		Always: true,
		Check: func(ctx context.Context, r *Run) error {
			j, err := known(ctx, r.Job.ID)
			switch {
			case provision.ClassOf(err) == provision.NotFound:
				return nil
			case err != nil:
				return err
			case j.TenantID != r.Job.TenantID || j.Region != r.Job.Region || j.Dedicated != r.Job.Dedicated:
				r.another = true
				return provision.Errorf(provision.Conflict,
					"job %s is another: expected tenant %s in %s (dedicated %t), found tenant %s in %s (dedicated %t)",
					r.Job.ID, r.Job.TenantID, r.Job.Region, r.Job.Dedicated, j.TenantID, j.Region, j.Dedicated)
			}
			return nil
		},
		Plan: func(_ context.Context, r *Run) (string, error) {
			return fmt.Sprintf("tell the control plane that job %s is %s", r.Job.ID, r.completion().Status), nil
		},
		Do: func(ctx context.Context, r *Run) (string, error) {
			if r.another {
				return fmt.Sprintf("nothing is said of job %s, which is another", r.Job.ID), nil
			}
			c := r.completion()
			err := complete(ctx, c)
			if provision.ClassOf(err) == provision.NotFound {
				text := fmt.Sprintf("the control plane does not know job %s: was the run started by hand?", r.Job.ID)
				r.Warnings = append(r.Warnings, text)
				return text, nil
			}
			if err != nil {
				r.Owed = &c
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
		Attempt:  r.Attempt.Number,
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

package workflow_test

import (
	"testing"

	"github.com/pregoi/provision-tenant/internal/workflow"
)

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{
		"":                                       false,
		"provision job_id":                       false,
		"${{ inputs.job_id }}":                   true,
		"provision ${{inputs.job_id}} (x)":       true,
		"${{ github.event.inputs.job_id }}":      true,
		"${{ GitHub.Event.Inputs.JOB_ID }}":      true,
		"[${{ inputs.a }} ${{ inputs.job_id }}]": true,
		"job-${{ inputs.job_id }}":               false,
		"${{ inputs.job_id }}: x":                false,
		"${{ inputs.job_id }}${{ inputs.a }}":    false,
		"${{ inputs.a }}${{ inputs.job_id }}":    false,
		"${{ inputs.a && inputs.job_id }}":       false,
		"${{ inputs.job_id2 }}":                  false,
	} {
		if got := (workflow.Workflow{RunName: name}).Names("job_id"); got != want {
			t.Errorf("%q: %t, want %t", name, got, want)
		}
	}
}

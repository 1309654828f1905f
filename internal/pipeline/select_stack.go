package pipeline

import "context"

// SelectStack names the stack that holds the job's servers. It needs nothing from outside.
func SelectStack() Step {
	return Step{
		Name:  "select_stack",
		Alone: true,
		Skip:  usesNode,
		Do: func(_ context.Context, r *Run) (string, error) {
			r.Stack = r.Job.StackName()
			return "stack " + r.Stack, nil
		},
	}
}

// usesNode is the reason to skip what only a new server needs.
func usesNode(r *Run) string {
	if r.Job.TargetServerID != "" {
		return "the tenant lands on node " + r.Job.TargetServerID
	}
	return ""
}

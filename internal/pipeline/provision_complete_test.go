package pipeline_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/pipeline"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// unknownJob is what a control plane says of a run that was started by hand.
func unknownJob(context.Context, string) (provision.Job, error) {
	return provision.Job{}, provision.Errorf(provision.NotFound, "no such job")
}

func TestProvisionCompleteChecks(t *testing.T) {
	other, dedicated := shared(), shared()
	other.TenantID, dedicated.Dedicated = "birch-2", true
	for _, test := range []struct {
		known provision.Job
		err   error
		want  provision.Class
	}{
		{shared(), nil, ""},
		{other, nil, provision.Conflict},
		{dedicated, nil, provision.Conflict},
		{provision.Job{}, provision.Errorf(provision.NotFound, "no such job"), ""},
		{provision.Job{}, provision.Errorf(provision.Denied, "key refused"), provision.Denied},
	} {
		known := func(context.Context, string) (provision.Job, error) { return test.known, test.err }
		did := false
		var told trace
		err := pipeline.Execute(t.Context(), newRun(shared()), pipeline.Options{}, &told,
			pipeline.Step{Name: "make", Do: func(context.Context, *pipeline.Run) (string, error) { did = true; return "", nil }},
			pipeline.ProvisionComplete(known, func(context.Context, provision.Completion) error { return nil }))
		wantError(t, err, test.want)
		if did == (test.want != "") {
			t.Errorf("with %+v, %v known: something was made: %t", test.known, test.err, did)
		}
	}
}

func TestProvisionComplete(t *testing.T) {
	done := provision.Completion{
		JobID: "job-1", TenantID: "acme-1", Status: provision.JobCompleted, NodeID: "hz-sg-7", Host: "192.0.2.7", Stack: "sg",
		Hostname: "acme.pregoi.com", RunURL: "https://github.example/runs/4711",
		Attempt: 1,
	}
	failed, cancelled := done, done
	failed.Status, failed.Error, failed.ErrorClass = provision.JobFailed, "tenant_dns: zone: taken", provision.Conflict
	cancelled.Status, cancelled.Error, cancelled.ErrorClass = provision.JobCancelled, "pulumi_up: context canceled", provision.Cancelled
	for _, test := range []struct {
		err  error // of the run
		want provision.Completion
	}{
		{nil, done},
		{fmt.Errorf("tenant_dns: %w", provision.Errorf(provision.Conflict, "zone: taken")), failed},
		{fmt.Errorf("pulumi_up: %w", context.Canceled), cancelled},
	} {
		r := registering(shared())
		r.Err = test.err
		var sent []provision.Completion
		step := pipeline.ProvisionComplete(unknownJob, func(_ context.Context, c provision.Completion) error {
			sent = append(sent, c)
			return nil
		})
		if _, err := step.Plan(t.Context(), r); err != nil || sent != nil {
			t.Errorf("the plan of a run that ended with %v: %v, sent %+v", test.err, err, sent)
		}
		if _, err := step.Do(t.Context(), r); err != nil {
			t.Errorf("a run that ended with %v: %v", test.err, err)
		}
		if diff := cmp.Diff([]provision.Completion{test.want}, sent); diff != "" {
			t.Errorf("a run that ended with %v told (-want +got)\n%s", test.err, diff)
		}
	}
}

func TestProvisionCompleteAnswers(t *testing.T) {
	for _, test := range []struct {
		answer   provision.Class
		class    provision.Class
		warnings []string
	}{
		{provision.NotFound, "", []string{"the control plane does not know job job-1: was the run started by hand?"}},
		{provision.Busy, provision.Busy, nil},
		{provision.Conflict, provision.Conflict, nil},
	} {
		r := registering(shared())
		_, err := pipeline.ProvisionComplete(unknownJob, func(context.Context, provision.Completion) error {
			return provision.Errorf(test.answer, "job job-1: refused")
		}).Do(t.Context(), r)
		wantError(t, err, test.class)
		if !slices.Equal(r.Warnings, test.warnings) {
			t.Errorf("after %s: warnings %q, want %q", test.answer, r.Warnings, test.warnings)
		}
	}
}

// pipelineOf is the whole list of steps, over what a test has made of the world.
func pipelineOf(nodes *fakeNodes, program *fakeProgram, machines *fakeMachines, z *fakeZone, complete func(context.Context, provision.Completion) error) []pipeline.Step {
	return []pipeline.Step{
		pipeline.ResolveNode(nodes.Node),
		pipeline.SelectStack(),
		pipeline.PulumiUp(program, machines, provision.Order{}),
		pipeline.RegisterNode(nodes),
		pipeline.TenantDNS(z, pipeline.DNSPolicy{Proxied: true}),
		pipeline.ProvisionComplete(unknownJob, complete),
	}
}

// All steps together: a job run twice makes everything once, and a plan makes nothing.
func TestWholeJob(t *testing.T) {
	nodes, machines, z := &fakeNodes{}, atVendor(), zone()
	program := &fakeProgram{makes: []provision.Server{app}, pending: []provision.Change{{Op: provision.Create, Type: serverType, Name: "app"}}}
	var statuses []provision.JobStatus
	steps := pipelineOf(nodes, program, machines, z, func(_ context.Context, c provision.Completion) error {
		statuses = append(statuses, c.Status)
		return nil
	})

	var told trace
	if err := pipeline.Execute(t.Context(), newRun(shared()), pipeline.Options{Plan: true}, &told, steps...); err != nil {
		t.Fatal(err)
	}
	if program.stacks != nil || nodes.posts > 0 || z.calls != nil || machines.labels != nil || statuses != nil {
		t.Errorf("the plan made something: stacks %q, %d nodes, records %q, labels %v, completions %q",
			program.stacks, nodes.posts, z.calls, machines.labels, statuses)
	}
	for range 2 {
		r := newRun(shared())
		if err := pipeline.Execute(t.Context(), r, pipeline.Options{}, &told, steps...); err != nil {
			t.Fatal(err)
		}
		if r.Node.ID != "hz-sg-7" || len(r.Records) != 2 || r.Records[0].Content != "192.0.2.7" {
			t.Errorf("the run ended with node %+v and records %+v", r.Node, r.Records)
		}
	}
	if nodes.posts != 1 || len(z.calls) != 2 || !slices.Equal(statuses, []provision.JobStatus{provision.JobCompleted, provision.JobCompleted}) {
		t.Errorf("two runs: %d nodes sent, records %q, completions %q; want one, two and two", nodes.posts, z.calls, statuses)
	}

	// The same tenant on the node that is there: no Pulumi, and the record stays.
	program.stacks, z.calls = nil, nil
	if err := pipeline.Execute(t.Context(), newRun(placed()), pipeline.Options{}, &told, steps...); err != nil {
		t.Fatal(err)
	}
	if program.stacks != nil || nodes.posts != 1 {
		t.Errorf("a job with a target updated %q and sent %d nodes", program.stacks, nodes.posts)
	}
}

// A job whose name is another tenant's makes nothing, and is completed as failed.
func TestWholeJobRefused(t *testing.T) {
	nodes, machines, z := &fakeNodes{}, atVendor(), zone(by(other, record("A", "192.0.2.9")))
	program := &fakeProgram{makes: []provision.Server{app}}
	var sent []provision.Completion
	steps := pipelineOf(nodes, program, machines, z, func(_ context.Context, c provision.Completion) error {
		sent = append(sent, c)
		return nil
	})
	err := pipeline.Execute(t.Context(), newRun(shared()), pipeline.Options{}, new(trace), steps...)
	wantError(t, err, provision.Conflict, "tenant_dns: ", "another owner")
	if program.stacks != nil || nodes.posts > 0 || z.calls != nil || machines.labels != nil {
		t.Errorf("made: stacks %q, %d nodes, records %q, labels %v", program.stacks, nodes.posts, z.calls, machines.labels)
	}
	if len(sent) != 1 || sent[0].Status != provision.JobFailed || sent[0].ErrorClass != provision.Conflict || sent[0].Error != err.Error() {
		t.Errorf("the control plane was told %+v, want once that the job failed, and why", sent)
	}
}

// Every step that changes something can be done alone, once the ones before it are done.
func TestStepsAlone(t *testing.T) {
	nodes, machines, z := &fakeNodes{}, atVendor(), zone()
	program := &fakeProgram{makes: []provision.Server{app}, pending: []provision.Change{{Op: provision.Create, Type: serverType, Name: "app"}}}
	completed := 0
	steps := pipelineOf(nodes, program, machines, z, func(context.Context, provision.Completion) error { completed++; return nil })
	only := func(name string) error {
		return pipeline.Execute(t.Context(), newRun(shared()), pipeline.Options{Only: name}, new(trace), steps...)
	}
	names := []string{"pulumi_up", "register_node", "tenant_dns", "provision_complete"}
	for i, name := range names {
		for _, later := range names[i+1:] {
			wantError(t, only(later), provision.Invalid, "step "+later+" alone", name+" is missing")
		}
		if completed > 0 {
			t.Fatalf("the job was completed before %s", name)
		}
		if err := only(name); err != nil {
			t.Fatalf("%s alone: %v", name, err)
		}
	}
	if len(program.stacks) != 1 || nodes.posts != 1 || len(z.calls) != 2 || completed != 1 {
		t.Errorf("stacks %q, %d nodes, records %q, %d completions; want one each, and an address of each family", program.stacks, nodes.posts, z.calls, completed)
	}
}

// A run by hand under the name of another job makes nothing, and does not end that job.
func TestWholeJobOfAnother(t *testing.T) {
	for name, known := range map[string]func(*provision.Job){
		"another tenant's":  func(j *provision.Job) { j.TenantID = "rival" },
		"in another region": func(j *provision.Job) { j.Region = placement.EU },
		"of another kind":   func(j *provision.Job) { j.Dedicated = true },
	} {
		j := shared()
		known(&j)
		steps := pipelineOf(&fakeNodes{}, &fakeProgram{}, atVendor(), zone(), nil)
		steps[len(steps)-1] = pipeline.ProvisionComplete(func(context.Context, string) (provision.Job, error) { return j, nil },
			func(_ context.Context, c provision.Completion) error { t.Errorf("%s: told %+v", name, c); return nil })
		r := newRun(shared())
		err := pipeline.Execute(t.Context(), r, pipeline.Options{}, new(trace), steps...)
		wantError(t, err, provision.Conflict, "provision_complete: job job-1 is another")
		if r.Owed != nil {
			t.Errorf("%s: owes %+v", name, r.Owed)
		}
	}
}

// That the steps before it cannot be looked at is no reason to say that a job has failed.
func TestCompleteAloneLooks(t *testing.T) {
	nodes, z := &fakeNodes{}, zone()
	steps := pipelineOf(nodes, &fakeProgram{}, atVendor(), z, func(_ context.Context, c provision.Completion) error { t.Errorf("told %+v", c); return nil })
	steps[0] = pipeline.ResolveNode(func(context.Context, string) (provision.Node, error) {
		return provision.Node{}, provision.Errorf(provision.Busy, "no answer")
	})
	err := pipeline.Execute(t.Context(), newRun(placed()), pipeline.Options{Only: "provision_complete"}, new(trace), steps...)
	wantError(t, err, provision.Busy, "resolve_node: no answer")
}

package workflow_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pregoi/provision-tenant/internal/placement"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/workflow"
	"pgregory.net/rapid"
)

// fit is a workflow file that fits, but for the inputs given, as declare takes them, and
// for what stands before and after them.
func fit(inputs map[string]string, after ...string) string {
	all := map[string]string{
		"region": "{type: choice, options: [sg, us, eu]}", "create_new_server": "{type: boolean}",
	}
	for name, lines := range inputs {
		all[name] = lines
	}
	rest := "run-name: run ${{ inputs.job_id }}\nconcurrency: {group: 'g-${{ inputs.tenant_id }}', queue: max}\n"
	if len(after) > 0 {
		rest = strings.Join(after, "\n") + "\n"
	}
	return declare(all) + rest
}

func TestCheckFits(t *testing.T) {
	our, err := os.ReadFile(ours)
	if err != nil {
		t.Fatal(err)
	}
	const name = "run-name: run ${{ inputs.job_id }}"
	for _, file := range []string{
		string(our), fit(nil),
		fit(map[string]string{"create_new_server": "{type: string}", "dedicated": "{type: boolean, default: true}"}),
		fit(map[string]string{"dedicated": "{type: choice, options: ['true', 'false', maybe], default: maybe}"}),
		fit(map[string]string{"region": "{required: true}", "job_id": "{required: true, default: x}"}),
		fit(map[string]string{"region": "{type: choice, options: [sg, us, eu, ap]}"}),
		fit(map[string]string{"trace_id": "{default: trace_by_hand}", "more": "{required: true, default: x}", "and_more": "{}"}),
		fit(nil, name),
		fit(nil, name, "concurrency: {group: 'g-${{ inputs.job_id }}'}"),
		fit(nil, name, "concurrency: 'g-${{ github.run_id }}'"),
		fit(nil, name, "jobs: {a: {concurrency: {group: g, queue: max, cancel-in-progress: false}}, b: {}}"),
		strings.Replace(fit(nil), "on:", "true:", 1),
	} {
		if found := workflow.Check([]byte(file)); len(found) > 0 {
			t.Errorf("%s\nCheck = %+v", file, found)
		}
	}
}

// Every rule, what it says, and at which line.
func TestCheck(t *testing.T) {
	const name = "run-name: run ${{ inputs.job_id }}"
	inputs := func(field, lines string) string { return fit(map[string]string{field: lines}) }
	many := map[string]string{}
	for i := range 17 {
		many[fmt.Sprintf("extra_%02d", i)] = "{}"
	}
	for _, test := range []struct{ file, want string }{
		{"", "error 0 : it is no mapping; correct the file: GitHub does not start it either"},
		{"on: {workflow_dispatch: {inputs: {a: {required: maybe}}}}", `error 1 : required of input "a" is neither true nor false; correct the file: GitHub does not start it either`},
		{"name: x\non: push", "error 2 on: it does not have the workflow_dispatch trigger; add workflow_dispatch to on, with the fields of a message as its inputs"},

		{inputs("trace_id", ""), "error 3 trace_id: is not declared, and a message that fills it is refused; declare it under on.workflow_dispatch.inputs, with type: string"},
		{inputs("create_new_server", ""), "error 3 create_new_server: is not declared, and a message that fills it is refused; declare it under on.workflow_dispatch.inputs, with type: boolean"},
		{inputs("region", ""), "error 3 region: is not declared, and a message that fills it is refused; declare it under on.workflow_dispatch.inputs, with type: choice"},
		{inputs("tenant_id", "{type: boolean}"), "error 5 tenant_id: is declared a boolean by the workflow, and the field is text; give it type: string"},
		{inputs("create_new_server", "{type: number}"), "error 7 create_new_server: is declared a number by the workflow, and the field is true or false; give it type: boolean"},
		{inputs("tenant_id", "{type: number}"), "error 5 tenant_id: is declared a number by the workflow, and the field is text; give it type: string"},
		{inputs("tenant_id", "{type: strnig}"), `error 5 tenant_id: is declared with the type "strnig", which workflow_dispatch does not have; give it type: string`},
		{inputs("tenant_id", "{type: choice, options: [a]}"), "error 5 tenant_id: is a choice, and the field may hold any text; give it type: string"},
		{inputs("region", "{type: environment}"), "warning 6 region: takes the name of one of the repository's environments, and the field may hold another; give it type: choice"},
		{inputs("region", "\n        type: choice\n        options:\n          - us"), "error 8 region: does not have the choice sg, eu; add it to options"},
		{inputs("region", "{type: choice}"), "error 6 region: does not have the choice sg, us, eu; add it to options"},
		{inputs("region", "{type: choice, options: [sg, us, eu], default: ap}"), `error 6 region: has the default "ap", which is none of its options; make it one of them, or leave it out`},
		{inputs("dedicated", "{type: choice, options: ['true']}"), "error 11 dedicated: does not have the choice false; add it to options"},
		{inputs("create_new_server", "{type: boolean, default: yes please}"), `error 7 create_new_server: has the default "yes please", which is no boolean; make it true or false`},
		{inputs("target_server_id", "{default: node-1}"), `error 8 target_server_id: is empty, and the workflow would fill in its default "node-1"; leave the default out, or make it ''`},
		{inputs("target_server_id", "{required: true}"), "error 8 target_server_id: is required, and is empty in some messages; make it required: false"},
		{inputs("trace_id", "{required: true}"), "error 12 trace_id: is required, and is empty in some messages; make it required: false"},
		{inputs("extra", "{required: true}"), "error 13 extra: is required, and no field of a message fills it; give it a default, or make it required: false"},
		{fit(many), "error 3 inputs: are 26, more than the 25 that GitHub takes; remove what no message fills"},

		{fit(nil, "run-name: ${{ inputs.tenant_id }}"), "error 13 run-name: does not carry the job_id as a word, so that a run whose answer was lost cannot be found; write ${{ inputs.job_id }} into it, with spaces or brackets around it"},
		{fit(nil, "name: x"), "error 0 run-name: does not carry the job_id as a word, so that a run whose answer was lost cannot be found; write ${{ inputs.job_id }} into it, with spaces or brackets around it"},
		{fit(nil, name, "concurrency: g"), "error 14 concurrency: cancels the run that waits when another comes, and its job is lost; add queue: max"},
		{fit(nil, name, "concurrency:\n  group: g\n  queue: single"), "error 16 concurrency: cancels the run that waits when another comes, and its job is lost; add queue: max"},
		{fit(nil, name, "concurrency: {group: g, queue: long}"), `error 14 concurrency: has the queue "long", which GitHub does not know; make it queue: max`},
		{fit(nil, name, "concurrency: {group: g, queue: '${{ vars.QUEUE }}'}"), "warning 14 concurrency: may cancel the run that waits when another comes; make it queue: max"},
		{fit(nil, name, "concurrency:\n  group: g\n  cancel-in-progress: True"), "error 16 concurrency: stops a run that is under way when another begins; make cancel-in-progress false, and queue: max"},
		{fit(nil, name, "concurrency: {group: g, queue: max, cancel-in-progress: '${{ inputs.dedicated }}'}"), "warning 14 concurrency: may stop a run that is under way when another begins; make cancel-in-progress false, and queue: max"},
		{fit(nil, name, "jobs:\n  provision:\n    runs-on: x\n    concurrency: g"), "error 17 jobs.provision.concurrency: cancels the run that waits when another comes, and its job is lost; add queue: max"},
		{fit(nil, name, "jobs: [a]"), "error 14 : jobs is no mapping; correct the file: GitHub does not start it either"},
	} {
		var got []string
		for _, f := range workflow.Check([]byte(test.file)) {
			got = append(got, fmt.Sprintf("%s %d %s: %s; %s", f.Severity, f.Line, f.Field, f.What, f.Cure))
		}
		if diff := cmp.Diff([]string{test.want}, got); diff != "" {
			t.Errorf("%s\nCheck (-want +got):\n%s", test.file, diff)
		}
	}
}

// All that is wrong is said in one go.
func TestCheckAll(t *testing.T) {
	file := fit(map[string]string{"tenant_id": "{type: boolean}", "region": "", "extra": "{required: true}"}, "concurrency: g")
	if found := workflow.Check([]byte(file)); len(found) != 5 {
		t.Errorf("%d findings, want 5: %+v", len(found), found)
	}
}

// What has no error takes every job; what has one refuses a job.
func TestCheckAgrees(t *testing.T) {
	declarations := []string{"", "{}", "{required: true}", "{type: boolean}", "{type: number}", "{type: environment}", "{type: nothing}",
		"{type: choice, options: [sg, us, eu]}", "{type: choice, options: ['true', 'false']}", "{default: x}", "{required: true, default: x}"}
	fields := []string{"job_id", "tenant_id", "region", "create_new_server", "target_server_id", "subdomain_slug", "canonical_hostname", "dedicated", "trace_id", "extra"}
	rapid.Check(t, func(t *rapid.T) {
		inputs := map[string]string{}
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			inputs[rapid.SampledFrom(fields).Draw(t, "field")] = rapid.SampledFrom(declarations).Draw(t, "declared")
		}
		file := fit(inputs)
		fits := true
		for _, f := range workflow.Check([]byte(file)) {
			fits = fits && f.Severity != workflow.Error
		}
		w, err := workflow.Parse([]byte(file))
		if err != nil {
			t.Fatal(err)
		}
		var refused error
		for i, job := range []provision.Job{newServer(), existingNode(), dedicated()} {
			job.Region = placement.Regions()[i]
			if _, err := w.Inputs(job); err != nil {
				refused = err
			}
		}
		if fits && refused != nil {
			t.Errorf("%s\nfits, and yet: %v", file, refused)
		}
		if !fits && refused == nil && len(inputs) == 1 && !picky(inputs) {
			t.Errorf("%s\ndoes not fit, and takes every job", file)
		}
	})
}

// picky reports whether what is wrong shows only with a job of another kind.
func picky(inputs map[string]string) bool {
	for field, lines := range inputs {
		if strings.Contains(lines, "number") || strings.Contains(lines, "choice") || field == "region" {
			return true
		}
	}
	return false
}

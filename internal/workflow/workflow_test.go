package workflow_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/workflow"
)

func TestParse(t *testing.T) {
	str := func(name string) workflow.Input { return workflow.Input{Name: name, Type: workflow.String} }
	for _, test := range []struct {
		name, in string
		want     workflow.Workflow
	}{
		{"on is a string", "on: workflow_dispatch", workflow.Workflow{}},
		{"on is a list", "on: [push, workflow_dispatch]", workflow.Workflow{}},
		{"on holds null", "on: {workflow_dispatch: }", workflow.Workflow{}},
		{"on holds null inputs", "on: {workflow_dispatch: {inputs: }}", workflow.Workflow{}},
		{"on is true", "true: {workflow_dispatch: {inputs: {a: }}}", workflow.Workflow{Declared: []workflow.Input{str("a")}}},
		{"on is quoted", `"on": {"workflow_dispatch": {"inputs": {"a": {}}}}`, workflow.Workflow{Declared: []workflow.Input{str("a")}}},
		{"anchors", "x: &x {type: boolean, required: &yes true}\non: &on\n  workflow_dispatch: &wd\n    inputs: {a: *x, b: {required: *yes}}\n", workflow.Workflow{
			Declared: []workflow.Input{
				{Name: "a", Type: workflow.Boolean, Required: true},
				{Name: "b", Type: workflow.String, Required: true},
			},
		}},
		{"scalars as they are written", "on: {workflow_dispatch: {inputs: {a: {type: choice, default: 010, options: [010, True, 1.0, x]}}}}", workflow.Workflow{
			Declared: []workflow.Input{{Name: "a", Type: workflow.Choice, Default: "010", Options: []string{"010", "true", "1.0", "x"}}},
		}},
		{"the rest", "name: N\nrun-name: r ${{ inputs.a }}\non:\n  workflow_dispatch:\n    inputs:\n      a:\n        description: D\n        default: null\nconcurrency: {group: g, queue: max, cancel-in-progress: false}\njobs: {}", workflow.Workflow{
			Name: "N", RunName: "r ${{ inputs.a }}",
			Declared:    []workflow.Input{{Name: "a", Type: workflow.String, Description: "D"}},
			Concurrency: workflow.Concurrency{Group: "g", CancelInProgress: "false", Queue: "max"},
		}},
		{"concurrency is a string", "on: workflow_dispatch\nconcurrency: g", workflow.Workflow{Concurrency: workflow.Concurrency{Group: "g"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, parse(t, test.in)); diff != "" {
				t.Errorf("Parse (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRefused(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", "workflow file: it is no mapping"},
		{"- a", "workflow file: it is no mapping"},
		{"a: [", "workflow file: yaml: line 1: did not find expected node content"},
		{"name: x", "workflow file: it has no on"},
		{"on: push", "workflow file: line 1: it does not have the workflow_dispatch trigger"},
		{"on:\n  push:\n", "workflow file: line 2: it does not have the workflow_dispatch trigger"},
		{"on: {workflow_dispatch: {inputs: [a]}}", "workflow file: line 1: inputs is no mapping"},
		{"on: {workflow_dispatch: {input: {}}}", `workflow file: line 1: workflow_dispatch has no "input"`},
		{"on: {workflow_dispatch: {inputs: {a: {type: [x]}}}}", "workflow file: line 1: type is no scalar"},
		{"on: {workflow_dispatch: {inputs: {a: {required: maybe}}}}", `workflow file: line 1: required of input "a" is neither true nor false`},
		{"on: {workflow_dispatch: {inputs: {a: {options: x}}}}", "workflow file: line 1: options of input a are no list"},
		{"on: {workflow_dispatch: {inputs: {a: {}, a: {}}}}", `workflow file: line 1: "a" stands twice in inputs`},
		{"x: &x {type: string}\non: {workflow_dispatch: {inputs: {a: {<<: *x}}}}", "workflow file: line 2: input a has a merge key (<<), which GitHub does not take"},
		{"on: push\ntrue: workflow_dispatch", "workflow file: line 2: on stands there twice"},
		{"on: workflow_dispatch\n" + strings.Repeat("#", 1<<20), "workflow file is 1048598 bytes long, more than 1048576"},
	} {
		_, err := workflow.Parse([]byte(test.in))
		if err == nil || err.Error() != test.want {
			t.Errorf("Parse(%.60q) = %v, want %s", test.in, err, test.want)
			continue
		}
		if c := provision.ClassOf(err); c != provision.Invalid {
			t.Errorf("Parse(%.60q): class %s, want invalid", test.in, c)
		}
	}
}

// The product's workflow declares every field of the message and nothing else, is called
// by its job, and drops no run that waits.
func TestOurWorkflow(t *testing.T) {
	data, err := os.ReadFile(ours)
	if err != nil {
		t.Fatal(err)
	}
	w := parse(t, string(data))
	var names []string
	for _, in := range w.Declared {
		names = append(names, in.Name)
		if in.Description == "" {
			t.Errorf("input %s has no description", in.Name)
		}
	}
	if diff := cmp.Diff(provision.Fields(), names); diff != "" {
		t.Errorf("inputs (-want +got):\n%s", diff)
	}
	if !strings.Contains(w.RunName, "${{ inputs.job_id }}") {
		t.Errorf("run-name %q does not carry the job_id", w.RunName)
	}
	want := workflow.Concurrency{Group: "provision-tenant-${{ inputs.tenant_id }}", Queue: "max", CancelInProgress: "false"}
	if diff := cmp.Diff(want, w.Concurrency); diff != "" {
		t.Errorf("concurrency (-want +got):\n%s", diff)
	}
	region, _ := w.Input("region")
	if !slices.Equal(region.Options, []string{"sg", "us", "eu"}) {
		t.Errorf("choices of region = %v", region.Options)
	}
}

// Whatever the file, Parse and Inputs answer or refuse, and what they answer is declared.
func FuzzParse(f *testing.F) {
	if data, err := os.ReadFile(ours); err == nil {
		f.Add(data)
	}
	for _, seed := range []string{
		"on: workflow_dispatch", "on: [workflow_dispatch]", "true: {workflow_dispatch: }",
		"x: &x [*x]\non: *x", "on: &a {workflow_dispatch: {inputs: *a}}", "<<: {on: workflow_dispatch}",
		"on: {workflow_dispatch: {inputs: {region: {type: choice, options: [sg]}, tenant_id: {type: number}}}}",
		declare(nil), declare(map[string]string{"job_id": "{type: boolean}"}),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		w, err := workflow.Parse(data)
		if found := workflow.Check(data); err != nil && (len(found) != 1 || found[0].Severity != workflow.Error) {
			t.Fatalf("Check: %+v of a file that cannot be read", found)
		}
		if err != nil {
			if provision.ClassOf(err) != provision.Invalid || strings.Contains(err.Error(), "\n") {
				t.Fatalf("Parse: %q of class %s", err, provision.ClassOf(err))
			}
			return
		}
		for _, job := range []provision.Job{newServer(), existingNode(), dedicated()} {
			inputs, err := w.Inputs(job)
			if err != nil && len(provision.FieldErrors(err)) == 0 {
				t.Fatalf("Inputs: %v names no field", err)
			}
			for name, value := range inputs {
				in, declared := w.Input(name)
				if _, isBool := value.(bool); !declared || isBool != (in.Type == workflow.Boolean) || value == "" {
					t.Errorf("input %s = %#v, declared %+v", name, value, in)
				}
			}
		}
	})
}

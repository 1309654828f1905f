package workflow_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/workflow"
)

const ours = "../../.github/workflows/provision-tenant.yml"

func newServer() provision.Job {
	return provision.Job{
		ID: "job-1", TenantID: "acme-1", Region: "sg", CreateNewServer: true,
		SubdomainSlug: "acme", CanonicalHostname: "acme.pregoi.com", TraceID: "trace_1",
	}
}

func existingNode() provision.Job {
	j := newServer()
	j.CreateNewServer, j.TargetServerID, j.TraceID = false, "hz-sg-7", ""
	return j
}

func dedicated() provision.Job {
	j := newServer()
	j.Dedicated = true
	return j
}

func parse(t *testing.T, data string) workflow.Workflow {
	t.Helper()
	w, err := workflow.Parse([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// What the product's own workflow is sent, as JSON.
func TestInputsOfOurWorkflow(t *testing.T) {
	data, err := os.ReadFile(ours)
	if err != nil {
		t.Fatal(err)
	}
	w := parse(t, string(data))
	for _, test := range []struct {
		name string
		job  provision.Job
		want string
	}{
		{"new server", newServer(), `{"canonical_hostname":"acme.pregoi.com","create_new_server":true,"dedicated":"false",` +
			`"job_id":"job-1","region":"sg","subdomain_slug":"acme","tenant_id":"acme-1","trace_id":"trace_1"}`},
		{"existing node", existingNode(), `{"canonical_hostname":"acme.pregoi.com","create_new_server":false,"dedicated":"false",` +
			`"job_id":"job-1","region":"sg","subdomain_slug":"acme","target_server_id":"hz-sg-7","tenant_id":"acme-1"}`},
		{"dedicated", dedicated(), `{"canonical_hostname":"acme.pregoi.com","create_new_server":true,"dedicated":"true",` +
			`"job_id":"job-1","region":"sg","subdomain_slug":"acme","tenant_id":"acme-1","trace_id":"trace_1"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			inputs, err := w.Inputs(test.job)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(inputs)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want {
				t.Errorf("Inputs =\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// declare returns a workflow that declares all fields as strings, but for those given:
// the lines of an input by its name, without the input where there are none.
func declare(inputs map[string]string) string {
	var b strings.Builder
	b.WriteString("on:\n  workflow_dispatch:\n    inputs:\n")
	for _, field := range provision.Fields() {
		if lines, ok := inputs[field]; !ok {
			fmt.Fprintf(&b, "      %s: {type: string}\n", field)
		} else if lines != "" {
			fmt.Fprintf(&b, "      %s: %s\n", field, lines)
		}
	}
	for name, lines := range inputs {
		if !strings.Contains(b.String(), name+":") && lines != "" {
			fmt.Fprintf(&b, "      %s: %s\n", name, lines)
		}
	}
	return b.String()
}

// How a declaration decides what one field is sent as.
func TestInputsTypes(t *testing.T) {
	for _, test := range []struct {
		field, declared string
		job             provision.Job
		want            any // nil: left out
	}{
		{"create_new_server", "{type: boolean}", newServer(), true},
		{"create_new_server", "{type: boolean, required: true}", existingNode(), false},
		{"create_new_server", "{type: string}", newServer(), "true"},
		{"create_new_server", "{type: choice, options: ['true', 'false']}", newServer(), "true"},
		{"create_new_server", "{type: choice, options: [true, false]}", existingNode(), "false"},
		{"create_new_server", "", existingNode(), nil}, // false says nothing that the workflow need know
		{"dedicated", "{type: boolean}", dedicated(), true},
		{"dedicated", "{type: boolean, default: true}", newServer(), false}, // said, so that no default speaks
		{"dedicated", "{type: string, default: 'false'}", newServer(), "false"},
		{"dedicated", "", newServer(), nil},
		{"region", "{type: choice, options: [sg, us, eu]}", newServer(), "sg"},
		{"region", "{type: environment}", newServer(), "sg"},
		{"region", "", provision.Job{}, nil},
		{"job_id", "", provision.Job{}, nil},
		{"job_id", "", provision.Job{ID: ""}, nil},
		{"tenant_id", "{type: number}", provision.Job{TenantID: "42"}, json.Number("42")},
		{"tenant_id", "{type: number}", provision.Job{TenantID: "4.25"}, json.Number("4.25")},
		{"tenant_id", "{}", newServer(), "acme-1"},
		{"tenant_id", "null", newServer(), "acme-1"},
		{"tenant_id", "{type: string, default: other}", newServer(), "acme-1"},
		{"target_server_id", "{type: string}", newServer(), nil},
		{"target_server_id", "{type: choice, options: [a]}", newServer(), nil},
		{"target_server_id", "{type: string, default: ''}", newServer(), nil},
		{"trace_id", "{type: string, default: trace_by_hand}", existingNode(), nil},
		{"trace_id", "{type: string}", newServer(), "trace_1"},
	} {
		t.Run(test.field+" "+test.declared, func(t *testing.T) {
			got, err := parse(t, declare(map[string]string{test.field: test.declared})).Inputs(test.job)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got[test.field]); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.field, diff)
			}
		})
	}
}

// What is refused, all of it in one go.
func TestInputsRefused(t *testing.T) {
	for _, test := range []struct {
		name     string
		declared map[string]string
		job      provision.Job
		want     []string
	}{
		{"undeclared", map[string]string{"trace_id": "", "job_id": ""}, newServer(), []string{
			`job_id "job-1" is not an input of the workflow`,
			`trace_id "trace_1" is not an input of the workflow`,
		}},
		{"undeclared flag that says true", map[string]string{"dedicated": ""}, dedicated(), []string{
			`dedicated "true" is not an input of the workflow`,
		}},
		{"unfilled", map[string]string{"environment": "{required: true}", "target_server_id": "{required: true}"}, newServer(), []string{
			`target_server_id "" is required by the workflow, and empty in the message`,
			`environment "" is required by the workflow, and no field of the message fills it`,
		}},
		{"unfilled, but for its default", map[string]string{"environment": "{required: true, default: prod}"}, newServer(), nil},
		{"a default in place of none", map[string]string{"target_server_id": "{default: hz-sg-1}"}, newServer(), []string{
			`target_server_id "" is empty, and the workflow would fill in its default "hz-sg-1"`,
		}},
		{"choices", map[string]string{"region": "{type: choice, options: [us, eu]}", "dedicated": "{type: choice, options: [yes, no]}"}, newServer(), []string{
			`region "sg" is not one of the workflow's choices: us, eu`,
			`dedicated "false" is not one of the workflow's choices: yes, no`,
		}},
		{"types that cannot carry it", map[string]string{
			"job_id": "{type: number}", "tenant_id": "{type: boolean}", "create_new_server": "{type: number}",
			"target_server_id": "{type: boolean}", "subdomain_slug": "{type: strnig}",
		}, newServer(), []string{
			`job_id "job-1" is declared a number by the workflow, and is none`,
			`tenant_id "acme-1" is declared a boolean by the workflow, and the field is text`,
			`create_new_server "true" is declared a number by the workflow, and the field is true or false`,
			`target_server_id "" is declared a boolean by the workflow, and the field is text`,
			`subdomain_slug "acme" is declared with the type "strnig", which workflow_dispatch does not have`,
		}},
		{"a name that looks like a number", map[string]string{"tenant_id": "{type: number}"}, provision.Job{TenantID: "007"}, []string{
			`tenant_id "007" is declared a number by the workflow, and is none`,
		}},
		{"a number too long to be exact", map[string]string{"tenant_id": "{type: number}"}, provision.Job{TenantID: "12345678901234567890"}, []string{
			`tenant_id "12345678901234567890" is declared a number by the workflow, and is none`,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := parse(t, declare(test.declared)).Inputs(test.job)
			var got []string
			for _, fe := range provision.FieldErrors(err) {
				got = append(got, fe.Error())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Inputs (-want +got):\n%s", diff)
			}
			if err != nil && provision.ClassOf(err) != provision.Invalid {
				t.Errorf("class = %s, want invalid", provision.ClassOf(err))
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("the text has more than one line: %q", err)
			}
		})
	}
}

func TestInputsLimits(t *testing.T) {
	more := map[string]string{}
	for i := range 16 {
		more[fmt.Sprintf("extra_%02d", i)] = "{}"
	}
	if _, err := parse(t, declare(more)).Inputs(newServer()); err != nil {
		t.Errorf("25 inputs: %v", err)
	}
	more["extra_16"] = "{}"
	_, err := parse(t, declare(more)).Inputs(newServer())
	want := `workflow inputs: inputs "26" is how many the workflow declares, more than the 25 that GitHub takes`
	if fmt.Sprint(err) != want {
		t.Errorf("26 inputs: %v\nwant %s", err, want)
	}

	// Characters count, not bytes: é is one.
	w := parse(t, "on: {workflow_dispatch: {inputs: {tenant_id: {}}}}")
	frame := len(`{"tenant_id":""}`)
	if _, err := w.Inputs(provision.Job{TenantID: strings.Repeat("é", workflow.MaxInputsSize-frame)}); err != nil {
		t.Errorf("65535 characters: %v", err)
	}
	_, err = w.Inputs(provision.Job{TenantID: strings.Repeat("<", workflow.MaxInputsSize-frame+1)})
	want = `workflow inputs: inputs "65536" is their length as JSON, more than the 65535 characters that GitHub takes`
	if fmt.Sprint(err) != want {
		t.Errorf("65536 characters: %v\nwant %s", err, want)
	}
}

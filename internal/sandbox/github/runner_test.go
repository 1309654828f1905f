package github_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pregoi/provision-tenant/internal/sandbox/github"
)

// What the action's process is given, and that it is given nothing of ours.
func TestEnvironment(t *testing.T) {
	t.Setenv("OF_THE_TEST", "must not be seen")
	w := start(t, github.Options{Env: []string{"ACT=env"}, Secrets: map[string]string{}})
	r := w.run(`{"flag":true,"text":"a b","number":2.5}`)
	var list []string
	if err := json.Unmarshal([]byte(r.Outputs["env"]), &list); err != nil {
		t.Fatalf("%v: %q\n%s", err, r.Outputs["env"], r.Log)
	}
	env := map[string]string{}
	var names []string
	for _, v := range list {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
		names = append(names, name)
	}
	for name, want := range map[string]string{
		"INPUT_TEXT": "a b", "INPUT_TWO_WORDS": "d 1", "INPUT_FLAG": "true",
		"SECRET": "", "NONE": "", "VAR": "var-a", "PICK": "}}yes 2.5", "JOB_LEVEL": "a",
		"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "pregoi/prego", "GITHUB_RUN_ID": "16000000001",
		"GITHUB_RUN_ATTEMPT": "1", "GITHUB_SERVER_URL": w.url, "GITHUB_API_URL": w.url, "GITHUB_REF": "refs/heads/main",
		"GITHUB_EVENT_NAME": "workflow_dispatch", "GITHUB_JOB": "test", "GITHUB_WORKFLOW": "Test",
		"PATH": os.Getenv("PATH"),
	} {
		if got, ok := env[name]; got != want || !ok {
			t.Errorf("%s = %q, %t, want %q", name, got, ok, want)
		}
	}
	for _, name := range []string{"HOME", "GITHUB_WORKSPACE", "RUNNER_TEMP", "GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH", "GITHUB_STATE", "GITHUB_STEP_SUMMARY", "GITHUB_EVENT_PATH"} {
		if !strings.Contains(env[name], "/github/") {
			t.Errorf("%s = %q, want a path below github", name, env[name])
		}
	}
	for _, name := range names {
		known := strings.HasPrefix(name, "GITHUB_") || strings.HasPrefix(name, "RUNNER_") || strings.HasPrefix(name, "INPUT_") || strings.HasPrefix(name, "ACTIONS_RUNTIME_")
		if !known && !slices.Contains([]string{"PATH", "HOME", "CI", "ACT", "GORACE", "SECRET", "NONE", "VAR", "PICK", "JOB_LEVEL"}, name) {
			t.Errorf("the process sees %s", name)
		}
	}
}

func TestConclusions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		act, inputs string
		conclusion  string
		outputs     map[string]string
		steps       []string
	}{
		{"output", `{"text":"value=a=b<<c\n"}`, "success", map[string]string{"value": "a=b<<c", "env": "", "after": "success success"}, []string{"success", "success", "skipped", "skipped"}},
		{"output", `{"text":"value<<X\n1\n2\nX\n"}`, "success", map[string]string{"value": "1\n2", "env": "", "after": "success success"}, []string{"success", "success", "skipped", "skipped"}},
		{"output", `{"text":"value<<X\n1\n2\n","pick":"b"}`, "failure", map[string]string{"value": "", "env": "", "after": "failure failure"}, []string{"success", "failure", "success", "success"}},
		{"output", `{"text":"nothing\n"}`, "failure", map[string]string{"value": "", "env": "", "after": "failure failure"}, []string{"success", "failure", "success", "skipped"}},
		{"fail", `{}`, "failure", map[string]string{"value": "kept", "env": "", "after": "failure failure"}, []string{"success", "failure", "success", "skipped"}},
	} {
		t.Run(test.act+" "+test.inputs, func(t *testing.T) {
			t.Parallel()
			r := start(t, act(test.act)).run(test.inputs)
			var steps []string
			for _, s := range r.Steps {
				steps = append(steps, s.Conclusion)
			}
			if r.Conclusion != test.conclusion || r.Status != "completed" {
				t.Errorf("run is %s, %s; want completed, %s\n%s", r.Status, r.Conclusion, test.conclusion, r.Log)
			}
			if diff := cmp.Diff(test.outputs, r.Outputs); diff != "" {
				t.Errorf("outputs (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.steps, steps); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

// What a log may ask of the runner, in both of its grammars and on both streams.
func TestWorkflowCommands(t *testing.T) {
	t.Parallel()
	quote := func(s string) string {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, stream := range []string{"print", "print to stderr"} {
		for _, test := range []struct {
			text, want string // want: the log from the action's first line on
			notes      []github.Annotation
		}{
			{"plain ::error::not at the start\n", "plain ::error::not at the start\n", nil},
			{"the " + secret + "\n", "the ***\n", nil},
			{"::add-mask::hush\nhush now, c2ho hush\n", "::add-mask::***\n*** now, c2ho ***\n", nil},
			{"x ##[add-mask]hush\nhush\n", "::add-mask::***\n***\n", nil},
			{"\t ::warning title=T,file=f.go,line=3::a%0Ab%25\n", "##[warning]a\nb%\n",
				[]github.Annotation{{Level: "warning", Title: "T", File: "f.go", Line: "3", Message: "a\nb%"}}},
			{"a\r::notice::n\rb\r\nc", "a\n##[notice]n\nb\nc\n", []github.Annotation{{Level: "notice", Message: "n"}}},
			{"::group::G\nin\n::endgroup::\n::debug::no\n", "##[group]G\nin\n##[endgroup]\n", nil},
			{"::unknown::x\n", "::unknown::x\n", nil},
			{"::stop-commands::abc\n::error::x\n::ABC::\n::error::y\n", "::error::x\n##[error]y\n",
				[]github.Annotation{{Level: "error", Message: "y"}}},
		} {
			t.Run(stream+" "+test.text, func(t *testing.T) {
				t.Parallel()
				// The text goes by a variable that no log shows.
				w := start(t, github.Options{Env: []string{"ACT=" + stream, "INPUT_TEXT=" + test.text}})
				r := w.run(`{"text":` + quote("see the variable") + `}`)
				_, got, _ := strings.Cut(r.Log, "##[group]Run ./")
				_, got, _ = strings.Cut(got, "##[endgroup]\n")
				if got != test.want {
					t.Errorf("log = %q, want %q", got, test.want)
				}
				if diff := cmp.Diff(test.notes, r.Notes); diff != "" {
					t.Errorf("annotations (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	r := start(t, act("summary")).run(`{"text":"# Done\n` + secret + `\n"}`)
	if r.Summary != "# Done\n***\n" {
		t.Errorf("summary = %q", r.Summary)
	}
	r = start(t, act("long summary")).run(`{}`)
	if r.Summary != "" || len(r.Notes) != 1 || !strings.HasPrefix(r.Notes[0].Message, "$GITHUB_STEP_SUMMARY upload aborted, supports content up to a size of 1024k, got 1024k.") {
		t.Errorf("summary of %d bytes, annotations %v", len(r.Summary), r.Notes)
	}
}

func TestJobOutputWithSecret(t *testing.T) {
	t.Parallel()
	r := start(t, act("output")).run(`{"text":"value=the ` + secret + `\n"}`)
	if v, ok := r.Outputs["value"]; ok || r.Conclusion != "success" {
		t.Errorf("value = %q, %s", v, r.Conclusion)
	}
	if len(r.Notes) != 1 || r.Notes[0].Message != "Skip output 'value' since it may contain secret." {
		t.Errorf("annotations = %v", r.Notes)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	w := start(t, act("wait"))
	id := w.dispatch(`{"pick":"b"}`)
	w.until(id, "waiting")
	if status, body, _ := w.do("POST", "/repos/pregoi/prego/actions/runs/16000000001/cancel", ""); status != 202 {
		t.Fatalf("cancel: %d %v", status, body)
	}
	r := w.wait(id)
	if r.Conclusion != "cancelled" || r.Outputs["value"] != "interrupt" || strings.Contains(r.Log, "got terminated") {
		t.Errorf("run is %s with %v\n%s", r.Conclusion, r.Outputs, r.Log)
	}
	if last := r.Steps[len(r.Steps)-1]; last.Name != "Last" || last.Conclusion != "success" {
		t.Errorf("the step with always() is %+v", last)
	}
	status, body, _ := w.do("POST", "/repos/pregoi/prego/actions/runs/16000000001/cancel", "")
	if status != 409 || body["message"] != "Cannot cancel a workflow run that is completed." {
		t.Errorf("cancel again: %d %v", status, body)
	}
}

// A process that does not listen gets the runner's three signals.
func TestCancelStubborn(t *testing.T) {
	t.Parallel()
	o := act("ignore")
	o.InterruptWait, o.TerminateWait = 50*time.Millisecond, 50*time.Millisecond
	w := start(t, o)
	id := w.dispatch(`{}`)
	w.until(id, "waiting")
	if err := w.Cancel(id); err != nil {
		t.Fatal(err)
	}
	r := w.wait(id)
	if r.Conclusion != "cancelled" || !strings.Contains(r.Log, "got interrupt\ngot terminated\n") {
		t.Errorf("run is %s\n%s", r.Conclusion, r.Log)
	}
}

// A process that is killed fails its step; the run can be run again under the same id.
func TestKillAndRerun(t *testing.T) {
	t.Parallel()
	o := act("wait")
	pids := make(chan int, 2)
	o.Started = func(_ int64, pid int) { pids <- pid }
	w := start(t, o)
	id := w.dispatch(`{"text":"same"}`)
	w.until(id, "waiting")
	if err := syscall.Kill(<-pids, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r := w.wait(id)
	if r.Conclusion != "failure" || !strings.Contains(r.Log, "##[error]Docker run failed with exit code 137") {
		t.Errorf("run is %s\n%s", r.Conclusion, r.Log)
	}
	if status, body, _ := w.do("POST", "/repos/pregoi/prego/actions/runs/16000000001/rerun", ""); status != 201 {
		t.Fatalf("rerun: %d %v", status, body)
	}
	<-pids
	if err := w.Rerun(id); err == nil {
		t.Error("a run that is under way was run again")
	}
	w.until(id, "waiting")
	if err := w.Cancel(id); err != nil {
		t.Fatal(err)
	}
	if r = w.wait(id); r.Attempt != 2 || r.ID != id || r.Inputs["text"] != "same" {
		t.Errorf("second attempt = %+v", r)
	}
}

// The product's own workflow and action.yml, as they stand in this repository: what is
// dispatched reaches the action, and what the action says leaves the job.
func TestOurWorkflow(t *testing.T) {
	t.Parallel()
	w := start(t, github.Options{Files: os.DirFS("../../.."), Env: []string{"ACT=dump"}, Secrets: map[string]string{}})
	inputs := map[string]any{
		"job_id": "job-1", "tenant_id": "acme", "region": "sg", "create_new_server": true, "subdomain_slug": "acme",
		"canonical_hostname": "acme.pregoi.com", "dedicated": "true",
	}
	body, err := json.Marshal(map[string]any{"ref": "main", "inputs": inputs, "return_run_details": true})
	if err != nil {
		t.Fatal(err)
	}
	status, answer, _ := w.do("POST", "/repos/pregoi/prego/actions/workflows/provision-tenant.yml/dispatches", string(body))
	if status != 200 {
		t.Fatalf("dispatch: %d %v", status, answer)
	}
	r := w.wait(int64(answer["workflow_run_id"].(float64)))
	if r.Name != "provision job-1 (acme, dedicated in sg)" || r.Conclusion != "success" {
		t.Errorf("run %q is %s\n%s", r.Name, r.Conclusion, r.Log)
	}
	var env []string
	if err := json.Unmarshal([]byte(r.Outputs["result"]), &env); err != nil {
		t.Fatalf("%v: %q", err, r.Outputs["result"])
	}
	inputs["target_server_id"], inputs["trace_id"], inputs["create_new_server"] = "", "", "true"
	inputs["mode"], inputs["pulumi_ref"], inputs["pulumi_repo"] = "apply", "main", ""
	for name, want := range inputs {
		if v := "INPUT_" + strings.ToUpper(name) + "=" + want.(string); !slices.Contains(env, v) {
			t.Errorf("the action does not see %s", v)
		}
	}
	for _, a := range r.Notes {
		t.Errorf("%s: %s", a.Level, a.Message)
	}
}

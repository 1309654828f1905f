package actions_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pregoi/provision-tenant/internal/actions"
)

// environment returns a Getenv of pairs of name and value.
func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

// onRunner returns an Action as the runner starts it, and its log.
func onRunner(pairs ...string) (*actions.Action, *bytes.Buffer) {
	var out bytes.Buffer
	return &actions.Action{Stdout: &out, Getenv: environment(append([]string{"GITHUB_ACTIONS", "true"}, pairs...)...)}, &out
}

func onLaptop(pairs ...string) (*actions.Action, *bytes.Buffer) {
	var out bytes.Buffer
	return &actions.Action{Stdout: &out, Getenv: environment(pairs...)}, &out
}

func TestInput(t *testing.T) {
	a, _ := onLaptop("INPUT_JOB_ID", "\n job-1\t", "INPUT_DRY-RUN", "true", "INPUT_TWO_WORDS", "x", "INPUT_PASTED", " \uFEFF\u00A0a b\r\n")
	for name, want := range map[string]string{"job_id": "job-1", "dry-run": "true", "two words": "x", "pasted": "a b", "absent": ""} {
		if got := a.Input(name); got != want {
			t.Errorf("Input(%q) = %q, want %q", name, got, want)
		}
	}
}

// What is said to the runner is one command each, whatever the text; on a laptop it is
// lines to read, and no command.
func TestCommands(t *testing.T) {
	say := func(a *actions.Action) {
		a.Group("pulumi up:\nstack sg")
		a.Notice("", "50% of\r\n::error::it")
		a.Warning("a,b::c=d", "slow")
		a.Error("tenant_dns", "two\nlines ##[add-mask]x")
		a.EndGroup()
		a.Info("\u00a0::set-env name=A::b\nfoo ##[error]bar")
	}
	a, out := onRunner()
	say(a)
	want := []command{
		{"group", "", "pulumi up:\nstack sg"},
		{"notice", "", "50% of\n::error::it"},
		{"warning", "a,b::c=d", "slow"},
		{"error", "tenant_dns", "two\nlines ##[add-mask]x"},
		{"endgroup", "", ""},
	}
	if diff := cmp.Diff(want, commands(out.String(), false)); diff != "" {
		t.Errorf("the runner sees (-want +got):\n%s\n%s", diff, out)
	}

	a, out = onLaptop()
	say(a)
	text := `=== pulumi up: stack sg
notice: 50% of
| ::error::it
warning: a,b::c=d: slow
error: tenant_dns: two
lines ## [add-mask]x
|  ::set-env name=A::b
foo ## [error]bar
`
	if diff := cmp.Diff(text, out.String()); diff != "" {
		t.Errorf("a person sees (-want +got):\n%s", diff)
	}
}

func TestRun(t *testing.T) {
	for _, tt := range []struct {
		env     []string
		url     string
		attempt int
	}{
		{nil, "", 1},
		{[]string{"GITHUB_RUN_ID", "7"}, "", 1},
		{[]string{"GITHUB_RUN_ID", "7", "GITHUB_REPOSITORY", "o/r"}, "https://github.com/o/r/actions/runs/7/attempts/1", 1},
		{
			[]string{"GITHUB_RUN_ID", "7", "GITHUB_REPOSITORY", "o/r", "GITHUB_RUN_ATTEMPT", "3", "GITHUB_SERVER_URL", "http://127.0.0.1:1/"},
			"http://127.0.0.1:1/o/r/actions/runs/7/attempts/3", 3,
		},
	} {
		a, _ := onRunner(tt.env...)
		if a.RunURL() != tt.url || a.RunAttempt() != tt.attempt {
			t.Errorf("%v: RunURL = %q, RunAttempt = %d, want %q, %d", tt.env, a.RunURL(), a.RunAttempt(), tt.url, tt.attempt)
		}
	}
}

// A broken log is no reason to stop, and the zero Action is silent.
func TestBrokenLog(t *testing.T) {
	for _, a := range []*actions.Action{{}, {Stdout: broken{}, Getenv: environment("GITHUB_ACTIONS", "true")}} {
		a.Mask("secret-value")
		a.Error("title", "message")
		if n, err := a.Inert(nil).Write([]byte("line\n")); n != 5 || err != nil {
			t.Errorf("Write = %d, %v, want 5 and no error", n, err)
		}
		if got := a.Redact("a secret-value"); strings.Contains(got, "secret") {
			t.Errorf("Redact = %q", got)
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("closed") }

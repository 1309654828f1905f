package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pregoi/provision-tenant/internal/actions"
	"github.com/pregoi/provision-tenant/internal/pipeline"
	"github.com/pregoi/provision-tenant/internal/provision"
)

// What a run has to say and cannot is a failure, and a loud one: of a run that went well too.
func TestFinishUnwritable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	gone := filepath.Join(dir, "gone", "file")
	for _, tt := range []struct {
		output, summary string
		err             error
		status          int
		says            string
	}{
		{good, good, nil, 0, ""},
		{"/dev/full", good, nil, 1, "output node_id: write /dev/full: no space left on device"},
		{good, "/dev/full", nil, 1, "job summary: write /dev/full"},
		{gone, gone, nil, 1, "job summary: open "},
		{"", "", nil, 1, "output result: GITHUB_OUTPUT is not set"},
		{"/dev/full", good, provision.Errorf(provision.Conflict, "it is somebody's"), 4, "it is somebody's"},
	} {
		var out bytes.Buffer
		gha := &actions.Action{Stdout: &out, Getenv: func(name string) string {
			return map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": tt.output, "GITHUB_STEP_SUMMARY": tt.summary}[name]
		}}
		if status := finish(gha, report{}, tt.err); status != tt.status || !strings.Contains(out.String(), tt.says) {
			t.Errorf("outputs to %q, summary to %q, error %v: status %d, want %d and %q in\n%s", tt.output, tt.summary, tt.err, status, tt.status, tt.says, &out)
		}
	}
}

// An output of which a secret is a part is left empty, and not half; prose is blotted out.
func TestFinishSecretOutput(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "output")
	var out bytes.Buffer
	gha := &actions.Action{Stdout: &out, Getenv: func(name string) string {
		return map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": file, "GITHUB_STEP_SUMMARY": os.DevNull}[name]
	}}
	gha.Mask("203.0.113.77")
	rep := report{Host: "203.0.113.77", NodeID: "hz-sg-1", Error: "no way to 203.0.113.77\xff"}
	if status := finish(gha, rep, nil); status != 0 {
		t.Errorf("status %d, want 0\n%s", status, &out)
	}
	got := parseOutputs(t, file)
	if got["host"] != "" || got["node_id"] != "hz-sg-1" || got["error"] != "no way to ***\uFFFD" || !strings.Contains(got["result"], `"host":"***"`) {
		t.Errorf("outputs %q", got)
	}
	if !strings.Contains(out.String(), "::warning title=output host::it is left empty") {
		t.Errorf("the log does not say so:\n%s", &out)
	}
}

// Every secret is masked before any other line.
func TestMasksFirst(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"no such message.json"}} {
		env := map[string]string{
			"GITHUB_ACTIONS": "true", "INTERNAL_API_KEY": "key-0123456789", "INPUT_PULUMI_REPO_TOKEN": "repo-token-0123", "GITHUB_TOKEN": "github-token-01",
			"AWS_SECRET_ACCESS_KEY": "aws-secret-01234", "HTTPS_PROXY": "http://user:proxy-password@127.0.0.1:1",
			"http_proxy": "user:bare%24password@127.0.0.1:1", "PULUMI_BACKEND_URL": "postgres://prego:of-the-database%zz@db.example.com/state?sslmode=require",
			"INPUT_PULUMI_REPO": "https://ghp_0123456789@example.com/pregoi/pulumi", "CONTROL_PLANE_URL": "ssh://deploy@example.com",
		}
		var out bytes.Buffer
		command(t.Context(), args, strings.NewReader(""), &out, &out, func(name string) string { return env[name] })
		masks, rest, _ := strings.Cut(out.String(), "\n::error ")
		for _, secret := range []string{"key-0123456789", "repo-token-0123", "github-token-01", "aws-secret-01234", "proxy-password",
			"bare%2524password", "bare$password", "of-the-database%25zz", "ghp_0123456789"} {
			if !strings.Contains(masks+"\n", "::add-mask::"+secret+"\n") {
				t.Errorf("%q: %s is not masked first:\n%s", args, secret, &out)
			}
		}
		for line := range strings.Lines(masks) {
			if !strings.HasPrefix(line, "::add-mask::") {
				t.Errorf("%q: the line %q stands before the end of the masks", args, line)
			}
		}
		if strings.Contains(masks, "::deploy\n") {
			t.Errorf("%q: a user without a password is masked:\n%s", args, &out)
		}
		if strings.Contains(rest, "::add-mask::") {
			t.Errorf("%q: masks stand further down:\n%s", args, rest)
		}
	}
}

// The result as JSON holds no secret, and is there when there was not even a message.
func TestJSON(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"inputs": {"--json", "--region", "secret-0123456789"}, "message": {"--json", "secret-0123456789"}} {
		var out, log bytes.Buffer
		status := command(t.Context(), args, strings.NewReader(""), &out, &log, func(name string) string {
			return map[string]string{"INTERNAL_API_KEY": "secret-0123456789"}[name]
		})
		var rep report
		if err := json.Unmarshal(out.Bytes(), &rep); err != nil || status != 2 || !strings.Contains(rep.Error, "***") || strings.Contains(out.String(), "secret-") {
			t.Errorf("%s: status %d, %v, result %s", name, status, err, &out)
		}
	}
}

// What somebody else has said stays in its cell, and is no link.
func TestMarkdown(t *testing.T) {
	t.Parallel()
	const said = "a|b \\|c \\[d](https://evil.example) ![e](x) <b> `f`\n## g"
	text := report{Error: said, Steps: []pipeline.Result{{Step: "tenant_dns", Status: provision.Failed, Detail: said}}}.markdown()
	const want = "a\\|b \\\\\\|c \\\\\\[d](https://evil.example) \\!\\[e](x) &lt;b> 'f' ## g"
	if n := strings.Count(text, want); n != 2 {
		t.Errorf("%d times %s in\n%s", n, want, text)
	}
}

package actions_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/actions"
)

func TestSetOutput(t *testing.T) {
	file := filepath.Join(t.TempDir(), "output")
	if err := os.WriteFile(file, []byte("left=by another"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, _ := onRunner("GITHUB_OUTPUT", file)
	a.Mask("s3cr3t-token")
	want := map[string]string{"left": "by another"}
	for name, value := range map[string]string{
		"plain": "sg", "empty": "", "lines": "a\n\nb\n", "forged": "x\nhost<<EOF\nevil\nEOF\nhost=evil",
		"result": `{"a":"=<<"}`, "cr": "a\r\nb\r", "x-1": "\ufeff日本",
	} {
		want[name] = value
		if err := a.SetOutput(name, value); err != nil {
			t.Errorf("SetOutput(%q, %q): %v", name, value, err)
		}
	}
	for name, value := range map[string]string{
		"": "x", "a=b": "x", "a\nb": "x", "a<<b": "x", "1a": "x", "\ufeffa": "x", "a b": "x",
		"binary": "\xff", "huge": strings.Repeat("x", 1<<20+1), "secret": "token s3cr3t-token",
	} {
		if err := a.SetOutput(name, value); err == nil {
			t.Errorf("SetOutput(%.20q, %.20q): no error", name, value)
		} else if strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("SetOutput(%.20q): error shows the secret: %v", name, err)
		}
	}
	got, err := outputs(read(t, file))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the runner reads (-want +got):\n%s", diff)
	}
}

func TestSetOutputWithoutFile(t *testing.T) {
	a, _ := onRunner()
	if err := a.SetOutput("host", "x"); err == nil {
		t.Error("on the runner, without GITHUB_OUTPUT: no error")
	}
	a, _ = onRunner("GITHUB_OUTPUT", filepath.Join(t.TempDir(), "no", "such", "folder"))
	if err := a.SetOutput("host", "x"); err == nil {
		t.Error("with a GITHUB_OUTPUT that cannot be written: no error")
	}
	a, _ = onRunner("GITHUB_OUTPUT", "/dev/full", "GITHUB_STEP_SUMMARY", "/dev/full")
	if err := errors.Join(a.SetOutput("host", "x"), a.Summary("x")); err == nil || strings.Count(err.Error(), "no space left") != 2 {
		t.Errorf("with files that are full: %v", err)
	}
	a, out := onLaptop()
	if err := a.SetOutput("host", "x"); err != nil || out.Len() > 0 {
		t.Errorf("on a laptop: SetOutput = %v and printed %q, want nothing", err, out)
	}
}

// Whatever the value, the runner reads back that very value under that very name, and
// nothing else.
func FuzzSetOutput(f *testing.F) {
	f.Add("host", "192.0.2.1", "")
	f.Add("result", "a\nb<<c\nc\nd=e", "x=y\n")
	f.Add("a=b", "\r\n\x00", "half a line")
	f.Fuzz(func(t *testing.T, name, value, before string) {
		want, err := outputs(before)
		if err != nil || !utf8.ValidString(before) {
			return
		}
		file := filepath.Join(t.TempDir(), "output")
		if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		a, _ := onRunner("GITHUB_OUTPUT", file)
		if err := a.SetOutput(name, value); err == nil {
			want[name] = value
		} else if before != read(t, file) {
			t.Fatalf("refused (%v), but wrote", err)
		}
		got, err := outputs(read(t, file))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("SetOutput(%q, %q) after %q: the runner reads (-want +got):\n%s", name, value, before, diff)
		}
	})
}

func TestSummary(t *testing.T) {
	const limit = 1 << 20
	dir := t.TempDir()
	for name, tt := range map[string]struct{ before, text, want string }{
		"short":   {"", "# Tenant acme", "# Tenant acme\n"},
		"second":  {"one", "two\n", "one\ntwo\n"},
		"secret":  {"", "key s3cr3t-token\n", "key ***\n"},
		"invalid": {"", "a\xffb\n", "a\uFFFDb\n"},
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(tt.before), 0o600); err != nil {
			t.Fatal(err)
		}
		a, _ := onRunner("GITHUB_STEP_SUMMARY", file)
		a.Mask("s3cr3t-token")
		if err := a.Summary(tt.text); err != nil || read(t, file) != tt.want {
			t.Errorf("%s: Summary = %v, wrote %q, want %q", name, err, read(t, file), tt.want)
		}
	}
	file := filepath.Join(dir, "long")
	a, _ := onRunner("GITHUB_STEP_SUMMARY", file)
	for range 3 {
		if err := a.Summary(strings.Repeat("| a row of ünïcode |\n", limit/16)); err != nil {
			t.Fatal(err)
		}
		got := read(t, file)
		if len(got) >= limit || !utf8.ValidString(got) || !strings.HasSuffix(got, "GitHub takes.\n") {
			t.Errorf("a long summary: %d bytes, ends in %q", len(got), got[max(0, len(got)-80):])
		}
		for line := range strings.Lines(got) {
			if strings.HasPrefix(line, "|") && line != "| a row of ünïcode |\n" {
				t.Errorf("a row is cut: %q", line)
			}
		}
	}
	a, _ = onLaptop()
	if err := a.Summary("x"); err != nil {
		t.Errorf("on a laptop: %v", err)
	}
	a, _ = onRunner()
	if err := a.Summary("x"); err == nil {
		t.Error("on the runner, without GITHUB_STEP_SUMMARY: no error")
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCheckOutputs(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		running, file string
		ok            bool
	}{
		{"", "", true},
		{"true", "", false},
		{"true", filepath.Join(dir, "output"), true},
		{"true", filepath.Join(dir, "none", "output"), false},
		{"true", dir, false},
	} {
		a := &actions.Action{Getenv: func(name string) string {
			return map[string]string{"GITHUB_ACTIONS": test.running, "GITHUB_OUTPUT": test.file}[name]
		}}
		if err := a.CheckOutputs(); (err == nil) != test.ok {
			t.Errorf("CheckOutputs with GITHUB_ACTIONS=%q GITHUB_OUTPUT=%q: %v, want an error: %t", test.running, test.file, err, !test.ok)
		}
	}
}

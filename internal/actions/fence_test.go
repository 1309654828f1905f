package actions_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pregoi/provision-tenant/internal/actions"
)

// What another program has done to the runner's files is undone, and named. A link that leads
// nowhere in the container may lead somewhere on the runner, so it may not stay.
func TestFence(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	names := map[string]string{"GITHUB_ENV": "env", "GITHUB_PATH": "path", "GITHUB_OUTPUT": "output", "GITHUB_STATE": "none", "GITHUB_STEP_SUMMARY": "summary"}
	a := &actions.Action{Getenv: func(name string) string { return file(names[name]) }}
	was := map[string]string{"env": "", "path": "/bin\n", "output": "a=b\n", "summary": "# What\n"}
	for name, text := range was {
		if err := os.WriteFile(file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	forge := func(name string) error { return os.WriteFile(file(name), []byte("LD_PRELOAD=/tmp/x\n"), 0o600) }
	for what, test := range map[string]struct {
		do   func() error
		want []string
	}{
		"nothing":            {func() error { return nil }, nil},
		"two are written to": {func() error { return errors.Join(forge("env"), forge("output")) }, []string{"GITHUB_ENV", "GITHUB_OUTPUT"}},
		"a link to what only the runner sees": {func() error {
			return errors.Join(os.Remove(file("env")), os.Symlink("/home/runner/work/_temp/_github_home/evil", file("env")))
		}, []string{"GITHUB_ENV"}},
		"a link to a file": {func() error {
			return errors.Join(os.Remove(file("path")), forge("evil"), os.Symlink(file("evil"), file("path")))
		}, []string{"GITHUB_PATH"}},
		"one is gone":            {func() error { return os.Remove(file("summary")) }, []string{"GITHUB_STEP_SUMMARY"}},
		"one is a folder":        {func() error { return errors.Join(os.Remove(file("output")), os.MkdirAll(file("output/x"), 0o700)) }, []string{"GITHUB_OUTPUT"}},
		"one that was not there": {func() error { return forge("none") }, []string{"GITHUB_STATE"}},
	} {
		mend := a.Fence()
		if err := test.do(); err != nil {
			t.Fatal(err)
		}
		if got, err := mend(); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: mended %q, %v, want %q", what, got, err, test.want)
		}
		for name, want := range was {
			if info, err := os.Lstat(file(name)); err != nil || !info.Mode().IsRegular() || read(t, file(name)) != want {
				t.Fatalf("%s: %s is left as %v (%v)", what, name, info, err)
			}
		}
		if _, err := os.Lstat(file("none")); err == nil {
			t.Errorf("%s: a file is left that was not there", what)
		}
		if got, err := mend(); got != nil || err != nil {
			t.Errorf("%s: mended %q again, %v", what, got, err)
		}
	}
}

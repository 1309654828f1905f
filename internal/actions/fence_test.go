package actions_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pregoi/provision-tenant/internal/actions"
)

// What another program has written to the runner's files is undone, and named.
func TestFence(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	a := &actions.Action{Getenv: environment("GITHUB_ENV", file("env"), "GITHUB_PATH", file("path"), "GITHUB_OUTPUT", file("output"), "GITHUB_STATE", file("none"))}
	for name, text := range map[string]string{"env": "", "path": "/bin\n", "output": "a=b\n"} {
		if err := os.WriteFile(file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mend := a.Fence()
	for name, text := range map[string]string{"env": "LD_PRELOAD=/tmp/x\n", "output": "x=y\n"} {
		if err := os.WriteFile(file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := mend(), []string{"GITHUB_ENV", "GITHUB_OUTPUT"}; !slices.Equal(got, want) {
		t.Errorf("mended %q, want %q", got, want)
	}
	if got := read(t, file("env")) + read(t, file("path")) + read(t, file("output")); got != "/bin\na=b\n" {
		t.Errorf("left %q", got)
	}
	if got := mend(); got != nil {
		t.Errorf("mended %q again", got)
	}
}

package actions_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSaveState(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	a, _ := onRunner("GITHUB_STATE", file, "STATE_mark", "/tmp/a b")
	want := map[string]string{"mark": "/tmp/1", "forged": "x\nmark<<EOF\nevil\nEOF\nmark=evil"}
	for name, value := range want {
		if err := a.SaveState(name, value); err != nil {
			t.Errorf("SaveState(%q, %q): %v", name, value, err)
		}
	}
	for _, name := range []string{"", "a=b", "a\nb", "a<<b"} {
		if err := a.SaveState(name, "x"); err == nil {
			t.Errorf("SaveState(%q): no error", name)
		}
	}
	got, err := outputs(read(t, file)) // the file commands have one grammar
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the runner reads (-want +got):\n%s", diff)
	}
	if got := a.State("mark"); got != "/tmp/a b" {
		t.Errorf("State = %q", got)
	}
	a, _ = onRunner("GITHUB_STATE", filepath.Join(t.TempDir(), "no", "folder"))
	if err := a.SaveState("mark", "x"); err == nil {
		t.Error("with a GITHUB_STATE that cannot be written: no error")
	}
	a, _ = onRunner()
	if err := a.SaveState("mark", "x"); err != nil {
		t.Errorf("without GITHUB_STATE: %v", err)
	}
}

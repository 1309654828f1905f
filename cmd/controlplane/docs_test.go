package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the README's table anew")

// TestReadme holds the README's table of settings to the code.
func TestReadme(t *testing.T) {
	const name = "../../README.md"
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	const head = "\n### Environment of the control plane\n\n| variable | meaning |\n| --- | --- |\n"
	before, after, ok := strings.Cut(string(data), head)
	if !ok {
		t.Fatalf("the README has no %q", head)
	}
	end := strings.Index("\n"+after, "\n\n")
	want := ""
	for _, s := range settings {
		secret := ""
		if s.secret {
			secret = " (secret)"
		}
		want += fmt.Sprintf("| `%s` | %s%s |\n", s.name, s.usage, secret)
	}
	if *update {
		if err := os.WriteFile(name, []byte(before+head+want+after[end:]), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, after[:end]); diff != "" {
		t.Errorf("run the test with -update; the code (-) and the README (+) differ:\n%s", diff)
	}
}

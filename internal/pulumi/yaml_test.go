package pulumi_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/pulumi"
)

const yamlProgram = "../../testdata/prego-pulumi"

func (w *world) yaml(t *testing.T) *pulumi.Program {
	t.Helper()
	p := w.program(t)
	p.Inline, p.Dir = nil, yamlProgram
	return p
}

func TestYAML(t *testing.T) {
	t.Parallel()
	t.Run("shared", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		up(t, w.yaml(t), shared("job-1"))
		up(t, w.yaml(t), shared("job-2"))
		wantNames(t, w, "prego-sg-job-1", "prego-sg-job-2")
		for _, s := range w.Servers(token) {
			if s.Type != "cpx32" {
				t.Errorf("server %s is a %s: the repository's own setting was lost", s.Name, s.Type)
			}
		}
	})
	t.Run("dedicated", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		job := dedicated("job-1", "acme")
		result := up(t, w.yaml(t), job)
		wantNames(t, w, "prego-acme-app", "prego-acme-db", "prego-acme-redis")
		before := w.Mutations(token)
		again := up(t, w.yaml(t), job)
		if diff := cmp.Diff(result.Servers, again.Servers); diff != "" || w.Mutations(token) != before {
			t.Errorf("the same job again made %d changes (-first +again):\n%s", w.Mutations(token)-before, diff)
		}
	})
	want, err := os.ReadFile(filepath.Join(yamlProgram, "Pulumi.sg.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if got, _ := os.ReadFile(filepath.Join(yamlProgram, "Pulumi.sg.yaml")); string(got) != string(want) {
			t.Errorf("the program's own settings were changed:\n%s", got)
		}
	})
}

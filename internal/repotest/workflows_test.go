// Package repotest holds the repository to what it promises outside its Go code: its
// workflows and its action. It has no code of its own.
//
// A new promise is a new test here, unless a package reads the file anyway: then the test
// stands beside that package.
package repotest

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// A document is one YAML file of the repository.
type document struct {
	name string // below the root
	root *yaml.Node
}

func (d document) workflow() bool { return path.Dir(d.name) == ".github/workflows" }

// documents returns the workflows and actions of the repository.
func documents(t *testing.T) []document {
	t.Helper()
	var list []document
	root := os.DirFS("../..")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		base := path.Base(name)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (base == "testdata" || base == ".git"):
			return fs.SkipDir
		case base != "action.yml" && base != "action.yaml" && !yamlOfWorkflow(name):
			return nil
		}
		data, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		var node yaml.Node
		if err := yaml.Unmarshal(data, &node); err != nil {
			t.Errorf("%s: %v", name, err)
			return nil
		}
		list = append(list, document{name, node.Content[0]})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func yamlOfWorkflow(name string) bool {
	return path.Dir(name) == ".github/workflows" && (path.Ext(name) == ".yml" || path.Ext(name) == ".yaml")
}

// The files that the tests below are about have to be there, or the tests hold nothing.
func TestDocuments(t *testing.T) {
	var names []string
	for _, d := range documents(t) {
		names = append(names, d.name)
	}
	for _, want := range []string{"action.yml", ".github/workflows/ci.yml", ".github/workflows/provision-tenant.yml", ".github/workflows/release.yml"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not there; found %q", want, names)
		}
	}
}

// What a step may use: this repository, an action at a full commit with its version beside
// it, or an image by its digest. A tag can be moved to other code, a full commit cannot.
var (
	pinned  = regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40}$`)
	digest  = regexp.MustCompile(`^docker://\S+@sha256:[0-9a-f]{64}$`)
	version = regexp.MustCompile(`^# v\d+(\.\d+)*$`)
)

// unpinned says what is wrong with the value of a uses; "" if nothing is.
func unpinned(uses, comment string) string {
	switch {
	case strings.HasPrefix(uses, "./"), digest.MatchString(uses):
		return ""
	case !pinned.MatchString(uses):
		return "is not pinned to a full commit or a digest"
	case !version.MatchString(comment):
		return "has no comment that tells its version, such as # v4.2.2"
	}
	return ""
}

func TestUsesArePinned(t *testing.T) {
	uses := 0
	for _, d := range documents(t) {
		each(d.root, func(key, value *yaml.Node) {
			if key.Value != "uses" || value.Kind != yaml.ScalarNode {
				return
			}
			uses++
			if wrong := unpinned(value.Value, value.LineComment); wrong != "" {
				t.Errorf("%s:%d: uses: %s %s", d.name, value.Line, value.Value, wrong)
			}
		})
	}
	if uses == 0 {
		t.Error("there is no uses in any workflow, so this test holds nothing")
	}
}

func TestUnpinned(t *testing.T) {
	commit := strings.Repeat("0123456789", 4)
	for _, test := range []struct {
		uses, comment string
		ok            bool
	}{
		{"./", "", true},
		{"./.github/actions/x", "", true},
		{"actions/checkout@" + commit, "# v4.2.2", true},
		{"github/codeql-action/init@" + commit, "# v3", true},
		{"docker://alpine@sha256:" + strings.Repeat("ab", 32), "", true},
		{"actions/checkout@" + commit, "", false},
		{"actions/checkout@" + commit, "# main", false},
		{"actions/checkout@" + commit[:39], "# v4.2.2", false},
		{"actions/checkout@v4", "# v4.2.2", false},
		{"actions/checkout@main", "", false},
		{"actions/checkout", "", false},
		{"docker://alpine:3", "", false},
		{"docker://alpine", "", false},
		{"../other", "", false},
	} {
		if wrong := unpinned(test.uses, test.comment); (wrong == "") != test.ok {
			t.Errorf("uses: %s %s: %q, want ok %t", test.uses, test.comment, wrong, test.ok)
		}
	}
}

// Every workflow says what its token may do, and may do no more than read; every job ends.
func TestWorkflowsAreBounded(t *testing.T) {
	for _, d := range documents(t) {
		if !d.workflow() {
			continue
		}
		permissions := child(d.root, "permissions")
		switch {
		case permissions == nil:
			t.Errorf("%s: no permissions: the token may do what the repository's settings say", d.name)
		case permissions.Kind != yaml.MappingNode:
			t.Errorf("%s:%d: permissions: %s is not a list of what is needed", d.name, permissions.Line, permissions.Value)
		default:
			pairs(permissions, func(key, value *yaml.Node) {
				if value.Value != "read" && value.Value != "none" {
					t.Errorf("%s:%d: permission %s: %s", d.name, value.Line, key.Value, value.Value)
				}
			})
		}
		pairs(child(d.root, "jobs"), func(name, job *yaml.Node) {
			if child(job, "timeout-minutes") == nil && child(job, "uses") == nil {
				t.Errorf("%s:%d: job %s has no timeout-minutes: GitHub's is six hours", d.name, name.Line, name.Value)
			}
		})
	}
}

// What somebody else may have chosen is not put into a script, which would run it: it gets
// there as a variable.
func TestScriptsHaveNoExpressions(t *testing.T) {
	scripts := 0
	for _, d := range documents(t) {
		each(d.root, func(key, value *yaml.Node) {
			if key.Value != "run" || value.Kind != yaml.ScalarNode {
				return
			}
			if scripts++; strings.Contains(value.Value, "${{") {
				t.Errorf("%s:%d: an expression in a script", d.name, value.Line)
			}
		})
	}
	if scripts == 0 {
		t.Error("there is no script in any workflow, so this test holds nothing")
	}
}

// A checkout leaves its token in .git/config, where every later step can read it, unless told not to.
func TestCheckoutsKeepNoToken(t *testing.T) {
	for _, d := range documents(t) {
		pairs(child(d.root, "jobs"), func(_, job *yaml.Node) {
			steps := child(job, "steps")
			if steps == nil {
				return
			}
			for _, step := range steps.Content {
				uses := child(step, "uses")
				if uses == nil || !strings.HasPrefix(uses.Value, "actions/checkout@") {
					continue
				}
				if persist := child(child(step, "with"), "persist-credentials"); persist == nil || persist.Value != "false" {
					t.Errorf("%s:%d: a checkout without persist-credentials: false", d.name, uses.Line)
				}
			}
		})
	}
}

// child returns the value of key in a mapping; nil if it has none, or is none.
func child(node *yaml.Node, key string) *yaml.Node {
	var found *yaml.Node
	pairs(node, func(k, v *yaml.Node) {
		if k.Value == key {
			found = v
		}
	})
	return found
}

// pairs calls f for each key and value of a mapping; for nothing, if node is none.
func pairs(node *yaml.Node, f func(key, value *yaml.Node)) {
	if node == nil || node.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		f(node.Content[i], node.Content[i+1])
	}
}

// each calls f for each key and value of every mapping below node.
func each(node *yaml.Node, f func(key, value *yaml.Node)) {
	pairs(node, f)
	for _, n := range node.Content {
		each(n, f)
	}
}

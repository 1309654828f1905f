// Package importtest holds the map of the house: which package imports which, and why
// no other. It has no code of its own.
//
// A new arrow, a new package or a new dependency is a change to a table in map_test.go, and
// so shows in review.
package importtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// module is ours; what is imported from it is the path below it.
const module = "github.com/pregoi/provision-tenant/"

// house is what every package imports, as the sources say: paths of ours below the module,
// and the paths of others.
//
// The sources are parsed here, and go list is not asked: Go caches a passing test by the
// files that it opened, and does not see those that a child process reads.
func house(t *testing.T) map[string][]string {
	t.Helper()
	got := map[string]map[string]bool{}
	root := os.DirFS("../..")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return enter(root, name)
		case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
		if err != nil {
			return err
		}
		pkg := path.Dir(name)
		if got[pkg] == nil {
			got[pkg] = map[string]bool{}
		}
		for _, imp := range f.Imports {
			got[pkg][strings.TrimPrefix(strings.Trim(imp.Path.Value, "`\""), module)] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sorted := map[string][]string{}
	for pkg, set := range got {
		sorted[pkg] = slices.Sorted(maps.Keys(set))
	}
	return sorted
}

// enter returns fs.SkipDir for a folder that holds no package of ours: one that the go
// command does not look into, or that is a module of its own.
func enter(root fs.FS, name string) error {
	base := path.Base(name)
	if name == "." {
		return nil
	}
	if base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return fs.SkipDir
	}
	if _, err := fs.Stat(root, path.Join(name, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func TestImports(t *testing.T) {
	got := house(t)
	for pkg := range imports {
		if got[pkg] == nil {
			t.Errorf("%s is on the map but not in the house: delete its line, or build it", pkg)
		}
	}
	for pkg, all := range got {
		list := strings.Join(slices.DeleteFunc(slices.Clone(all), func(i string) bool { return !ours(i) }), " ")
		want, ok := imports[pkg]
		switch {
		case !ok:
			t.Errorf("%s is in the house but not on the map. If it has to be there, add to imports:\n\t%q: %q,", pkg, pkg, list)
		case list != want:
			t.Errorf("%s imports %q, but the map says %q. If the arrow is worth it, the line in imports becomes:\n\t%q: %q,", pkg, list, want, pkg, list)
		}
	}
}

func TestModules(t *testing.T) {
	users := map[string]map[string]bool{}
	for m := range modules {
		users[m] = map[string]bool{}
	}
	for pkg, all := range house(t) {
		for _, imported := range all {
			if standard(imported) || ours(imported) {
				continue
			}
			m, ok := moduleOf(imported)
			if !ok {
				t.Errorf("%s imports %s, of a module that is on no list. If the dependency is worth it, add its module to modules", pkg, imported)
				continue
			}
			users[m][pkg] = true
		}
	}
	for m, set := range users {
		if list := strings.Join(slices.Sorted(maps.Keys(set)), " "); list != modules[m] {
			t.Errorf("%s is imported by %q, but the list says %q. If that is right, the line in modules becomes:\n\t%q: %q,", m, list, modules[m], m, list)
		}
	}
}

// moduleOf returns the module in modules that an import is of: the longest that fits.
func moduleOf(imported string) (string, bool) {
	best := ""
	for m := range modules {
		if within(m)(imported) && len(m) > len(best) {
			best = m
		}
	}
	return best, best != ""
}

func TestRules(t *testing.T) {
	got := house(t)
	for _, r := range rules {
		holds := false
		for pkg, all := range got {
			if !r.about(pkg) {
				continue
			}
			holds = true
			for _, imported := range all {
				if r.never(imported) {
					t.Errorf("%s imports %s, and must not: %s", pkg, imported, r.reason)
				}
			}
		}
		if !holds {
			t.Errorf("there is no package that this rule is about: %s", r.reason)
		}
	}
}

func TestReaches(t *testing.T) {
	got := house(t)
	for _, r := range reaches {
		if got[r.command] == nil || got[r.never] == nil {
			t.Errorf("there is no %s or no %s, so the rule that %s holds nothing", r.command, r.never, r.reason)
			continue
		}
		if way := wayTo(got, r.command, r.never); way != nil {
			t.Errorf("%s is made of %s, by way of %s, and must not be: %s", r.command, r.never, strings.Join(way, " → "), r.reason)
		}
	}
}

// wayTo returns how from imports to, in the end; nil if it does not.
func wayTo(got map[string][]string, from, to string) []string {
	seen := map[string]bool{}
	var walk func(pkg string) []string
	walk = func(pkg string) []string {
		if pkg == to {
			return []string{pkg}
		}
		if seen[pkg] {
			return nil
		}
		seen[pkg] = true
		for _, next := range got[pkg] {
			if way := walk(next); way != nil {
				return append([]string{pkg}, way...)
			}
		}
		return nil
	}
	return walk(from)
}

package repotest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/pregoi/provision-tenant/internal/sandbox/toolchain"
)

// A job's token may write only what stands here, and why stands beside it in the workflow.
func TestPermissionsToWrite(t *testing.T) {
	want := []string{
		".github/workflows/release.yml image packages",
		".github/workflows/release.yml publish attestations",
		".github/workflows/release.yml publish contents",
		".github/workflows/release.yml publish id-token",
		".github/workflows/release.yml publish packages",
	}
	var got []string
	for _, d := range documents(t) {
		pairs(child(d.root, "jobs"), func(name, job *yaml.Node) {
			permissions := child(job, "permissions")
			if permissions != nil && permissions.Kind != yaml.MappingNode {
				t.Errorf("%s:%d: job %s has permissions: %s", d.name, permissions.Line, name.Value, permissions.Value)
			}
			pairs(permissions, func(key, value *yaml.Node) {
				if value.Value != "read" && value.Value != "none" {
					got = append(got, d.name+" "+name.Value+" "+key.Value)
				}
			})
		})
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what jobs may write (-want +got):\n%s", diff)
	}
}

// What is fetched and run is an exact version: one that the checksum database knows.
func TestToolsArePinned(t *testing.T) {
	tool := regexp.MustCompile(`\b[a-z0-9.-]+\.[a-z]{2,}/[\w./-]+@([\w.$({'-]+)`)
	exact := regexp.MustCompile(`^v\d+\.\d+\.\d+$`)
	files := map[string]bool{}
	for _, pattern := range []string{"../../.ci/*", "../../.github/workflows/*"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range tool.FindAllStringSubmatch(string(data), -1) {
				files[filepath.Base(name)] = true
				// go list says which version go.mod has.
				if !exact.MatchString(m[1]) && !strings.HasPrefix(m[1], "$(go") && !strings.HasPrefix(m[1], "sha256") {
					t.Errorf("%s: %s is no exact version", name, m[0])
				}
			}
		}
	}
	for _, name := range []string{"run", "image", "release.yml"} {
		if !files[name] {
			t.Errorf("%s names no tool, so this test holds nothing about it", name)
		}
	}
}

// The image is made of the versions that everything else is tested with.
func TestImageVersions(t *testing.T) {
	read := func(name string) string {
		data, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	find := func(text, pattern string) string {
		m := regexp.MustCompile(pattern).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("nothing matches %s", pattern)
		}
		return m[1]
	}
	dockerfile, mod := read("Dockerfile"), read("go.mod")
	if got := find(dockerfile, `(?m)^ARG PULUMI_VERSION=(\S+)$`); got != toolchain.PulumiVersion {
		t.Errorf("the image has pulumi %s, and toolchain %s", got, toolchain.PulumiVersion)
	}
	provider := find(mod, `github.com/pulumi/pulumi-hcloud/sdk v(\S+)`)
	if got := find(dockerfile, `plugin install resource hcloud (\S+)`); got != provider {
		t.Errorf("the image has the provider %s, and the built-in program is written for %s", got, provider)
	}
	for _, m := range regexp.MustCompile(`resource-hcloud-v([\d.]+)`).FindAllStringSubmatch(dockerfile, -1) {
		if m[1] != provider {
			t.Errorf("the Dockerfile names the provider's folder %s, not of %s", m[0], provider)
		}
	}
	if got, want := find(dockerfile, `(?m)^ARG GO_IMAGE=\S+golang:(\d+\.\d+)`), find(mod, `(?m)^go (\d+\.\d+)`); got != want {
		t.Errorf("the image is built with Go %s, and go.mod says %s", got, want)
	}
}

// What a release makes of action.yml: the image by its digest, and nothing else.
func TestPin(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"action.yml", ".ci/pin"} {
		data, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	action := func() string {
		data, err := os.ReadFile(filepath.Join(dir, "action.yml"))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	before := action()
	pin := filepath.Join(dir, ".ci/pin")
	for _, wrong := range []string{"docker://ghcr.io/pregoi/provision-tenant:v1", "Dockerfile", "docker://ghcr.io/x@sha256:" + strings.Repeat("a", 63)} {
		if out, err := exec.Command(pin, wrong).CombinedOutput(); err == nil || action() != before {
			t.Errorf("pin %s: %v: %s", wrong, err, out)
		}
	}
	image := "docker://ghcr.io/pregoi/provision-tenant@sha256:" + strings.Repeat("ab", 32)
	if out, err := exec.Command(pin, image).CombinedOutput(); err != nil {
		t.Fatalf("pin: %v: %s", err, out)
	}
	if got, want := action(), strings.Replace(before, "image: Dockerfile\n", "image: "+image+"\n", 1); got != want || got == before {
		t.Errorf("action.yml (-want +got):\n%s", cmp.Diff(want, got))
	}
	if out, err := exec.Command(pin, image).CombinedOutput(); err == nil {
		t.Errorf("pinned twice: %s", out)
	}
}

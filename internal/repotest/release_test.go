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

// TestReleaseOrder holds a release to publish nothing that was not tested: the sources, and on
// each architecture the image itself.
func TestReleaseOrder(t *testing.T) {
	jobs := readWorkflow(t, "release.yml").Jobs
	for job, needs := range map[string]string{"check": "", "image": "check", "publish": "image"} {
		if got, _ := jobs[job].Needs.(string); got != needs {
			t.Errorf("job %s needs %q, want %q", job, got, needs)
		}
	}
	at := func(job, text string) int {
		for i, s := range jobs[job].Steps {
			if strings.Contains(s.Run, text) {
				return i
			}
		}
		return -1
	}
	if at("check", ".ci/run") < 0 {
		t.Error("the sources are not checked")
	}
	if tested, pushed := at("image", ".ci/run image"), at("image", "skopeo copy"); tested < 0 || pushed < 0 || tested > pushed {
		t.Errorf("the image is tested by step %d, and pushed by step %d", tested, pushed)
	}
}

// TestReleasedOnce joins the images only if it is certain that the version is a new one.
func TestReleasedOnce(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"docker", "gh"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\ncase $* in *stdin) cat >/dev/null ;; esac\necho $0 $* >>"+dir+"/said\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	repo := filepath.Join(dir, "pregoi", "prego")
	for _, args := range [][]string{{"init", "--quiet", repo}, {"-C", repo, "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "--quiet", "--allow-empty", "--message=x"}, {"-C", repo, "tag", "v1.0.0"}} {
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	join := script(t, "release.yml", "publish", "Join the images under one digest")
	for _, test := range []struct {
		tag, repository string
		joined          bool
	}{{"release/v1.0.1", "pregoi/prego", true}, {"release/v1.0.0", "pregoi/prego", false}, {"release/v1.0.1", "pregoi/none", false}} {
		_ = os.Remove(filepath.Join(dir, "said"))
		cmd := exec.Command("bash", "-e", "-o", "pipefail", "-c", join)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "GITHUB_REF_NAME="+test.tag, "IMAGE=ghcr.io/pregoi/prego", "GITHUB_ACTOR=x", "GH_TOKEN=x",
			"GITHUB_SERVER_URL=file://"+dir, "GITHUB_REPOSITORY="+test.repository, "AMD64=sha256:a", "ARM64=sha256:b", "GITHUB_OUTPUT="+filepath.Join(dir, "output"))
		out, err := cmd.CombinedOutput()
		said, _ := os.ReadFile(filepath.Join(dir, "said"))
		if joined := strings.Contains(string(said), "imagetools create"); joined != test.joined || (err == nil) != test.joined {
			t.Errorf("%s of %s: %v, joined %t, want %t\n%s", test.tag, test.repository, err, joined, test.joined, out)
		}
	}
}

// TestMajorTag releases versions into a repository of its own: the tag v1 is the newest of
// them, whichever was released last.
func TestMajorTag(t *testing.T) {
	dir := t.TempDir()
	run := func(in string, env []string, args ...string) string {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = in
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
		cmd.Env = append(cmd.Env, env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	origin := filepath.Join(dir, "origin")
	for name, text := range map[string]string{"origin/action.yml": "runs:\n  image: Dockerfile\n", "bin/gh": "#!/bin/sh\n"} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	scripts, err := filepath.Abs("../../.ci")
	if err != nil {
		t.Fatal(err)
	}
	run(dir, nil, "cp", "-r", scripts, origin)
	run(origin, nil, "git", "init", "--quiet", "--initial-branch=main")
	run(origin, nil, "git", "add", ".")
	run(origin, nil, "git", "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "--quiet", "--message=x")
	release := script(t, "release.yml", "publish", "Make the commit that names the digest")
	for _, step := range []struct{ version, major, want string }{
		{"v1.0.0", "v1", "v1.0.0"},
		{"v1.9.0", "v1", "v1.9.0"},
		{"v1.10.0", "v1", "v1.10.0"},
		{"v1.9.1", "v1", "v1.10.0"},
		{"v2.0.0", "v2", "v2.0.0"},
		{"v1.10.1", "v1", "v1.10.1"},
	} {
		clone := filepath.Join(dir, step.version)
		run(dir, nil, "git", "clone", "--quiet", "--depth=1", "--no-tags", "file://"+origin, clone)
		run(clone, []string{"VERSION=" + step.version, "REPOSITORY=ghcr.io/x/y", "DIGEST=sha256:" + strings.Repeat("ab", 32)}, "bash", "-e", "-o", "pipefail", "-c", release)
		if got, want := run(origin, nil, "git", "rev-parse", step.major), run(origin, nil, "git", "rev-parse", step.want); got != want {
			t.Errorf("after %s the tag %s is not %s", step.version, step.major, step.want)
		}
		if got := run(origin, nil, "git", "show", step.version+":action.yml"); !strings.Contains(got, "docker://ghcr.io/x/y@sha256:ab") {
			t.Errorf("%s has the action\n%s", step.version, got)
		}
	}
}

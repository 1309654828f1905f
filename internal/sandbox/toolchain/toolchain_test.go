package toolchain_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pregoi/provision-tenant/internal/provision"
	"github.com/pregoi/provision-tenant/internal/sandbox/toolchain"
)

// A workshop is a checkout with a provider that builds in a moment, a cache of its own, and
// what was said while it was used.
type workshop struct {
	toolchain.Options
	mu   sync.Mutex
	said []string
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	w := &workshop{}
	w.Options = toolchain.Options{
		Need: []toolchain.Tool{toolchain.Provider}, CacheDir: filepath.Join(t.TempDir(), "cache"), Path: t.TempDir(), Root: t.TempDir(),
		Progress: func(line string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.said = append(w.said, line)
		},
	}
	w.write(t, "go.mod", "module example.com/plugins\n\ngo 1.26\n")
	w.write(t, "go.sum", "")
	w.write(t, "pulumi-resource-hcloud/main.go", "package main\n\nfunc main() { println(`one`) }\n")
	return w
}

func (w *workshop) write(t *testing.T, name, text string) {
	t.Helper()
	put(t, filepath.Join(w.Root, "internal/sandbox/toolchain/plugins", name), text, 0o644)
}

func put(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// builds counts the builds that were begun since it was called last.
func (w *workshop) builds() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, line := range w.said {
		if strings.HasPrefix(line, "building ") && strings.Contains(line, "once") {
			n++
		}
	}
	w.said = nil
	return n
}

// leftovers are the halves of builds in the cache.
func (w *workshop) leftovers(t *testing.T) []string {
	t.Helper()
	halves, err := filepath.Glob(filepath.Join(w.CacheDir, "*.partial"))
	if err != nil {
		t.Fatal(err)
	}
	return halves
}

func runTool(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(dir, string(toolchain.Provider))).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// A tool is built when it is new or has changed, and at no other time.
func TestEnsureBuilds(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	for _, step := range []struct {
		name   string
		change func()
		builds int
		prints string
	}{
		{"first time", func() {}, 1, "one"},
		{"again", func() {}, 0, "one"},
		{"other source", func() {
			w.write(t, "pulumi-resource-hcloud/main.go", "package main\n\nfunc main() { println(`two`) }\n")
		}, 1, "two"},
		{"a test is no source", func() { w.write(t, "pulumi-resource-hcloud/main_test.go", "package main\n") }, 0, "two"},
		{"back again", func() {
			w.write(t, "pulumi-resource-hcloud/main.go", "package main\n\nfunc main() { println(`one`) }\n")
		}, 0, "one"},
	} {
		step.change()
		tools, err := toolchain.Ensure(t.Context(), w.Options)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if n := w.builds(); n != step.builds {
			t.Errorf("%s: %d builds, want %d", step.name, n, step.builds)
		}
		if got := runTool(t, tools.Dir); got != step.prints {
			t.Errorf("%s: the tool prints %q, want %q", step.name, got, step.prints)
		}
	}
}

// Four that need the same tool at the same moment build it once.
func TestEnsureAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, err := toolchain.Ensure(t.Context(), w.Options); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := w.builds(); n != 1 {
		t.Errorf("%d builds, want 1", n)
	}
}

// What does not compile says why, leaves nothing, and does not stand in the way of a repair.
func TestEnsureBroken(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	w.write(t, "pulumi-resource-hcloud/main.go", "package main\n\nfunc main() { undefinedThing() }\n")
	_, err := toolchain.Ensure(t.Context(), w.Options)
	if err == nil || !strings.Contains(err.Error(), "undefinedThing") || provision.ClassOf(err) != provision.Internal {
		t.Errorf("got %v", err)
	}
	if left := w.leftovers(t); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	w.write(t, "pulumi-resource-hcloud/main.go", "package main\n\nfunc main() { println(`one`) }\n")
	if _, err := toolchain.Ensure(t.Context(), w.Options); err != nil {
		t.Errorf("repaired: %v", err)
	}
}

func TestEnsureOffline(t *testing.T) {
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOFLAGS", "-mod=mod") // somebody's own settings do not matter
	w := newWorkshop(t)
	w.write(t, "go.mod", "module example.com/plugins\n\ngo 1.26\n\nrequire example.com/absent v1.0.0\n")
	w.write(t, "go.sum", "example.com/absent v1.0.0 h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nexample.com/absent v1.0.0/go.mod h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")
	w.write(t, "pulumi-resource-hcloud/main.go", "package main\n\nimport _ `example.com/absent`\n\nfunc main() {}\n")
	_, err := toolchain.Ensure(t.Context(), w.Options)
	if provision.ClassOf(err) != provision.Busy || !strings.Contains(provision.NextAction(err), "GOPROXY") {
		t.Errorf("got %v; next: %s", err, provision.NextAction(err))
	}
}

func TestEnsureWithoutGo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := toolchain.Ensure(t.Context(), newWorkshop(t).Options)
	if err == nil || !strings.Contains(err.Error(), "no go command") {
		t.Errorf("got %v", err)
	}
}

// A cancelled build stops at once, with everything that it has started, and leaves no half.
func TestEnsureCancelled(t *testing.T) {
	bin, started := t.TempDir(), filepath.Join(t.TempDir(), "started")
	if err := syscall.Mkfifo(started, 0o600); err != nil {
		t.Fatal(err)
	}
	// This go has written half of its output and started a compiler, neither of which
	// listens to interrupts.
	put(t, filepath.Join(bin, "go"), `#!/bin/sh
trap '' INT
while [ "$1" != -o ]; do shift; done
mkdir -p "$(dirname "$2")" && echo half > "$2"
sleep 600 &
echo $! > "`+started+`"
wait
`, 0o755)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	w := newWorkshop(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		_, err := toolchain.Ensure(ctx, w.Options)
		failed <- err
	}()
	pid, err := os.ReadFile(started) // blocks until the script writes
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left := w.leftovers(t); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	compiler, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	if err != nil {
		t.Fatal(err)
	}
	// It has been killed; the kernel may take a moment.
	end := time.NewTimer(10 * time.Second)
	defer end.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(compiler) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z") {
			return
		}
		select {
		case <-look.C:
		case <-end.C:
			t.Fatalf("the compiler still runs: %s", stat)
		}
	}
}

// What is installed is taken if it suits, and asked for its version only once.
func TestEnsureInstalled(t *testing.T) {
	t.Parallel()
	tests := []struct {
		version string
		suits   bool
	}{
		{"v3.253.0", true},
		{"v3.253.7", true},
		{"v3.301.0", true},
		{"3.253.0", true},
		{"v3.254.0-alpha.1", true},
		{"v3.252.9", false},
		{"v4.0.0", false},
		{"v2.300.0", false},
		{"", false},
		{"nonsense", false},
	}
	for _, tt := range tests {
		t.Run(tt.version, func(t *testing.T) {
			t.Parallel()
			bin, asked := t.TempDir(), filepath.Join(t.TempDir(), "asked")
			put(t, filepath.Join(bin, "pulumi"), "#!/bin/sh\necho >> "+asked+"\necho "+tt.version+"\n", 0o755)
			o := toolchain.Options{Need: []toolchain.Tool{toolchain.Pulumi}, CacheDir: t.TempDir(), Path: bin, Root: t.TempDir()}
			for range 2 {
				tools, err := toolchain.Ensure(t.Context(), o)
				if (err == nil) != tt.suits { // building fails: there is no module under Root
					t.Fatalf("got %+v, %v", tools, err)
				}
				if tt.suits && tools.PulumiVersion != tt.version {
					t.Errorf("version is %q", tools.PulumiVersion)
				}
				if tt.suits {
					if target, err := filepath.EvalSymlinks(tools.Pulumi); err != nil || target != filepath.Join(bin, "pulumi") {
						t.Errorf("pulumi is %s, %v", target, err)
					}
				}
			}
			if data, err := os.ReadFile(asked); err != nil || tt.suits && len(data) != 1 {
				t.Errorf("asked %d times, %v", len(data), err)
			}
		})
	}
}

// The vendor's plugin is used where it is installed; what only looks like a program is not,
// nor what an earlier Ensure has put on PATH.
func TestEnsureInstalledProvider(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	built, err := toolchain.Ensure(t.Context(), w.Options)
	if err != nil {
		t.Fatal(err)
	}
	noProgram, vendor := t.TempDir(), t.TempDir()
	put(t, filepath.Join(noProgram, "pulumi-resource-hcloud"), "just a file", 0o644)
	w.Path = built.Dir + ":" + noProgram
	w.write(t, "pulumi-resource-hcloud/main.go", "package main\n\nfunc main() { println(`new`) }\n")
	tools, err := toolchain.Ensure(t.Context(), w.Options)
	if err != nil {
		t.Fatal(err)
	}
	if got := runTool(t, tools.Dir); got != "new" {
		t.Errorf("the tool prints %q, want the one of the sources", got)
	}
	put(t, filepath.Join(vendor, "pulumi-resource-hcloud"), "#!/bin/sh\necho vendor\n", 0o755)
	w.Path = noProgram + ":" + vendor
	if tools, err = toolchain.Ensure(t.Context(), w.Options); err != nil {
		t.Fatal(err)
	}
	if got := runTool(t, tools.Dir); got != "vendor" {
		t.Errorf("the tool prints %q, want the vendor's", got)
	}
}

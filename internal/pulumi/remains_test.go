package pulumi_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pregoi/provision-tenant/internal/pulumi"
)

// TestRemains cleans up after pulumi commands of other containers: their pids mean nothing
// here, so that only the lock on a lease's file tells whether its holder is dead.
func TestRemains(t *testing.T) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Skip("there is no /proc")
	}
	for _, test := range []struct {
		name  string
		lease map[string]any // what differs from a dead holder's in another container
		held  bool           // the lease's file is locked
		want  []string
	}{
		{"dead", nil, false, []string{"released the lock that a killed pulumi had left on its stack"}},
		{"alive", nil, true, nil},
		{"never locked its lease", map[string]any{"held": false}, false, nil},
		{"another boot", map[string]any{"boot": "other"}, false, nil},
		{"another process", map[string]any{"pid": 8}, false, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			lock := w.lock(t, "container", 7)
			lease := map[string]any{"host": "container", "pid": 7, "start": "1", "boot": strings.TrimSpace(string(boot)), "pid_namespace": "pid:[1]", "held": true}
			for name, value := range test.lease {
				lease[name] = value
			}
			file := filepath.Join(w.backend, ".pulumi", "prego-leases", "1.json")
			data, err := json.Marshal(lease)
			if err != nil {
				t.Fatal(err)
			}
			write(t, file, string(data))
			if test.held {
				hold(t, file)
			}
			got := pulumi.Remains{TempDir: t.TempDir(), BackendURL: "file://" + w.backend}.Clean()
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("Clean (-want +got):\n%s", d)
			}
			if _, err := os.Stat(lock); os.IsNotExist(err) != (test.want != nil) {
				t.Errorf("the lock: %v", err)
			}
		})
	}
}

// TestRemainsFolders removes the private folders of the dead, and no other.
func TestRemainsFolders(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"prego-pulumi-dead", "prego-pulumi-alive", "somebody-else"} {
		write(t, filepath.Join(dir, name, "in-use"), "")
		write(t, filepath.Join(dir, name, "home", ".pulumi", "credentials.json"), "token")
	}
	hold(t, filepath.Join(dir, "prego-pulumi-alive", "in-use"))
	got := pulumi.Remains{TempDir: dir, BackendURL: "s3://bucket"}.Clean()
	if d := cmp.Diff([]string{"removed 1 private folders that a run which was killed had left"}, got); d != "" {
		t.Errorf("Clean (-want +got):\n%s", d)
	}
	var left []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if d := cmp.Diff([]string{"prego-pulumi-alive", "somebody-else"}, left); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}
}

// hold locks a file until the test ends.
func hold(t *testing.T, name string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

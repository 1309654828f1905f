package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestHide has a program of our own user, in a container's capabilities, look for our
// environment: it finds it, unless we hide.
func TestHide(t *testing.T) {
	t.Parallel()
	if how := os.Getenv("TEST_HIDE"); how != "" {
		if how == "hidden" {
			hide()
		}
		cmd := exec.Command("sh", "-c", "cat /proc/$PPID/environ")
		cmd.Stdout = os.Stdout
		_ = cmd.Run()
		return
	}
	for how, seen := range map[string]bool{"seen": true, "hidden": false} {
		args := []string{"--bounding-set=-sys_ptrace,-perfmon,-sys_admin"}
		if os.Getuid() != 0 {
			args = []string{"--no-new-privs"}
		}
		cmd := exec.Command("setpriv", append(args, os.Args[0], "-test.run=^TestHide$")...)
		cmd.Env = append(os.Environ(), "TEST_HIDE="+how, "OUR_SECRET=of-ours")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Skipf("SKIPPED, NOT TESTED: a program cannot be run with a container's capabilities here: %v: %s", err, out)
		}
		if strings.Contains(string(out), "OUR_SECRET=of-ours") != seen {
			t.Errorf("%s: want our environment to be read: %t\n%q", how, seen, out)
		}
	}
}

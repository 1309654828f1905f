package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// TestEndChildren has the first process of a namespace leave a process that has hidden: with a
// session of its own, no environment, and a parent that is dead.
func TestEndChildren(t *testing.T) {
	t.Parallel()
	if os.Getenv("FIRST_PROCESS") != "" {
		hidden := exec.Command("setsid", "--fork", "env", "-i", "sh", "-c", "trap '' TERM INT HUP; while :; do sleep 1; done")
		err := hidden.Run()
		before := syscall.Kill(-1, 0)
		endChildren()
		fmt.Printf("[%v, %v, %v]\n", err, before, errors.Is(syscall.Kill(-1, 0), syscall.ESRCH))
		return
	}
	space := []string{"--fork", "--pid", "--kill-child", "--mount-proc", "--"}
	if err := exec.Command("unshare", append(space, "true")...).Run(); err != nil {
		t.Skip("SKIPPED, NOT TESTED: a process may not be given a namespace of its own here (unshare wants root)")
	}
	cmd := exec.Command("unshare", append(space, os.Args[0], "-test.run=^TestEndChildren$", "-test.v")...)
	cmd.Env = append(os.Environ(), "FIRST_PROCESS=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("[<nil>, <nil>, true]")) {
		t.Errorf("%v: want a process that was there and is gone\n%s", err, out)
	}
}

package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// peak runs cmd to its end and returns the most memory that it was seen to hold, with the
// processes it has started, in bytes; 0 where there is no /proc. What the system counts
// for a child begins with the memory of the process that has started it, and that is ours.
func peak(cmd *exec.Cmd) (int64, error) {
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(300 * time.Microsecond)
	defer tick.Stop()
	most := int64(0)
	for {
		select {
		case err := <-ended:
			if err != nil {
				err = fmt.Errorf("%s: %w", cmd.Path, err)
			}
			return most, err
		case <-tick.C:
			most = max(most, resident(cmd.Process.Pid))
		}
	}
}

// resident returns what a process holds at its height, and its children.
func resident(pid int) int64 {
	dir := fmt.Sprintf("/proc/%d/", pid)
	exe, err := os.Readlink(dir + "exe")
	if self, e := os.Executable(); err != nil || e != nil || exe == self {
		return 0 // gone, or not yet another program
	}
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		return 0
	}
	sum := int64(0)
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(kb), " kB"), 10, 64)
			sum = n << 10
		}
	}
	children, _ := os.ReadFile(fmt.Sprintf("%stask/%d/children", dir, pid))
	for _, child := range strings.Fields(string(children)) {
		if n, err := strconv.Atoi(child); err == nil {
			sum += resident(n)
		}
	}
	return sum
}

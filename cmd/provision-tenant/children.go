package main

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// endTime is how long processes that were killed have to be gone. A cancelled run has not
// got more.
const endTime = 500 * time.Millisecond

// endChildren kills whatever a program that was run has left running, and waits until it is
// gone: a process that has hidden from us could still write to the runner's files. That takes
// being the first process of a container, and then no other is anybody else's.
func endChildren() {
	if os.Getpid() != 1 {
		return
	}
	for end := time.Now().Add(endTime); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if errors.Is(syscall.Kill(-1, syscall.SIGKILL), syscall.ESRCH) {
			return
		}
		// All orphans are ours. Nothing that we have started ourselves is still waited for.
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}

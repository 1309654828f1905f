package main

import "syscall"

// hide keeps what this process holds from the programs that it runs, in the runner's
// container: they are root as we are, and could read all our settings in
// /proc/1/environ. To look into a process that is not to be dumped takes a capability that
// a container has not got by default. What cannot be hidden is not a reason to stop.
// https://man7.org/linux/man-pages/man2/PR_SET_DUMPABLE.2const.html
func hide() {
	const setDumpable = 4 // PR_SET_DUMPABLE
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setDumpable, 0, 0)
}

package pulumi

import "syscall"

// attributes put the child in a process group of its own, and have it interrupted when
// we are killed: it then finishes what it has begun, records it and gives back its lock.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
}

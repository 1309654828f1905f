//go:build !linux

package pulumi

import "syscall"

// attributes put the child in a process group of its own. That it hears of our death is
// to be had on Linux only.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

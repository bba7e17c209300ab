//go:build !linux

package child

import "syscall"

// attributes put a child in a process group of its own, so that Ctrl-C in a terminal reaches only Sluice, which
// drains first. Only Linux can tie a child's life to its parent's.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

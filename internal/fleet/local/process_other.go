//go:build !linux

package local

import "syscall"

// childAttributes put a child in a process group of its own, so that Ctrl-C in a terminal reaches only Sluice, which
// drains first. Only Linux can tie a child's life to its parent's.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

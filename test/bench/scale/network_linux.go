package main

import "syscall"

// ownNetwork has a process start in a new network namespace. It needs root.
func ownNetwork() (*syscall.SysProcAttr, error) {
	return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}, nil
}

package child

import "syscall"

// attributes put a child in a process group of its own, so that Ctrl-C in a terminal reaches only Sluice, which
// drains first; and have the kernel kill it when the thread that started it ends.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// Package child runs processes that do not outlive this one, nor leave processes of their own behind.
package child

import (
	"errors"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// outputGrace is how long after a process's end its output is awaited, should a process that it left hold it open.
const outputGrace = time.Second

// Process is the place of one process at a time. The zero value is ready for use. It is safe for concurrent use.
type Process struct {
	mu sync.Mutex
	// leader is the process id, and the id of its process group; 0 while there is none.
	leader int
}

// ErrStopping is returned by Run when nothing may be started any more.
var ErrStopping = errors.New("is being stopped")

// Run starts a command in a process group of its own, so that Ctrl-C in a terminal does not reach it, waits for its
// end and returns how it ended, which is always an error: "exit status 0" is one. It starts nothing once stopping is
// closed.
//
// The kernel kills the process when the thread that started it ends (on Linux), and Go ends threads as it likes; a
// locked thread ends with its goroutine. Hence the caller must have locked its goroutine to its thread, and never
// unlock it.
func (p *Process) Run(cmd *exec.Cmd, stopping <-chan struct{}) error {
	cmd.SysProcAttr = attributes()
	cmd.WaitDelay = outputGrace
	if err := p.start(cmd, stopping); err != nil {
		return err
	}
	err := cmd.Wait()
	p.mu.Lock()
	p.leader = 0
	p.mu.Unlock()
	// A wrapper around a program can die and leave the program, which would hold on to its ports.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if err == nil {
		err = errors.New("exit status 0")
	}
	return err
}

func (p *Process) start(cmd *exec.Cmd, stopping <-chan struct{}) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-stopping:
		return ErrStopping
	default:
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.leader = cmd.Process.Pid
	return nil
}

// Pid returns the id of the process, or 0 while there is none.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leader
}

// Terminate asks the process and its group to end (SIGTERM). Without a process it does nothing.
func (p *Process) Terminate() { p.signal(syscall.SIGTERM) }

// Kill ends the process and its group (SIGKILL). Without a process it does nothing.
func (p *Process) Kill() { p.signal(syscall.SIGKILL) }

func (p *Process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leader != 0 {
		_ = syscall.Kill(-p.leader, s) // fails only if it is gone already
	}
}

// Package process runs the programs that benchmarks measure.
package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/usage"
)

// Process is a program under measurement, in a process group of its own. It ends with the one that started it.
type Process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// Start runs a program with its output in a file.
func Start(log string, argv ...string) (*Process, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // How it ended is in its log.
		close(p.done)
	}()
	return p, nil
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop ends the program and everything that it started.
func (p *Process) Stop() {
	descendants := usage.Descendants(p.cmd.Process.Pid)
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	for _, pid := range descendants {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// Running returns an error with the end of the log if the program has ended.
func (p *Process) Running() error {
	select {
	case <-p.done:
		log, _ := os.ReadFile(p.log)
		return fmt.Errorf("%s has ended: %s", filepath.Base(p.cmd.Path), log[max(0, len(log)-2000):])
	default:
		return nil
	}
}

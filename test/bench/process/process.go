package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/usage"
)

// process is a program under measurement, in a process group of its own.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// start runs a program with its output in a file.
func start(log string, argv ...string) (*process, error) {
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
	p := &process{cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // How it ended is in its log.
		close(p.done)
	}()
	return p, nil
}

// stop ends the program and everything that it started.
func (p *process) stop() {
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

// running returns an error with the end of the log if the program has ended.
func (p *process) running() error {
	select {
	case <-p.done:
		log, _ := os.ReadFile(p.log)
		return fmt.Errorf("%s has ended: %s", filepath.Base(p.cmd.Path), log[max(0, len(log)-2000):])
	default:
		return nil
	}
}

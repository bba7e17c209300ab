package keeper

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/sluice-gateway/sluice/internal/child"
)

// run is one life of a worker.
type run struct {
	config  Config
	program string
	// process is this run's alone: a signal that comes late must not reach the worker after it.
	process child.Process
	// serving and ready are closed when the worker says so, ended when it has ended; version and err are set then.
	serving, ready, ended chan struct{}
	version               string
	err                   error

	mu sync.Mutex
	// lifeline is what the worker's standard input is the other end of; nil before the start and once it is released.
	lifeline *os.File
	released bool
}

func newRun(c Config, program string) *run {
	return &run{
		config: c, program: program,
		serving: make(chan struct{}), ready: make(chan struct{}), ended: make(chan struct{}),
	}
}

// run starts the worker and waits for its end.
func (r *run) run(stopping <-chan struct{}) {
	defer close(r.ended)
	input, lifeline, err := os.Pipe()
	if err != nil {
		r.err = err
		return
	}
	report, reporter, err := os.Pipe()
	if err != nil {
		r.err = errors.Join(err, input.Close(), lifeline.Close())
		return
	}
	r.mu.Lock()
	r.lifeline = lifeline
	if r.released {
		_ = lifeline.Close() // it ends as soon as it has begun
	}
	r.mu.Unlock()
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		r.hear(report)
	}()
	cmd := exec.Command(r.program, r.config.Args...)
	cmd.Env = append(os.Environ(), variable+"="+r.config.Dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, r.config.Stdout, r.config.Stderr
	cmd.ExtraFiles = []*os.File{reporter} // the first is file descriptor 3
	r.err = r.process.Run(cmd, stopping)
	// Nobody else has the writing end any more, so hear comes to its end, with all that was said.
	_ = reporter.Close()
	<-heard
	r.release()
	_, _ = input.Close(), report.Close()
}

// hear takes in what the worker reports.
func (r *run) hear(report *os.File) {
	for lines := bufio.NewScanner(report); lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch {
		case word == wordServing && !closed(r.serving):
			close(r.serving)
		case word == wordReady && !closed(r.ready):
			r.version = rest
			close(r.ready)
		case word != wordServing && word != wordReady && r.config.OnWord != nil:
			r.config.OnWord(lines.Text())
		}
	}
}

// release tells the worker that it is not needed any more.
func (r *run) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lifeline != nil && !r.released {
		_ = r.lifeline.Close() // a pipe that nobody writes to has nothing to lose
	}
	r.released = true
}

func (r *run) wasReady() bool { return closed(r.ready) }
func (r *run) over() bool     { return closed(r.ended) }

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

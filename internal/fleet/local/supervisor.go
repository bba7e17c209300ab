package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/internal/child"
	"github.com/sluice-gateway/sluice/internal/fleet"
)

// Config says what to run and how. The functions in it are called from the goroutine that looks after Envoy or reads
// its output: they must not block, and must not call Stop.
type Config struct {
	// Binary is the path of Envoy. Required.
	Binary string
	// Dir is where the bootstrap is written; the sockets that the bootstrap names should be in it. Required. It stays the
	// caller's to remove.
	Dir *RuntimeDir
	// Bootstrap is Envoy's configuration: see [fleet.JSON]. Its admin interface is put on a socket in Dir.
	Bootstrap []byte
	// Concurrency is the number of worker threads; 0 is as many as the process may use CPUs.
	Concurrency int
	// Level is how bad something has to be for Envoy to log it, as --log-level has it; empty is "warn". ComponentLevels
	// is that of components, as --component-log-level has it.
	Level, ComponentLevels string
	// Arguments are further ones of the command line.
	Arguments []string
	// Drain is how Envoy goes when it is stopped. A Timeout of 0 is DefaultDrainTimeout.
	Drain fleet.Drain
	// Env is what Envoy gets as environment, as "NAME=value", besides the few variables that it needs to run. It does
	// not inherit the rest: formats that route authors write can print variables.
	Env []string
	// Stdout gets Envoy's standard output, where access logs go that say so; nil discards it.
	Stdout io.Writer
	// OnLine is called for each line that Envoy logs; may be nil.
	OnLine func(Line)
	// OnCrash is called each time that Envoy has died without having been told to; may be nil.
	OnCrash func(Crash)
}

// DefaultDrainTimeout bounds how long Stop waits for requests in flight unless Config says otherwise.
const DefaultDrainTimeout = 10 * time.Second

const (
	// While Envoy is away all requests fail, so one that dies by accident is started again at once, and one that dies
	// again and again soon enough to be back within 2 s, of which it takes a part itself. There is nothing else on this
	// machine for whose sake to wait longer.
	firstDelay, maxDelay = 10 * time.Millisecond, 500 * time.Millisecond
	// stableAfter is how long an Envoy has to live for its death not to count as part of a crash loop.
	stableAfter = 10 * time.Second
	// startTimeout bounds the start of the first Envoy unless the context does so sooner.
	startTimeout = 30 * time.Second
	startPoll    = 10 * time.Millisecond
)

// Crash is a death that nobody asked for.
type Crash struct {
	// Err is how the process ended: its exit status or signal, or why it could not be started.
	Err error
	// Uptime is how long it had lived.
	Uptime time.Duration
	// InARow counts the crashes since Envoy last lived for 10 seconds, this one included: 1 is an accident, more is a
	// loop.
	InARow int
	// RestartIn is how long after the crash Envoy is started again.
	RestartIn time.Duration
	// Tail are the last lines that Envoy wrote, oldest first.
	Tail []Line
}

// Error says all of it in words.
func (c Crash) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Envoy died after %s (%v)", c.Uptime.Round(time.Millisecond), c.Err)
	if c.InARow > 1 {
		fmt.Fprintf(&b, ", %d times in a row", c.InARow)
	}
	if c.RestartIn > 0 {
		fmt.Fprintf(&b, "; it is started again in %s", c.RestartIn)
	}
	if len(c.Tail) > 0 {
		b.WriteString("; its last words:")
		for _, line := range c.Tail {
			b.WriteString("\n  " + line.String())
		}
	}
	return b.String()
}

// Unwrap returns how the process ended.
func (c Crash) Unwrap() error { return c.Err }

// Envoy is a supervised Envoy process. It is safe for concurrent use.
type Envoy struct {
	config Config
	// seat is which of the two that share Config.Dir it is.
	seat  int
	admin Admin
	// stopping is closed when Stop is called, ended when the process has ended and is not started again, and stopped
	// when its files are gone too.
	stopping, ended, stopped chan struct{}

	stop    sync.Once
	stopErr error
	child   child.Process
}

// Start starts Envoy and returns when its admin interface answers; whether it has configuration yet is for
// [Admin.Ready] to say. From then on Envoy is started again whenever it dies, until Stop. The context bounds only the
// start. An Envoy that ends before it answers is not started again: the error is a [Crash], whose Tail says what it did
// not like. Whenever Start returns an error, no process is left.
//
// There can be one in a directory. A [Slot] has one take over from another.
func Start(ctx context.Context, c Config) (*Envoy, error) {
	if c.Dir != nil {
		// Before it answers: it may serve before Start has noted that, and whoever sees it serve can ask it.
		if err := c.Dir.present(0); err != nil {
			return nil, fmt.Errorf("start Envoy: %w", err)
		}
	}
	return start(ctx, c, 0)
}

// start starts an Envoy in a seat of its directory, which must be free.
func start(ctx context.Context, c Config, seat int) (*Envoy, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("start Envoy: %w", err)
	}
	c.Drain.Timeout = cmp.Or(c.Drain.Timeout, DefaultDrainTimeout)
	c.Concurrency = cmp.Or(c.Concurrency, runtime.GOMAXPROCS(0))
	if err := writeBootstrap(c, seat); err != nil {
		c.Dir.clear(seat)
		return nil, fmt.Errorf("start Envoy: %w", err)
	}
	e := &Envoy{
		config:   c,
		seat:     seat,
		admin:    Admin{Socket: c.Dir.adminSocketOf(seat)},
		stopping: make(chan struct{}),
		ended:    make(chan struct{}),
		stopped:  make(chan struct{}),
	}
	died := make(chan Crash, 1)
	answers := make(chan struct{})
	go e.supervise(answers, died)
	if err := e.awaitAnswer(ctx, died); err != nil {
		e.abort()
		return nil, fmt.Errorf("start Envoy: %w", err)
	}
	close(answers)
	return e, nil
}

func (c Config) check() error {
	switch {
	case c.Binary == "":
		return errors.New("the path of the binary is required")
	case c.Dir == nil:
		return errors.New("a runtime directory is required")
	case c.Concurrency < 0 || c.Drain.Timeout < 0:
		return errors.New("the concurrency and the drain timeout must not be negative")
	}
	return nil
}

// writeBootstrap puts the bootstrap into a file: on the command line everybody could read it.
func writeBootstrap(c Config, seat int) error {
	raw, err := fleet.WithAdminSocket(c.Bootstrap, c.Dir.adminSocketOf(seat))
	if err != nil {
		return err
	}
	return os.WriteFile(c.Dir.bootstrapOf(seat), raw, 0o600)
}

// abort ends an Envoy that serves nobody yet.
func (e *Envoy) abort() {
	e.stop.Do(func() {
		close(e.stopping)
		e.child.Kill()
		<-e.ended
		e.config.Dir.clear(e.seat)
		close(e.stopped)
	})
}

// awaitAnswer returns nil when the admin interface answers.
func (e *Envoy) awaitAnswer(ctx context.Context, died <-chan Crash) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	poll := time.NewTicker(startPoll)
	defer poll.Stop()
	for {
		_, err := e.admin.ServerInfo(ctx)
		if err == nil {
			return nil
		}
		select {
		case crash := <-died:
			return crash
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("its admin interface does not answer: %w", ctx.Err()), err)
		case <-poll.C:
		}
	}
}

// Admin returns a client of Envoy's admin interface. It stays valid when Envoy is started again.
func (e *Envoy) Admin() Admin { return e.admin }

// Pid returns the process id of the running Envoy, or 0 while there is none.
func (e *Envoy) Pid() int { return e.child.Pid() }

// Wait returns when Stop is done, and what it returns. Nothing but Stop ends Envoy for good.
func (e *Envoy) Wait() error {
	<-e.stopped
	return e.stopErr
}

// supervise runs Envoy until it is told to stop. A first Envoy that dies before answers is closed is the last.
func (e *Envoy) supervise(answers <-chan struct{}, died chan<- Crash) {
	runtime.LockOSThread() // as child.Process wants it
	defer close(e.ended)
	inARow, delay := 0, firstDelay
	for {
		started := time.Now()
		cmd, output := command(e.config, e.seat)
		err := e.child.Run(cmd, e.stopping)
		crash := Crash{Err: err, Uptime: time.Since(started), Tail: output.flush()}
		select {
		case <-e.stopping:
			return
		default:
		}
		select {
		case <-answers:
		default:
			died <- crash
			select {
			case <-answers: // it answered, and died before Start had noted that
			case <-e.stopping:
				return
			}
		}
		if crash.Uptime >= stableAfter {
			inARow, delay = 0, firstDelay
		}
		inARow++
		crash.InARow, crash.RestartIn = inARow, delay
		if e.config.OnCrash != nil {
			e.config.OnCrash(crash)
		}
		select {
		case <-e.stopping:
			return
		case <-time.After(delay):
		}
		delay = min(2*delay, maxDelay)
	}
}

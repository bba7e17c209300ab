package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"time"
)

// Config says what to run as a worker. OnEnd is called from the goroutine that looks after the worker: it must not
// block, and must not call Replace or Stop.
type Config struct {
	// Program is the path of the program. It may be replaced by another version of it at any time. Required.
	Program string
	// Fallback is the path of a program that Replace starts if the one at Program does not become ready; empty for
	// none.
	Fallback string
	// Args are its arguments.
	Args []string
	// Dir is the folder that keeper and worker share. Required.
	Dir string
	// Stdout and Stderr get what the worker writes; nil discards it.
	Stdout, Stderr io.Writer
	// OnEnd is called each time that a worker has ended without having been told to; may be nil.
	OnEnd func(End)
	// OnWord is called with each line that a worker writes and that is not for the keeper, in order; may be nil. It must
	// not block either.
	OnWord func(string)
	// Patience is how long a worker that replaces another may take to become ready; 0 is a minute.
	Patience time.Duration
}

const (
	firstDelay, maxDelay = 100 * time.Millisecond, 5 * time.Second
	// stableAfter is how long a worker has to live for its end not to count as part of a loop.
	stableAfter = 10 * time.Second
	// endAfter is how long a worker may take to end when it is not needed any more.
	endAfter        = 5 * time.Second
	defaultPatience = time.Minute
)

// End is an end that nobody asked for.
type End struct {
	// Err is how the worker ended: its exit status or signal, or why it could not be started.
	Err error
	// InARow counts such ends since a worker last lived for 10 seconds, this one included.
	InARow int
	// RestartIn is how long after the end another is started.
	RestartIn time.Duration
}

// ErrWorker is wrapped by the error for a first worker that ended before it was ready: it has said itself why.
var ErrWorker = errors.New("the worker has ended")

// ErrStopped is wrapped by the error for a worker that is not replaced because the keeper has ended, or is about to.
var ErrStopped = errors.New("no worker is started any more")

// Keeper looks after a worker. It is safe for concurrent use.
type Keeper struct {
	config Config
	// wake holds a token while there may be something pending.
	wake chan struct{}
	// stopping is closed when no worker is to be started any more, ended when none runs.
	stopping, ended chan struct{}
	failed          chan error
	// first is the run that Start began.
	first *run
	stop  sync.Once

	mu sync.Mutex
	// pending is what to run next, instead of the program that ran last.
	pending *order
	current *run
}

// order has another program started. The run is sent to begun.
type order struct {
	program string
	begun   chan *run
}

// Start starts a worker, and returns when it serves. From then on it is started again whenever it ends, until Stop. The
// error wraps ErrWorker if it ended before it served.
func Start(ctx context.Context, c Config) (*Keeper, error) {
	if c.Program == "" || c.Dir == "" {
		return nil, errors.New("keeper: a program and a folder are required")
	}
	if c.Patience == 0 {
		c.Patience = defaultPatience
	}
	k := &Keeper{
		config: c, wake: make(chan struct{}, 1), failed: make(chan error, 1),
		stopping: make(chan struct{}), ended: make(chan struct{}),
	}
	first := order{program: c.Program, begun: make(chan *run, 1)}
	go k.supervise(first)
	k.first = <-first.begun
	select {
	case <-k.first.serving:
		return k, nil
	case err := <-k.failed:
		<-k.ended
		return nil, err
	case <-ctx.Done():
		k.Stop()
		return nil, ctx.Err()
	}
}

// Failed is sent an error, which wraps ErrWorker, if the first worker ended before it was ready. None is started then.
func (k *Keeper) Failed() <-chan error { return k.failed }

// Quiet has the worker do nothing new, but answer. Another is not started if it ends.
func (k *Keeper) Quiet() {
	k.stop.Do(func() { close(k.stopping) })
	// What begins after this one finds that nothing is to be started any more.
	if r := k.running(); r != nil {
		r.process.Terminate()
	}
}

// Proven reports whether the first worker has been ready.
func (k *Keeper) Proven() bool { return k.first.wasReady() }

// Stop ends the worker.
func (k *Keeper) Stop() {
	k.Quiet()
	k.end(k.running())
	<-k.ended
}

// Replace ends the worker, starts the program that is now at Config.Program, and returns the version that the new
// worker says it has when it is ready. If it ends before that, or is not ready in Config.Patience, Config.Fallback is
// started, and the error says why. It waits until the first worker is ready: one that never is, is not to be taken for
// one that worked before. The error wraps ErrStopped if nothing is to be started any more. It must not be called twice
// at a time.
func (k *Keeper) Replace(ctx context.Context) (version string, err error) {
	select {
	case <-k.first.ready:
	case <-k.ended:
		return "", ErrStopped
	case <-ctx.Done():
		return "", ctx.Err()
	}
	version, err = k.swap(ctx, k.config.Program)
	if err == nil || k.config.Fallback == "" || ctx.Err() != nil || errors.Is(err, ErrStopped) {
		return version, err
	}
	version, fallback := k.swap(ctx, k.config.Fallback)
	if fallback != nil {
		return "", fmt.Errorf("%w; nor does the version before: %w", err, fallback)
	}
	return version, fmt.Errorf("%w; the version before is running again", err)
}

// swap ends the worker, starts a program and waits until it is ready.
func (k *Keeper) swap(ctx context.Context, program string) (string, error) {
	next := order{program: program, begun: make(chan *run, 1)}
	k.mu.Lock()
	k.pending = &next
	before := k.current
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
	k.end(before)
	var r *run
	select {
	case r = <-next.begun:
	case <-k.ended:
		return "", ErrStopped
	}
	patience := time.NewTimer(k.config.Patience)
	defer patience.Stop()
	select {
	case <-r.ready:
		return r.version, nil
	case <-r.ended:
		return "", fmt.Errorf("it ended before it was ready: %w", r.err)
	case <-patience.C:
		return "", fmt.Errorf("it was not ready after %s", k.config.Patience)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// running returns the run of the moment, or the last one; nil if there was none yet.
func (k *Keeper) running() *run {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current
}

// end ends a run, one way or the other. A run that has ended already is left alone, and so is the one after it.
func (k *Keeper) end(r *run) {
	if r == nil || r.over() {
		return
	}
	r.process.Terminate()
	r.release()
	select {
	case <-r.ended:
	case <-time.After(endAfter):
		r.process.Kill()
		<-r.ended
	}
}

// supervise runs workers until it is told to stop. A first one that ends before it is ready is the last.
func (k *Keeper) supervise(next order) {
	runtime.LockOSThread() // as child.Process wants it
	defer close(k.ended)
	inARow, proven := 0, false
	for {
		began := time.Now()
		r := k.begin(next)
		r.run(k.stopping)
		proven = proven || r.wasReady()
		if !proven {
			k.failed <- fmt.Errorf("%w: %w", ErrWorker, r.err)
			return
		}
		if time.Since(began) >= stableAfter {
			inARow = 0
		}
		inARow++
		next = order{program: r.program, begun: make(chan *run, 1)}
		if !k.await(End{Err: r.err, InARow: inARow}) {
			return
		}
	}
}

// begin makes the next run the current one: what is pending, or else what it is given.
func (k *Keeper) begin(next order) *run {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pending != nil {
		next, k.pending = *k.pending, nil
	}
	k.current = newRun(k.config, next.program)
	next.begun <- k.current
	return k.current
}

// ordered reports whether something is pending.
func (k *Keeper) ordered() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.pending != nil
}

// await returns after a worker has ended, when something is ordered, or after a while. It returns false when nothing is
// to be run any more.
func (k *Keeper) await(e End) bool {
	if closed(k.stopping) {
		return false
	}
	if k.ordered() {
		return true
	}
	e.RestartIn = min(firstDelay<<min(e.InARow-1, 10), maxDelay)
	if k.config.OnEnd != nil {
		k.config.OnEnd(e)
	}
	after := time.NewTimer(e.RestartIn)
	defer after.Stop()
	for {
		select {
		case <-k.stopping:
			return false
		case <-after.C:
			return true
		case <-k.wake:
			if k.ordered() {
				return true
			}
		}
	}
}

// FallbackProgram returns a path by which this very program can be started even when its file was replaced; empty
// where there is none.
func FallbackProgram() string {
	path := fmt.Sprintf("/proc/%d/exe", os.Getpid())
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

package extension

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/internal/envoygateway"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Options are what a [Caller] is made with.
type Options struct {
	Servers []envoygateway.ExtensionServer
	// Secret returns what a Secret holds, nil if there is none. Namespace is that of Secrets named without one.
	Secret    func(model.Name) map[string][]byte
	Namespace string
	// Deliver is told what became of a call, from several goroutines at once. It is called again when that changes.
	Deliver func(model.Call, model.Answer)
	// Timeout is how long a call takes at most with all its attempts, 0 for 5 seconds.
	Timeout time.Duration
	// Pause is how long to wait after a call that failed before it is repeated, 0 for a second.
	Pause time.Duration
	// Log is told when a server cannot be asked, and when it can again.
	Log *slog.Logger
}

// Caller makes calls to extension servers. It is safe for concurrent use.
type Caller struct {
	opts    Options
	servers map[string]*server

	mu sync.Mutex
	// open are the calls of which nothing is known yet; settled is closed when there are none.
	open    map[model.Call]error
	settled chan struct{}
}

// New returns a caller that asks nobody before [Caller.Run].
func New(opts Options) (*Caller, error) {
	opts.Timeout, opts.Pause = cmp.Or(opts.Timeout, 5*time.Second), cmp.Or(opts.Pause, time.Second)
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	c := &Caller{opts: opts, servers: map[string]*server{}, open: map[model.Call]error{}}
	for _, spec := range opts.Servers {
		s, err := newServer(c, spec)
		if err != nil {
			return nil, fmt.Errorf("extension server %q: %w", spec.Name, err)
		}
		c.servers[spec.Name] = s
	}
	return c, nil
}

// Want says that a call is wanted from now on, or not any more. It does not block.
func (c *Caller) Want(call model.Call, wanted bool) {
	s, ok := c.servers[call.Spec().Manager]
	if !ok {
		return
	}
	c.mu.Lock()
	if wanted {
		c.open[call] = errNotAsked
	} else {
		c.close(call)
	}
	c.mu.Unlock()
	s.want(call, wanted)
}

// Run makes calls until the context ends, and returns when all have ended.
func (c *Caller) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, s := range c.servers {
		running.Go(func() { s.run(ctx) })
	}
	running.Wait()
}

// Settle waits until everything that is wanted has been answered, or the context ends. An answer is also that the
// server refuses, or, if it fails open, that it is not there. The error names a call that is open yet.
func (c *Caller) Settle(ctx context.Context) error {
	c.mu.Lock()
	if len(c.open) == 0 {
		c.mu.Unlock()
		return nil
	}
	if c.settled == nil {
		c.settled = make(chan struct{})
	}
	settled := c.settled
	c.mu.Unlock()
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var first model.Call
	for call := range c.open {
		if first == (model.Call{}) || call.Compare(first) < 0 {
			first = call
		}
	}
	if first == (model.Call{}) {
		return nil
	}
	return fmt.Errorf("waiting for the extension server (%s): %w", first, c.open[first])
}

// close notes that something is known of a call. The caller holds the lock.
func (c *Caller) close(call model.Call) {
	delete(c.open, call)
	if len(c.open) == 0 && c.settled != nil {
		close(c.settled)
		c.settled = nil
	}
}

// answered takes in what became of a call: err if the server could not even be reached.
func (c *Caller) answered(call model.Call, answer model.Answer, unreachable error) {
	c.opts.Deliver(call, answer)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, wanted := c.open[call]; !wanted {
		return
	}
	if unreachable != nil && !c.servers[call.Spec().Manager].spec.FailOpen {
		c.open[call] = unreachable
		return
	}
	c.close(call)
}

package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// takeOverTimeout bounds how long an Envoy may take until it serves what the one before it does. Clusters can take
	// seconds to become warm; meanwhile the one before serves.
	takeOverTimeout = 2 * time.Minute
	// handshake is how long clients have to complete handshakes that they began with an Envoy that goes.
	handshake = time.Second
)

// ErrGap is wrapped by the loss that Slot.Run returns when new connections may have been refused for a moment.
var ErrGap = errors.New("new connections may have been refused for a moment")

// Slot is where one Envoy serves at a time, and another can take over from it without losing a request: it listens on
// the same ports beside the one before, until that has drained. It is safe for concurrent use.
type Slot struct {
	// mu is held while an Envoy starts, and not while one goes.
	mu      sync.Mutex
	current *Envoy
	stopped bool
	going   sync.WaitGroup
}

// ErrSlotStopped is returned by Run after Stop.
var ErrSlotStopped = errors.New("no Envoy is started any more")

// Run starts an Envoy, and has it take over if there is one. It returns when the Envoy answers, as [Start] does, and
// the one before has ended. err says that none was started; the one before, if any, goes on then. It also goes on until
// the new one listens where it does, which has to be within two minutes. loss is what was lost, or may have been,
// although the new one serves. The context bounds only the start. All configurations must have the same Dir.
func (s *Slot) Run(ctx context.Context, c Config) (loss, err error) {
	s.mu.Lock()
	old, gap, err := s.start(ctx, c)
	if err == nil && old != nil {
		s.going.Add(1)
		defer s.going.Done()
	}
	s.mu.Unlock()
	if err != nil || old == nil {
		return nil, err
	}
	select {
	case <-time.After(handshake):
	case <-ctx.Done():
	}
	cut := old.Stop(context.WithoutCancel(ctx))
	if gap == nil {
		_ = release(s.Current().Pid()) // it does no harm: what it names is not there any more
	}
	return errors.Join(gap, cut), nil
}

// start starts an Envoy and makes it the current one. It returns the one before, and why connections may be lost.
func (s *Slot) start(ctx context.Context, c Config) (old *Envoy, gap, err error) {
	old = s.current
	switch {
	case s.stopped:
		return nil, nil, ErrSlotStopped
	case old == nil:
		s.current, err = Start(ctx, c)
		return nil, nil, err
	}
	next, err := start(ctx, c, (old.seat+1)%seats)
	if err != nil {
		return nil, nil, err
	}
	if err := next.awaitPorts(ctx, old); err != nil {
		next.abort()
		return nil, nil, fmt.Errorf("the new Envoy does not serve: %w", err)
	}
	if err := c.Dir.present(next.seat); err != nil {
		next.abort()
		return nil, nil, err
	}
	s.current = next
	if err := steer(next.Pid(), old.Pid()); err != nil {
		gap = fmt.Errorf("%w: the kernel cannot be told to give them to the new Envoy: %w", ErrGap, err)
	}
	return old, gap, nil
}

// awaitPorts returns nil when the Envoy serves, and has all listeners that another one has then.
func (e *Envoy) awaitPorts(ctx context.Context, other *Envoy) error {
	ctx, cancel := context.WithTimeout(ctx, takeOverTimeout)
	defer cancel()
	poll := time.NewTicker(drainPoll)
	defer poll.Stop()
	for {
		err := e.admin.Ready(ctx)
		if err == nil {
			err = e.lacks(ctx, other)
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-poll.C:
		}
	}
}

// lacks returns an error that names a listener of another Envoy that this one does not have; nil if there is none.
func (e *Envoy) lacks(ctx context.Context, other *Envoy) error {
	wanted, err := other.admin.Listeners(ctx)
	if err != nil {
		return nil //nolint:nilerr // it has died: there is nothing to be lost
	}
	have, err := e.admin.Listeners(ctx)
	if err != nil {
		return err
	}
	own, err := staticListeners(other.config.Bootstrap)
	if err != nil {
		return err
	}
	for _, name := range wanted {
		if !slices.Contains(have, name) && !slices.Contains(own, name) {
			return fmt.Errorf("it does not listen on %s", name)
		}
	}
	return nil
}

// staticListeners returns the names of the listeners in a bootstrap: another bootstrap need not have them.
func staticListeners(bootstrap []byte) ([]string, error) {
	var fields struct {
		Static struct {
			Listeners []struct{ Name string }
		} `json:"static_resources"`
	}
	if err := json.Unmarshal(bootstrap, &fields); err != nil {
		return nil, fmt.Errorf("the listeners of the bootstrap: %w", err)
	}
	var names []string
	for _, l := range fields.Static.Listeners {
		names = append(names, l.Name)
	}
	return names, nil
}

// Current returns the Envoy that serves, nil if there is none.
func (s *Slot) Current() *Envoy {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// Stop stops the Envoy that serves, as [Envoy.Stop] does, and waits for one that is going. Nothing is started after it;
// a Run that is under way must be ended by its context, or is waited for.
func (s *Slot) Stop(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	current := s.current
	s.mu.Unlock()
	var err error
	if current != nil {
		err = current.Stop(ctx)
	}
	s.going.Wait()
	return err
}

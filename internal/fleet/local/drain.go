package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	drainPoll = 50 * time.Millisecond
	// quietFor is how long no request may have been active before the listeners are closed: clients with kept
	// connections learn with their next answer that they have to open another, and should be able to.
	quietFor = 500 * time.Millisecond
	// killAfter is how long Envoy may take to end after SIGTERM. It takes milliseconds.
	killAfter = 5 * time.Second
)

// ErrDrainIncomplete is wrapped by what Stop returns when requests had to be cut off.
var ErrDrainIncomplete = errors.New("requests were still in flight")

// Stop drains Envoy, ends it and removes its files. Draining has two phases. In the first, new connections are still
// accepted, but every answer asks its client to close the connection; it ends when no connection is open, or none has
// had a request for half a second, or at half of Drain.Timeout, but not before Drain.Min. In the second, Envoy listens
// no more; it ends when no request is in flight and no TCP or TLS connection open, or at Drain.Timeout. Idle
// connections are not waited for: Envoy never closes them itself.
//
// A context that ends cuts the draining short, not the rest. The error wraps ErrDrainIncomplete if something was cut
// off; Envoy has ended whatever Stop returns. Calling it again returns the same.
func (e *Envoy) Stop(ctx context.Context) error {
	e.stop.Do(func() {
		close(e.stopping)
		var drained error
		if e.child.Pid() != 0 {
			drained = e.drain(ctx)
		}
		e.end()
		e.stopErr = drained
		e.config.Dir.clear(e.seat)
		close(e.stopped)
	})
	return e.Wait()
}

// end ends the process, one way or the other.
func (e *Envoy) end() {
	e.child.Terminate()
	select {
	case <-e.ended:
	case <-time.After(killAfter):
		e.child.Kill()
		<-e.ended
	}
}

func (e *Envoy) drain(ctx context.Context) error {
	how := e.config.Drain
	ctx, cancel := context.WithTimeout(ctx, how.Timeout)
	defer cancel()
	soft, cancelSoft := context.WithTimeout(ctx, max(how.Timeout/2, how.Min))
	defer cancelSoft()
	if err := e.admin.Post(soft, "/drain_listeners?graceful&skip_exit"); err != nil {
		return e.undrained(err)
	}
	last, err := e.soften(soft)
	if err != nil && soft.Err() == nil {
		return e.undrained(err)
	}
	if ctx.Err() == nil {
		if err := e.admin.Post(ctx, "/drain_listeners"); err != nil {
			return e.undrained(err)
		}
		last, err = e.await(ctx, func(t Traffic) bool { return t.Busy() == 0 })
	}
	switch {
	case err != nil && ctx.Err() == nil:
		return e.undrained(err)
	case last.Busy() > 0:
		return fmt.Errorf("Envoy was stopped while %w: %d when the time to drain was over", ErrDrainIncomplete, last.Busy())
	}
	return nil
}

// soften is the first phase of draining.
func (e *Envoy) soften(ctx context.Context) (Traffic, error) {
	how, began, done := e.config.Drain, time.Now(), quiet()
	failing := false
	var failed error
	last, err := e.await(ctx, func(t Traffic) bool {
		elapsed := time.Since(began)
		if !failing && elapsed >= how.HealthDelay {
			failing = true
			failed = e.admin.Post(ctx, "/healthcheck/fail")
		}
		return failed != nil || done(t) && elapsed >= how.Min
	})
	return last, cmp.Or(failed, err)
}

// quiet returns a condition that is met once nothing is left, or nothing has moved for quietFor.
func quiet() func(Traffic) bool {
	var since time.Time
	return func(t Traffic) bool {
		switch {
		case t.Busy() != 0:
			since = time.Time{}
			return false
		case since.IsZero():
			since = time.Now()
		}
		return t.Connections == 0 || time.Since(since) >= quietFor
	}
}

// undrained is the error for an Envoy that cannot be talked to. One that has died meanwhile has nothing to drain.
func (e *Envoy) undrained(err error) error {
	if err == nil || e.child.Pid() == 0 {
		return nil
	}
	return fmt.Errorf("Envoy could not be drained: %w", err)
}

// await polls the traffic until it is as wanted, and returns the last that it saw.
func (e *Envoy) await(ctx context.Context, wanted func(Traffic) bool) (Traffic, error) {
	poll := time.NewTicker(drainPoll)
	defer poll.Stop()
	var last Traffic
	for {
		now, err := e.admin.Traffic(ctx)
		if err != nil {
			return last, err
		}
		if last = now; wanted(last) {
			return last, nil
		}
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-poll.C:
		}
	}
}

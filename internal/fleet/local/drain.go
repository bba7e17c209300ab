package local

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

// Stop drains Envoy, ends it and removes its runtime directory. Draining has two phases. In the first, new connections
// are still accepted, but every answer asks its client to close the connection; it ends when no connection is open, or
// none has had a request for half a second, or at half of Config.DrainTimeout. In the second, Envoy listens no more;
// it ends when no request is in flight and no TCP or TLS connection open, or at Config.DrainTimeout. Idle connections
// are not waited for: Envoy never closes them itself.
//
// A context that ends cuts the draining short, not the rest. The error wraps ErrDrainIncomplete if something was cut
// off; Envoy has ended whatever Stop returns. Calling it again returns the same.
func (e *Envoy) Stop(ctx context.Context) error {
	e.stop.Do(func() {
		close(e.stopping)
		var drained error
		if e.child.pid() != 0 {
			drained = e.drain(ctx)
		}
		e.end()
		e.stopErr = errors.Join(drained, e.config.Dir.Remove())
		close(e.stopped)
	})
	return e.Wait()
}

// end ends the process, one way or the other.
func (e *Envoy) end() {
	e.child.terminate()
	select {
	case <-e.ended:
	case <-time.After(killAfter):
		e.child.kill()
		<-e.ended
	}
}

func (e *Envoy) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, e.config.DrainTimeout)
	defer cancel()
	soft, cancelSoft := context.WithTimeout(ctx, e.config.DrainTimeout/2)
	defer cancelSoft()
	for _, path := range []string{"/healthcheck/fail", "/drain_listeners?graceful&skip_exit"} {
		if err := e.admin.Post(soft, path); err != nil {
			return e.undrained(err)
		}
	}
	last, err := e.await(soft, quiet())
	if err != nil && soft.Err() == nil {
		return e.undrained(err)
	}
	if ctx.Err() == nil {
		if err := e.admin.Post(ctx, "/drain_listeners"); err != nil {
			return e.undrained(err)
		}
		last, err = e.await(ctx, func(t traffic) bool { return t.busy() == 0 })
	}
	switch {
	case err != nil && ctx.Err() == nil:
		return e.undrained(err)
	case last.busy() > 0:
		return fmt.Errorf("Envoy was stopped while %w: %d when the time to drain was over", ErrDrainIncomplete, last.busy())
	}
	return nil
}

// quiet returns a condition that is met once nothing is left, or nothing has moved for quietFor.
func quiet() func(traffic) bool {
	var since time.Time
	return func(t traffic) bool {
		switch {
		case t.busy() != 0:
			since = time.Time{}
			return false
		case since.IsZero():
			since = time.Now()
		}
		return t.connections == 0 || time.Since(since) >= quietFor
	}
}

// undrained is the error for an Envoy that cannot be talked to. One that has died meanwhile has nothing to drain.
func (e *Envoy) undrained(err error) error {
	if err == nil || e.child.pid() == 0 {
		return nil
	}
	return fmt.Errorf("Envoy could not be drained: %w", err)
}

// traffic is what goes through all listeners at one moment, those of the admin interface excluded.
type traffic struct {
	// connections are all downstream connections, http those of them that speak HTTP; requests are the active ones.
	connections, http, requests uint64
}

// busy counts what would be lost: requests, and connections that are not HTTP (or not yet), of which Envoy cannot know
// whether they are idle.
func (t traffic) busy() uint64 {
	busy := t.requests
	if t.connections > t.http {
		busy += t.connections - t.http
	}
	return busy
}

// await polls the traffic until it is as wanted, and returns the last that it saw.
func (e *Envoy) await(ctx context.Context, wanted func(traffic) bool) (traffic, error) {
	poll := time.NewTicker(drainPoll)
	defer poll.Stop()
	var last traffic
	for {
		stats, err := e.admin.Stats(ctx, trafficFilter)
		if err != nil {
			return last, err
		}
		if last = sumTraffic(stats); wanted(last) {
			return last, nil
		}
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-poll.C:
		}
	}
}

const trafficFilter = `^(listener|http)\..*\.downstream_(cx|rq)_active$`

func sumTraffic(stats map[string]uint64) traffic {
	var t traffic
	for name, value := range stats {
		switch {
		case strings.HasPrefix(name, "listener.admin."), strings.HasPrefix(name, "http.admin."):
		case strings.Contains(name, ".worker_"): // counted again, by worker
		case strings.HasPrefix(name, "listener."):
			t.connections += value
		case strings.HasSuffix(name, "cx_active"):
			t.http += value
		default:
			t.requests += value
		}
	}
	return t
}

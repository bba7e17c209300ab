// Package shutdown lets an Envoy in a pod go without losing a request.
//
// When a pod is to go, Kubernetes tells its containers at once, but nodes and load balancers hear of it only later: new
// connections keep coming for some seconds. A [Manager] runs in a container beside Envoy. When it is told to end, it
// has Envoy drain: Envoy still takes connections, and asks the client to close each with its next answer. Envoy's
// container has a preStop hook that waits for the manager's word, and so ends only when nothing goes through it any
// more, and no new connection has come for a while: while no other pod is ready, as when the only one of a fleet is
// evicted, kube-proxy goes on sending connections to the one that is going.
package shutdown

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/fleet/kube"
	"github.com/sluice-gateway/sluice/internal/fleet/local"
)

const (
	poll = 100 * time.Millisecond
	// headerTimeout is for those who connect and say nothing.
	headerTimeout = 5 * time.Second
)

// Manager drains one Envoy, once.
type Manager struct {
	// Admin is Envoy's admin interface.
	Admin local.Admin
	// Drain is how Envoy is to go.
	Drain fleet.Drain
	// Log may be nil.
	Log *slog.Logger
}

// Serve answers on the listener until the context ends; then it drains Envoy, lets those who wait for that know, and
// returns. It returns nil if everything was answered, and an error if something had to be cut off or Envoy could not be
// asked.
func (m *Manager) Serve(ctx context.Context, listener net.Listener) error {
	drained := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc(kube.DrainedPath, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-drained:
		case <-r.Context().Done():
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	// What ends the context is why to drain, not when to stop.
	err := m.drain(context.WithoutCancel(ctx))
	close(drained)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), headerTimeout)
	defer cancel()
	return errors.Join(err, server.Shutdown(last))
}

// drain returns when no connection is left and all that would send some know that this Envoy is going, or when the time
// is over.
func (m *Manager) drain(ctx context.Context) error {
	log := m.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, m.Drain.Timeout)
	defer cancel()
	log.Info("Draining", "timeout", m.Drain.Timeout, "at least", m.Drain.Min)
	// skip_exit: listeners that stopped accepting would refuse those who have not heard yet.
	if err := m.Admin.Post(ctx, "/drain_listeners?graceful&skip_exit"); err != nil {
		return fmt.Errorf("Envoy cannot be drained, it has ended or never started: %w", err)
	}
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	healthy, flow := true, flow{since: began}
	for {
		elapsed := time.Since(began)
		if healthy && elapsed >= m.Drain.HealthDelay {
			if err := m.Admin.Post(ctx, "/healthcheck/fail"); err != nil {
				return fmt.Errorf("fail the health check: %w", err)
			}
			healthy = false
		}
		traffic, err := m.Admin.Traffic(ctx)
		switch {
		case ctx.Err() != nil:
			return m.cutOff(flow)
		case err != nil:
			return fmt.Errorf("ask Envoy for its connections: %w", err)
		}
		flow.see(traffic)
		if elapsed >= m.Drain.Min && m.over(flow) {
			log.Info("Drained", "after", elapsed.Round(time.Millisecond))
			return nil
		}
		select {
		case <-ctx.Done():
			return m.cutOff(flow)
		case <-ticker.C:
		}
	}
}

// flow is what went through Envoy when it was last asked.
type flow struct {
	local.Traffic
	// since is when the last new connection was seen.
	since time.Time
}

func (f *flow) see(t local.Traffic) {
	if t.Accepted != f.Accepted {
		f.since = time.Now()
	}
	f.Traffic = t
}

// over says whether nothing goes through Envoy, and nothing is to be expected.
func (m *Manager) over(f flow) bool {
	return f.Connections == 0 && time.Since(f.since) >= m.Drain.Quiet()
}

// cutOff is the error for a drain whose time is over. Connections that are only kept open are no loss.
func (m *Manager) cutOff(f flow) error {
	switch {
	case time.Since(f.since) < m.Drain.Quiet():
		return fmt.Errorf("Envoy ends while clients still connect to it after %s, with %d requests or connections in "+
			"flight: see whether another Envoy of the Gateway is ready, or allow more time with EnvoyProxy "+
			"spec.shutdown.drainTimeout", m.Drain.Timeout, f.Busy())
	case f.Busy() > 0:
		return fmt.Errorf("Envoy ends while %w: %d after %s; allow more time with EnvoyProxy spec.shutdown.drainTimeout",
			local.ErrDrainIncomplete, f.Busy(), m.Drain.Timeout)
	}
	return nil
}

package main

import (
	"context"
	"strings"
	"sync"
	"time"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/fleet/local"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// retryPorts is how often a port that could not be bound is tried again.
const retryPorts = 2 * time.Second

// portGuard finds out which ports Envoy can listen on before it is told to: a port that is taken or forbidden becomes
// a status instead of an error in Envoy, and is taken as soon as it is free.
type portGuard struct {
	bind string
	say  *announcer

	mu sync.Mutex
	// ours are the ports that Envoy was told to listen on: in use, but by us. A port stays ours after its listener is
	// gone, because Envoy goes on listening while it drains.
	ours map[model.PortKey]bool
	// unbound are the ports that cannot be bound, and why.
	unbound map[model.PortKey]string
	// held are the names of the listeners that Envoy had when this control plane started: their ports are in use by us.
	held map[string]bool
}

func newPortGuard(bind string, say *announcer) *portGuard {
	return &portGuard{bind: bind, say: say, ours: map[model.PortKey]bool{}, unbound: map[model.PortKey]string{}}
}

// heldListeners returns the names of the listeners of an Envoy that runs already, nil if there is none.
func heldListeners(ctx context.Context, admin local.Admin) map[string]bool {
	names, err := admin.Listeners(ctx)
	if err != nil {
		return nil
	}
	held := make(map[string]bool, len(names))
	for _, name := range names {
		held[name] = true
	}
	return held
}

// hold notes which listeners Envoy has already.
func (g *portGuard) hold(names map[string]bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = names
}

// check probes the ports that the Gateways and ListenerSets of a batch ask for, and returns all that cannot be bound.
func (g *portGuard) check(batch source.Batch) map[model.PortKey]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, o := range batch.Set {
		switch object := o.Object.(type) {
		case *gwv1.Gateway:
			for _, l := range object.Spec.Listeners {
				g.probeListener(l.Port, l.Protocol)
			}
		case *gwv1.ListenerSet:
			for _, l := range object.Spec.Listeners {
				g.probeListener(l.Port, l.Protocol)
			}
		}
	}
	return g.copy()
}

// probeListener tries the ports that a listener can be on: a policy may have an HTTPS listener reached by QUIC too. The
// caller holds the lock.
func (g *portGuard) probeListener(number gwv1.PortNumber, protocol gwv1.ProtocolType) {
	g.probe(localPort(number, protocol))
	if protocol == gwv1.HTTPSProtocolType {
		g.probe(localPort(number, gwv1.UDPProtocolType))
	}
}

// localPort is the port of this machine that a listener is on.
func localPort(number gwv1.PortNumber, protocol gwv1.ProtocolType) model.PortKey {
	return model.PortKey{
		Proxy: localProxy, Port: uint16(number), //nolint:gosec // the schema keeps it below 65536
		Transport: model.Protocol(protocol).Transport(),
	}
}

// probe tries a port that is not ours. The caller holds the lock.
func (g *portGuard) probe(key model.PortKey) {
	if g.ours[key] {
		return
	}
	if g.held[pipeline.ListenerName(key)] {
		g.ours[key] = true
		return
	}
	if err := local.ProbePort(g.bind, key); err != nil {
		g.unbound[key] = err.Error()
		return
	}
	g.ours[key] = true
	delete(g.unbound, key)
}

func (g *portGuard) copy() map[model.PortKey]string {
	out := make(map[model.PortKey]string, len(g.unbound))
	for k, v := range g.unbound {
		out[k] = v
	}
	return out
}

// refused takes in that Envoy could not make a listener: somebody was faster.
func (g *portGuard) refused(e xds.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key := range g.ours {
		if pipeline.ListenerName(key) == e.Resource && strings.Contains(e.Message, "cannot bind") {
			delete(g.ours, key)
			g.unbound[key] = e.Message
		}
	}
}

// watch tries the ports that cannot be bound again and again, until the context ends.
func (g *portGuard) watch(ctx context.Context, p *pipeline.Pipeline) {
	ticker := time.NewTicker(retryPorts)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		g.mu.Lock()
		for key := range g.unbound {
			g.probe(key)
		}
		unbound := g.copy()
		g.mu.Unlock()
		if out := p.SetUnbound(unbound); len(out.Versions) > 0 {
			g.say.issues(out)
		}
	}
}

package envoy

import (
	"slices"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// shaper makes the last changes to a listener. It reports whether the listener may take connections at all.
type shaper func(l *model.Listener, under *feature.Listener) bool

// addManagers adds the backends that connection managers themselves send requests to, for their clusters.
func (b *builder) addManagers(e *incr.Engine) {
	used := func(r *incr.Reader, k model.PortKey) ([]BackendKey, bool) {
		port, _ := incr.Get(r, b.in.Ports, k)
		var out []BackendKey
		for i := range port.Listeners {
			managed, _ := b.managed(r, port, &port.Listeners[i])
			for _, a := range managed {
				for _, n := range a.Backends {
					if n != (model.BackendKey{}) {
						out = append(out, BackendKey{Proxy: k.Proxy, Backend: n})
					}
				}
			}
		}
		slices.SortFunc(out, BackendKey.Compare)
		return slices.Compact(out), len(out) > 0
	}
	managers := incr.NewTable(e, "backends of listener policies", used, b.in.Ports)
	b.collectors = incr.NewIndex(e, "listener policy uses", managers,
		func(_ model.PortKey, list []BackendKey) []BackendKey { return list })
}

// managed returns what policies ask for the connection manager of a listener, with backends as its Gateway reaches
// them.
func (b *builder) managed(r *incr.Reader, port model.Port, l *model.Listener) (list []model.Attached, denied string) {
	if l.Protocol != model.HTTP && l.Protocol != model.HTTPS {
		return nil, ""
	}
	list, denied = b.in.Managed(r, port, l)
	for i := range list {
		list[i].Backends = b.identified(r, l.Key, list[i].Backends)
	}
	return list, denied
}

// identified returns backends that a listener itself sends requests to as its Gateway reaches them.
func (b *builder) identified(r *incr.Reader, l model.ListenerKey, backends []model.BackendKey) []model.BackendKey {
	client := b.in.Client(r, l)
	backend := func(key model.BackendKey) (model.Backend, bool) { return incr.Get(r, b.in.Backends, key.Shared()) }
	out := slices.Clone(backends)
	for i := range out {
		out[i] = identify(out[i], client, backend)
	}
	return out
}

// shape returns the shaper of the listeners of a port. needs collects the backends that they need.
func (b *builder) shape(r *incr.Reader, port model.Port, needs *[]model.BackendKey) shaper {
	return func(l *model.Listener, under *feature.Listener) bool {
		managed, denied := b.managed(r, port, l)
		under.Name = l.Key
		b.opts.Chain.ApplyListener(under, managed)
		*needs = append(*needs, under.Needs...)
		return denied == ""
	}
}

package envoy

import (
	"slices"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

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
			out = append(out, asked(k.Proxy, managed)...)
		}
		out = append(out, asked(k.Proxy, b.common(r, port))...)
		slices.SortFunc(out, BackendKey.Compare)
		return slices.Compact(out), len(out) > 0
	}
	managers := incr.NewTable(e, "backends of listener policies", used, b.in.Ports)
	b.collectors = incr.NewIndex(e, "listener policy uses", managers,
		func(_ model.PortKey, list []BackendKey) []BackendKey { return list })
}

// asked returns the backends that what is attached to listeners sends requests to.
func asked(proxy model.ProxyName, attached []model.Attached) []BackendKey {
	var out []BackendKey
	for _, a := range attached {
		for _, n := range a.Backends {
			if n != (model.BackendKey{}) {
				out = append(out, BackendKey{Proxy: proxy, Backend: n})
			}
		}
	}
	return out
}

// managed returns what policies ask for a listener, with backends as its Gateway reaches them: for its connection
// manager or, for one that has none, for what writes down its connections.
func (b *builder) managed(r *incr.Reader, port model.Port, l *model.Listener) (list []model.Attached, denied string) {
	if l.Protocol == model.HTTP || l.Protocol == model.HTTPS {
		list, denied = b.in.Managed(r, port, l)
	} else {
		list = b.in.Observed(r, l)
	}
	return b.identifiedAll(r, l.Key, list), denied
}

// common returns what policies ask for the whole port.
func (b *builder) common(r *incr.Reader, port model.Port) []model.Attached {
	if len(port.Listeners) == 0 {
		return nil
	}
	return b.identifiedAll(r, port.Listeners[0].Key, b.in.Common(r, port))
}

// identifiedAll returns what is attached to a listener with backends as its Gateway reaches them.
func (b *builder) identifiedAll(r *incr.Reader, l model.ListenerKey, list []model.Attached) []model.Attached {
	out := slices.Clone(list)
	for i := range out {
		out[i].Backends = b.identified(r, l, out[i].Backends)
	}
	return out
}

// logs returns the access logs of a listener.
func (b *builder) logs(r *incr.Reader, port model.Port, l *model.Listener) *feature.Logs {
	managed, _ := b.managed(r, port, l)
	return b.opts.Chain.AccessLogs(managed)
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
		logs := b.opts.Chain.AccessLogs(managed)
		under.Manager.AccessLog = append(under.Manager.AccessLog, logs.Route...)
		logUpstream(under.Manager, logs.Upstream)
		*needs = append(*needs, slices.Concat(under.Needs, logs.Needs)...)
		return denied == ""
	}
}

// logUpstream has the router, which is the last filter, write down requests as backends get them.
func logUpstream(m *hcmv3.HttpConnectionManager, logs []*accesslogv3.AccessLog) {
	if len(logs) == 0 {
		return
	}
	m.HttpFilters[len(m.HttpFilters)-1] = routerFilter(&routerv3.Router{UpstreamLog: logs})
}

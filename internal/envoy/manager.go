package envoy

import (
	"slices"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// shaper makes the last changes to an Envoy listener, as policies ask for.
type shaper struct {
	b  *builder
	r  *incr.Reader
	of model.Port
	// needs collects the backends that the listener needs.
	needs *[]model.BackendKey
}

// chain changes the filter chain of a listener. It reports whether the listener may take connections at all.
func (s shaper) chain(l *model.Listener, under *feature.Listener) bool {
	managed, denied := s.b.managed(s.r, s.of, l)
	under.Name, under.Hostnames = l.Key, resolve.SharedHostnames(s.of, l)
	logs := s.b.opts.Chain.AccessLogs(managed)
	if under.Manager != nil {
		logUpstream(under.Manager, logs.Upstream)
	}
	s.b.opts.Chain.ApplyListener(under, managed)
	if under.Manager != nil {
		under.Manager.AccessLog = append(under.Manager.AccessLog, logs.Route...)
	} else {
		under.Proxy.AccessLog = append(under.Proxy.AccessLog, logs.Route...)
	}
	*s.needs = append(*s.needs, slices.Concat(under.Needs, logs.Needs)...)
	return denied == ""
}

// port changes what the listeners of the port share.
func (s shaper) port(p *feature.Port) {
	logs := s.b.opts.Chain.AccessLogs(s.b.common(s.r, s.of))
	if p.Proto.AccessLog = logs.Listener; len(logs.Listener) > 0 {
		*s.needs = append(*s.needs, logs.Needs...)
	}
	s.b.opts.Chain.ApplyPort(p, s.b.in.OfPort(s.r, s.of.Key))
}

// logUpstream has the router, which is the last filter, write down requests as backends get them.
func logUpstream(m *hcmv3.HttpConnectionManager, logs []*accesslogv3.AccessLog) {
	if len(logs) == 0 {
		return
	}
	m.HttpFilters[len(m.HttpFilters)-1] = routerFilter(&routerv3.Router{UpstreamLog: logs})
}

// managers is what the policies of the listeners of a port need besides: the backends that listeners send requests to
// themselves, and the CA certificates of clients.
type managers struct {
	Backends []BackendKey
	Trusts   []AuthorityKey
	// Denied are the plain HTTP listeners that must take no requests.
	Denied []model.ListenerKey
}

// addManagers adds what policies of listeners need, for clusters and secrets, and whom they let nobody in to.
func (b *builder) addManagers(e *incr.Engine) {
	b.managers = incr.NewTable(e, "needs of listener policies", func(r *incr.Reader, k model.PortKey) (managers, bool) {
		port, _ := incr.Get(r, b.in.Ports, k)
		var out managers
		for i := range port.Listeners {
			managed, denied := b.managed(r, port, &port.Listeners[i])
			if denied != "" && port.Protocol == model.HTTP {
				out.Denied = append(out.Denied, port.Listeners[i].Key)
			}
			out.add(k.Proxy, managed)
		}
		out.add(k.Proxy, b.common(r, port))
		slices.SortFunc(out.Backends, BackendKey.Compare)
		out.Backends = slices.Compact(out.Backends)
		return out, len(out.Backends)+len(out.Trusts)+len(out.Denied) > 0
	}, b.in.Ports)
	b.collectors = incr.NewIndex(e, "listener policy uses", b.managers,
		func(_ model.PortKey, m managers) []BackendKey { return m.Backends })
	b.clientTrusts = incr.NewIndex(e, "listener policy trusts", b.managers,
		func(_ model.PortKey, m managers) []AuthorityKey { return m.Trusts })
	// Hosts read this alone: what listeners need besides does not reach them.
	b.denied = incr.NewTable(e, "denied listeners", func(r *incr.Reader, k model.PortKey) ([]model.ListenerKey, bool) {
		m, _ := incr.Get(r, b.managers, k)
		return m.Denied, len(m.Denied) > 0
	}, b.managers)
}

// add adds what is needed for what is attached to listeners.
func (m *managers) add(proxy model.ProxyName, attached []model.Attached) {
	for _, a := range attached {
		for _, n := range a.Backends {
			if n != (model.BackendKey{}) {
				m.Backends = append(m.Backends, BackendKey{Proxy: proxy, Backend: n})
			}
		}
		if a.Trust != (model.Trust{}) {
			m.Trusts = append(m.Trusts, AuthorityKey{Proxy: proxy, Trust: a.Trust})
		}
	}
}

// denies says whether the plain HTTP listener that a host belongs to must take no requests. The listeners of a port
// share a filter chain, which cannot refuse for one of them.
func (b *builder) denies(r *incr.Reader, k model.HostKey) bool {
	if k.Table.Secure() {
		return false
	}
	denied, ok := incr.Get(r, b.denied, k.Table.Port())
	return ok && slices.Contains(denied, b.ownerOf(r, k))
}

// managed returns what policies ask for the filter chains of a listener, with backends as its Gateway reaches them.
func (b *builder) managed(r *incr.Reader, port model.Port, l *model.Listener) (list []model.Attached, denied string) {
	list, denied = b.in.Managed(r, port, l)
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

package envoy

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// addClusters adds the clusters of backends and their endpoints, and returns them as policies change them.
func (b *builder) addClusters(
	e *incr.Engine, uses []incr.KeySource[BackendKey],
) (clusters, endpoints *incr.Table[BackendKey, *xds.Resource]) {
	locals := incr.NewIndex(e, "fleets that know themselves", b.in.Fleets,
		func(k model.ProxyName, _ *resolve.Fleet) []BackendKey {
			return []BackendKey{{Proxy: k, Backend: model.LocalBackend()}}
		})
	b.assignments, b.endpointStage, endpoints = patchable(e, rows[BackendKey, *xds.Resource]{
		name: "endpoints", asked: b.servers.takes(model.HookEndpoints),
		try: b.extendEndpoints, equal: equalResource,
	}, stage[BackendKey]{
		b: b, typ: xds.Endpoints, build: b.endpoints, proxy: proxyOfBackend,
		change: changeNamed[BackendKey](b, xds.Endpoints),
		of:     func(s *step) (BackendKey, bool) { return s.Endpoint, s.Endpoint != BackendKey{} },
	}, append(slices.Clip(uses), locals)...)
	b.clusters, b.clusterStage, clusters = patchable(e, rows[BackendKey, *xds.Resource]{
		name: "clusters", asked: b.waitsForClusters(), try: b.extendCluster, equal: equalResource,
	}, stage[BackendKey]{
		b: b, typ: xds.Cluster, build: b.cluster, proxy: proxyOfBackend, change: changeNamed[BackendKey](b, xds.Cluster),
		of: func(s *step) (BackendKey, bool) { return s.Backend, s.Backend != BackendKey{} },
	}, uses...)
	return clusters, b.servedEndpoints(e, clusters, endpoints)
}

// servedEndpoints are the endpoints of the clusters that ask for them. One that an extension server has told otherwise
// never does: Envoy would not answer what it has not asked for, and endpoints of others would wait for that.
func (b *builder) servedEndpoints(
	e *incr.Engine, clusters, endpoints *incr.Table[BackendKey, *xds.Resource],
) *incr.Table[BackendKey, *xds.Resource] {
	if !b.servers.takes(model.HookCluster) {
		return endpoints
	}
	return incr.NewTable(e, "served endpoints", func(r *incr.Reader, k BackendKey) (*xds.Resource, bool) {
		found, ok := incr.Get(r, endpoints, k)
		if !ok || !k.Backend.Extension() {
			return found, ok
		}
		c, ok := incr.Get(r, clusters, k)
		if !ok {
			return nil, false
		}
		var cluster clusterv3.Cluster
		err := proto.Unmarshal(c.Body, &cluster)
		return found, err == nil && cluster.GetType() == clusterv3.Cluster_EDS && cluster.GetClusterType() == nil
	}, endpoints).Equal(equalResource)
}

// addListeners adds the listeners of ports, and returns them as policies change them.
func (b *builder) addListeners(
	e *incr.Engine,
) (*held[model.PortKey, *xds.Resource], *incr.Table[model.PortKey, *xds.Resource]) {
	own, changed, done := patchable(e, rows[model.PortKey, *xds.Resource]{
		name: "listeners", asked: b.servers.takes(model.HookHTTPListener), try: b.extendListener, equal: equalResource,
	}, stage[model.PortKey]{
		b: b, typ: xds.Listener, build: b.listener, change: b.changeListener,
		proxy: func(k model.PortKey) model.ProxyName { return k.Proxy },
		of:    func(s *step) (model.PortKey, bool) { return s.Port, s.Port != model.PortKey{} },
	}, b.in.Ports, b.in.QUIC)
	b.listenerStage = changed
	return own, done
}

// patchable makes the table of resources that extension servers are asked about and policies change after that. Where
// no server is asked, one table is all that there is.
func patchable[K incr.Key[K]](
	e *incr.Engine, own rows[K, *xds.Resource], s stage[K], keys ...incr.KeySource[K],
) (*held[K, *xds.Resource], *stage[K], *incr.Table[K, *xds.Resource]) {
	own.proxy = s.proxy
	if !own.asked {
		changed := newStage(e, s, own.name)
		own.try = func(r *incr.Reader, k K) (attempt[*xds.Resource], bool) {
			out, ok := changed.hook(r, k)
			return attempted(out), ok
		}
		out := holding(e, own, keys...)
		return out, changed, out.whole
	}
	out := holding(e, own, keys...)
	s.build = func(r *incr.Reader, k K) (*xds.Resource, bool) { return incr.Get(r, out.whole, k) }
	changed := newStage(e, s, own.name)
	return out, changed, incr.NewTable(e, own.name+" after patches", changed.hook, out.whole).Equal(equalResource)
}

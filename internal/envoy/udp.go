package envoy

import (
	"fmt"
	"time"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	udpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/udp/udp_proxy/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// A change of a UDP listener ends its sessions, so there is nothing of the route in it: it sends everything to one
// cluster that is the port's own, and the route is the endpoints of that cluster. To edit the route, its weights or its
// backends is then a change of endpoints.

// udpIdleTimeout is how long a session, the datagrams between one client and one endpoint, may be silent.
const udpIdleTimeout = time.Minute

// discard is where the share of backends that are invalid or have no endpoints goes. The kernel refuses to send to the
// broadcast address from a socket without SO_BROADCAST, which Envoy does not set, so the datagrams are dropped on the
// spot and counted as errors. Without it Envoy would give the share to the other backends.
var discard = model.Endpoint{Address: "255.255.255.255", Port: 9}

// udpListener returns the Envoy listener of a UDP port.
func udpListener(bind string, port model.Port, logs *feature.Logs) *xds.Resource {
	cluster := model.UDPPort(port.Key.Port).String()
	proxy := &udpv3.UdpProxyConfig{
		StatPrefix:  fmt.Sprintf("udp_port_%d", port.Key.Port),
		IdleTimeout: durationpb.New(udpIdleTimeout),
		AccessLog:   logs.Route,
		// Envoy warns that the matcher is work in progress, and of the field that it replaces that it will go.
		RouteSpecifier: &udpv3.UdpProxyConfig_Matcher{Matcher: &matcherv3.Matcher{
			OnNoMatch: &matcherv3.Matcher_OnMatch{OnMatch: &matcherv3.Matcher_OnMatch_Action{
				Action: &xdscorev3.TypedExtensionConfig{Name: "route", TypedConfig: toAny(&udpv3.Route{Cluster: cluster})},
			}},
		}},
	}
	out := &listenerv3.Listener{
		Name:              ListenerName(port.Key),
		Address:           listenAddress(bind, port.Key),
		AccessLog:         logs.Listener,
		UdpListenerConfig: &listenerv3.UdpListenerConfig{},
		ListenerFilters: []*listenerv3.ListenerFilter{{
			Name:       "envoy.filters.udp_listener.udp_proxy",
			ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: toAny(proxy)},
		}},
	}
	r := &xds.Resource{
		Name: out.Name, Body: marshal(out), Needs: append(clusterNames(logs.Needs), cluster), Owners: sources(port),
	}
	r.Hash = hash(r.Body)
	return r
}

// udpCluster returns the cluster of a UDP port, whose endpoints share the sessions by locality weights.
func udpCluster(chain *feature.Chain, port model.Port, settings []model.Attached) *xds.Resource {
	like := model.Backend{Key: model.UDPPort(port.Key.Port), Protocol: model.AppUDP, Attached: settings}
	r := clusterWith(like, nil, func(c *clusterv3.Cluster) {
		c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{
			LocalityConfigSpecifier: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
				LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
			},
		}
		chain.ApplyCluster(&feature.Cluster{Proto: c, Backend: &like}, like.Attached)
	})
	r.Owners = sources(port)
	return r
}

// udpRoute returns the route that has a UDP port, and the listener that it has it from.
func (b *builder) udpRoute(r *incr.Reader, port model.Port) (route model.RouteKey, of model.ListenerKey, ok bool) {
	for i := range port.Listeners {
		of = port.Listeners[i].Key
		if route, ok = incr.Get(r, b.in.StreamOwners, model.StreamKey{Port: port.Key, Listener: of, Domain: "*"}); ok {
			return route, of, true
		}
	}
	return model.RouteKey{}, model.ListenerKey{}, false
}

// udpSettings returns what policies ask for the cluster of a UDP port.
func (b *builder) udpSettings(r *incr.Reader, port model.Port) []model.Attached {
	route, listener, ok := b.udpRoute(r, port)
	if !ok {
		return nil
	}
	return b.in.Settings(r, b.streamSettings(r, route, port.Key, listener))
}

// udpEndpoints returns the endpoints of a UDP port's cluster: those of the backends of the route that has the port,
// each backend a locality of its own with the backend's weight. Without a route there are none, and datagrams are
// dropped.
func (b *builder) udpEndpoints(r *incr.Reader, port model.Port) *xds.Resource {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: model.UDPPort(port.Key.Port).String()}
	owners, settings := sources(port), b.udpSettings(r, port)
	for i := range port.Listeners {
		key := model.StreamKey{Port: port.Key, Listener: port.Listeners[i].Key, Domain: "*"}
		owner, ok := incr.Get(r, b.in.StreamOwners, key)
		if !ok {
			continue
		}
		route, ok := incr.Get(r, b.in.Routes, owner)
		if !ok {
			continue
		}
		owners = append(owners, owner.Ref())
		above := b.in.Above(r, key.Listener)
		if _, denied := b.in.StreamGuards(r, above, owner, streamRule(&route.Route)); denied != "" {
			continue
		}
		for _, share := range streamBackends(&route.Route) {
			out.Endpoints = append(out.Endpoints, udpLocality(share, b.endpointsOf(r, port.Key.Proxy, share.Backend, settings)))
		}
	}
	b.opts.Chain.ApplyEndpoints(out, settings)
	return endpointsResource(out, owners)
}

func udpLocality(share model.WeightedBackend, list []model.Endpoint) *endpointv3.LocalityLbEndpoints {
	out := &endpointv3.LocalityLbEndpoints{
		Locality:            &corev3.Locality{SubZone: clusterName(share.Backend)},
		LoadBalancingWeight: wrapperspb.UInt32(share.Weight),
	}
	if len(list) == 0 {
		list = []model.Endpoint{discard}
	}
	for _, e := range list {
		out.LbEndpoints = append(out.LbEndpoints, lbEndpoint(e))
	}
	return out
}

// udpPort returns the UDP port that a backend stands for, if it does.
func (b *builder) udpPort(r *incr.Reader, k BackendKey) (model.Port, bool) {
	if k.Backend.Kind != model.KindUDPPort {
		return model.Port{}, false
	}
	return incr.Get(r, b.in.Ports, model.PortKey{Proxy: k.Proxy, Port: k.Backend.Port, Transport: model.OverUDP})
}

// sources are the objects that the listeners of a port are written in.
func sources(port model.Port) []model.Ref {
	var out []model.Ref
	seen := make(map[model.Ref]bool, len(port.Listeners)) // a Gateway can have thousands of ListenerSets
	for i := range port.Listeners {
		if ref := port.Listeners[i].Key.Source; !seen[ref] {
			seen[ref] = true
			out = append(out, ref)
		}
	}
	return out
}

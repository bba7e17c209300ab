package envoy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Routes of TLS and TCP connections are in the listener itself: Envoy has no RDS for them. Each is a filter chain of
// its own, so that Envoy, which exchanges chains one by one, leaves the connections of all others alone.

// fieldFilterChains is Listener.filter_chains.
const fieldFilterChains protowire.Number = 3

// chainKey is a route on one listener of protocol TLS or TCP: a filter chain.
type chainKey struct {
	Port     model.PortKey
	Listener model.ListenerKey
	Route    model.RouteKey
}

func (k chainKey) Compare(o chainKey) int {
	return cmp.Or(k.Port.Compare(o.Port), k.Listener.Compare(o.Listener), k.Route.Compare(o.Route))
}

// String leads from a log line or a metric back to the route: tls/PORT/LISTENER/KIND/NAMESPACE/NAME, or tcp/...
func (k chainKey) String() string {
	protocol := strings.ToLower(strings.TrimSuffix(k.Route.Kind, "Route"))
	return fmt.Sprintf("%s/%d/%s/%s/%s", protocol, k.Port.Port, k.Listener, strings.ToLower(k.Route.Kind), k.Route.Name)
}

// chain is a marshalled filter chain: tag and length of its field in the Listener included.
type chain struct {
	Body  []byte
	Needs []model.BackendKey
}

func equalChain(a, b chain) bool { return string(a.Body) == string(b.Body) }

func newChain(c *listenerv3.FilterChain) chain {
	body := protowire.AppendTag(nil, fieldFilterChains, protowire.BytesType)
	return chain{Body: protowire.AppendBytes(body, marshal(c))}
}

// addStreams adds the table of filter chains, and returns the backends that they and the UDP ports use.
func (b *builder) addStreams(e *incr.Engine) (*incr.Index[BackendKey, chainKey, chain],
	*incr.Index[BackendKey, model.PortKey, model.Port]) {
	sites := incr.NewIndex(e, "chain sites", b.in.Bindings, chainsOf)
	b.chains = incr.NewTable(e, "filter chains", b.chain, sites).Equal(equalChain)
	b.portChains = incr.NewIndex(e, "filter chains by port", b.chains, func(k chainKey, _ chain) []model.PortKey {
		return []model.PortKey{k.Port}
	})
	uses := incr.NewIndex(e, "chain backend uses", b.chains, func(k chainKey, c chain) []BackendKey {
		out := make([]BackendKey, 0, len(c.Needs))
		for _, n := range c.Needs {
			out = append(out, BackendKey{Proxy: k.Port.Proxy, Backend: n})
		}
		return out
	})
	udp := incr.NewIndex(e, "udp ports", b.in.Ports, func(k model.PortKey, _ model.Port) []BackendKey {
		if k.Transport != model.OverUDP {
			return nil
		}
		return []BackendKey{{Proxy: k.Proxy, Backend: model.UDPPort(k.Port)}}
	})
	return uses, udp
}

// chainsOf returns the filter chains that a route may become. UDP has none.
func chainsOf(k model.RouteKey, bindings resolve.Bindings) []chainKey {
	var out []chainKey
	for _, b := range bindings.Streams {
		if b.Port.Transport == model.OverTCP {
			out = append(out, chainKey{Port: b.Port, Listener: b.Listener, Route: k})
		}
	}
	return out
}

// chain returns the filter chain of a route on a listener, nothing if other routes have all that it wants.
func (b *builder) chain(r *incr.Reader, k chainKey) (chain, bool) {
	bindings, _ := incr.Get(r, b.in.Bindings, k.Route)
	port, _ := incr.Get(r, b.in.Ports, k.Port)
	route, ok := incr.Get(r, b.in.Routes, k.Route)
	l := listenerOf(port, k.Listener)
	if !ok || l == nil {
		return chain{}, false
	}
	var domains []string
	var held model.StreamBinding
	for _, bound := range bindings.Streams {
		if bound.Port != k.Port || bound.Listener != k.Listener {
			continue
		}
		held = bound
		for _, key := range bound.Keys() {
			if owner, _ := incr.Get(r, b.in.StreamOwners, key); owner == k.Route {
				domains = append(domains, key.Domain)
			}
		}
	}
	if len(domains) == 0 {
		return chain{}, false
	}
	under := &feature.Listener{Chain: streamChain(k.String(), l, domains)}
	if !b.admit(r, under.Chain, held.Above, &route.Route) {
		return newChain(under.Chain), true
	}
	backends := streamBackends(b.reached(r, &route.Route, l, held.Client))
	if settings := b.streamSettings(r, k.Route, k.Port, k.Listener); settings != (model.SettingsKey{}) {
		for i := range backends {
			if key := &backends[i].Backend; *key != (model.BackendKey{}) {
				key.Settings = settings
			}
		}
	}
	return b.passOn(r, port, l, under, backends), true
}

// admit has a filter chain take connections only from where policies let a route have them from: nobody else has a
// chain. It reports whether there is anybody left.
func (b *builder) admit(
	r *incr.Reader, c *listenerv3.FilterChain, above model.PolicyStack, route *model.Route,
) bool {
	guards, denied := b.in.StreamGuards(r, above, route.Key, streamRule(route))
	sources, limited := b.opts.Chain.Sources(guards)
	if denied != "" || limited && len(sources) == 0 {
		return false
	}
	if !limited {
		return true
	}
	if c.FilterChainMatch == nil {
		c.FilterChainMatch = &listenerv3.FilterChainMatch{}
	}
	c.FilterChainMatch.SourcePrefixRanges = cidrRanges(sources)
	return true
}

// streamRule is the name of the only rule of a route for TLS, TCP or UDP.
func streamRule(route *model.Route) string {
	if len(route.Rules) == 0 {
		return ""
	}
	return route.Rules[0].Name
}

func cidrRanges(list []netip.Prefix) []*corev3.CidrRange {
	out := make([]*corev3.CidrRange, len(list))
	for i, p := range list {
		out[i] = &corev3.CidrRange{
			AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits())), //nolint:gosec // at most 128
		}
	}
	return out
}

// passOn has a filter chain pass connections on to backends, as policies of the listener say.
func (b *builder) passOn(
	r *incr.Reader, port model.Port, l *model.Listener, under *feature.Listener, backends []model.WeightedBackend,
) chain {
	if under.Proxy = tcpProxy(port.Key.Port, backends); under.Proxy == nil {
		return newChain(under.Chain)
	}
	if l.Protocol == model.TLS && !l.Passthrough {
		under.TLS = downstreamTLS(l, nil)
		under.Chain.TransportSocketConnectTimeout = durationpb.New(tlsHandshakeTimeout)
	}
	needs := validBackends(backends)
	if !(shaper{b: b, r: r, of: port, needs: &needs}).chain(l, under) {
		under.Chain.Filters = nil
		return newChain(under.Chain)
	}
	if under.TLS != nil {
		under.Chain.TransportSocket = tlsSocket(under.TLS)
	}
	under.Chain.Filters = append(under.Chain.Filters, b.resolveServerName(r, port.Key.Proxy, backends)...)
	under.Chain.Filters = append(under.Chain.Filters, &listenerv3.Filter{
		Name:       "envoy.filters.network.tcp_proxy",
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: toAny(under.Proxy)},
	})
	c := newChain(under.Chain)
	c.Needs = needs
	return c
}

// streamSettings says where the settings of the connections come from that a route makes for a listener of protocol
// TLS, TCP or UDP.
func (b *builder) streamSettings(
	r *incr.Reader, route model.RouteKey, port model.PortKey, listener model.ListenerKey,
) model.SettingsKey {
	bindings, _ := incr.Get(r, b.in.Bindings, route)
	resolved, ok := incr.Get(r, b.in.Routes, route)
	if !ok || len(resolved.Rules) == 0 {
		return model.SettingsKey{}
	}
	for _, bound := range bindings.Streams {
		if bound.Port == port && bound.Listener == listener {
			return b.in.Policed(r, bound.Above, route, streamRule(&resolved.Route), model.KindBackendTrafficPolicy).Settings
		}
	}
	return model.SettingsKey{}
}

// closedChain takes what a TLS or TCP listener owns and no route wants.
func closedChain(port model.PortKey, l *model.Listener) chain {
	name := fmt.Sprintf("%s/%d/%s", strings.ToLower(string(l.Protocol)), port.Port, l.Key)
	return newChain(streamChain(name, l, []string{domainOf(l.Hostname)}))
}

// streamChain is a filter chain for domains of a listener, without filters yet. As long as it has none, Envoy closes
// the connections that it takes.
func streamChain(name string, l *model.Listener, domains []string) *listenerv3.FilterChain {
	out := &listenerv3.FilterChain{Name: name}
	if l.Protocol != model.TLS {
		return out
	}
	out.FilterChainMatch = &listenerv3.FilterChainMatch{TransportProtocol: "tls"}
	slices.Sort(domains)
	if domains = slices.Compact(domains); domains[0] != "*" {
		out.FilterChainMatch.ServerNames = domains
	}
	return out
}

// streams returns the filter chains of the TLS and TCP listeners of a port.
func (b *builder) streams(r *incr.Reader, port model.Port) (chains []chain, owners []model.Ref) {
	for i := range port.Listeners {
		l := &port.Listeners[i]
		if l.Protocol != model.TLS && l.Protocol != model.TCP {
			continue
		}
		whole := model.StreamKey{Port: port.Key, Listener: l.Key, Domain: domainOf(l.Hostname)}
		if _, taken := incr.Get(r, b.in.StreamOwners, whole); !taken {
			chains = append(chains, closedChain(port.Key, l))
		}
	}
	for k, c := range b.portChains.Values(r, port.Key) {
		chains = append(chains, c)
		owners = append(owners, k.Route.Ref())
	}
	return chains, owners
}

// streamBackends returns the backends among which a route shares its connections, each once and with some weight. The
// share of an invalid one, which is the zero value, is refused. There are none if all is.
func streamBackends(route *model.Route) []model.WeightedBackend {
	weights := map[model.BackendKey]uint32{}
	for i := range route.Rules[:min(1, len(route.Rules))] {
		rule := &route.Rules[i]
		if rule.Fault != nil {
			return nil
		}
		for _, b := range rule.Backends {
			if b.Weight > 0 {
				weights[b.Backend] += b.Weight
			}
		}
	}
	out := make([]model.WeightedBackend, 0, len(weights))
	for key, weight := range weights {
		out = append(out, model.WeightedBackend{Backend: key, Weight: weight})
	}
	slices.SortFunc(out, func(a, b model.WeightedBackend) int { return a.Backend.Compare(b.Backend) })
	return out
}

func validBackends(list []model.WeightedBackend) []model.BackendKey {
	var out []model.BackendKey
	for _, b := range list {
		if b.Backend != (model.BackendKey{}) {
			out = append(out, b.Backend)
		}
	}
	return out
}

func listenerOf(port model.Port, key model.ListenerKey) *model.Listener {
	for i := range port.Listeners {
		if port.Listeners[i].Key == key {
			return &port.Listeners[i]
		}
	}
	return nil
}

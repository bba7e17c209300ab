package envoy

import (
	"fmt"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	quicv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/quic/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// altSvcAge is for how many seconds clients may remember that there is HTTP/3, as Envoy Gateway has it.
const altSvcAge = 86400

// quicListener returns the Envoy listener of a UDP port for HTTP/3: a filter chain for each of the HTTPS listeners of
// the TCP port of the same number that are reached so, which serves the listener's route table. Envoy finds the chain
// by SNI, and a connection without one that fits is refused.
func (b *builder) quicListener(r *incr.Reader, k model.PortKey, listeners []model.ListenerKey) (*xds.Resource, bool) {
	tcp := k
	tcp.Transport = model.OverTCP
	port, _ := incr.Get(r, b.in.Ports, tcp)
	var needs []model.BackendKey
	shape := shaper{b: b, r: r, of: port, needs: &needs}
	logs := b.opts.Chain.AccessLogs(b.common(r, port))
	out := &listenerv3.Listener{
		Name: ListenerName(k), Address: listenAddress(b.bind(r, k.Proxy), k), AccessLog: logs.Listener,
		UdpListenerConfig: &listenerv3.UdpListenerConfig{QuicOptions: quicOptions()},
	}
	filters := httpFilters(b.opts.Chain, b.guarded.Len(r, tcp) > 0)
	for i := range port.Listeners {
		l := &port.Listeners[i]
		if !slices.Contains(listeners, l.Key) {
			continue
		}
		if chain := quicChain(model.HTTPSTable(tcp, l.Key), l, filters, shape); chain != nil {
			out.FilterChains = append(out.FilterChains, chain)
		}
	}
	if len(out.FilterChains) == 0 {
		return nil, false
	}
	res := &xds.Resource{
		Name: out.Name, Body: marshal(out), Needs: clusterNames(slices.Concat(needs, logs.Needs)), Owners: sources(port),
	}
	res.Hash = hash(res.Body)
	return res, true
}

// quicOptions are those of every QUIC listener: the limits that HTTP/2 has. Envoy's own windows would let each
// connection hold 24 MiB.
func quicOptions() *listenerv3.QuicProtocolOptions {
	return &listenerv3.QuicProtocolOptions{
		QuicProtocolOptions: &corev3.QuicProtocolOptions{
			MaxConcurrentStreams:        wrapperspb.UInt32(http2Streams),
			InitialStreamWindowSize:     wrapperspb.UInt32(http2StreamWindow),
			InitialConnectionWindowSize: wrapperspb.UInt32(http2ConnectionWindow),
		},
		CryptoHandshakeTimeout: durationpb.New(tlsHandshakeTimeout),
	}
}

// quicChain is the filter chain of an HTTPS listener for QUIC; nil if nobody may come in that way. That is so where
// clients have to show certificates, for which Envoy cannot ask over QUIC.
func quicChain(
	table model.RouteTableKey, l *model.Listener, filters []*hcmv3.HttpFilter, shape shaper,
) *listenerv3.FilterChain {
	under := &feature.Listener{
		Chain: &listenerv3.FilterChain{Name: table.String()}, Manager: connectionManager(table, filters), QUIC: true,
		TLS: downstreamTLS(l, nil),
	}
	if l.Hostname != "" {
		under.Chain.FilterChainMatch = &listenerv3.FilterChainMatch{ServerNames: []string{l.Hostname}}
	}
	under.Manager.CodecType = hcmv3.HttpConnectionManager_HTTP3
	under.Manager.Http3ProtocolOptions = &corev3.Http3ProtocolOptions{}
	allowed := shape.chain(l, under)
	if !allowed || under.TLS.RequireClientCertificate != nil || under.TLS.CommonTlsContext.ValidationContextType != nil {
		return nil
	}
	under.TLS.CommonTlsContext.AlpnProtocols = []string{"h3"}
	under.Chain.TransportSocket = quicSocket(under.TLS)
	under.Chain.Filters = append(under.Chain.Filters, managerFilter(under.Manager))
	return under.Chain
}

// quicSocket wraps a TLS context for QUIC. Requests in early data (0-RTT) are not taken: whoever has seen one could
// send it again.
func quicSocket(tls *tlsv3.DownstreamTlsContext) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.quic",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: toAny(&quicv3.QuicDownstreamTransport{
			DownstreamTlsContext: tls, EnableEarlyData: wrapperspb.Bool(false),
			EnableResumption: wrapperspb.Bool(!tls.GetDisableStatelessSessionResumption()),
		})},
	}
}

// altSvc tells clients that the listener of a route table can be reached by HTTP/3 too, on the same port; nil if it
// cannot. It is in the route table, so that no connection is drained because of it.
func (b *builder) altSvc(r *incr.Reader, k model.RouteTableKey) []*corev3.HeaderValueOption {
	if !k.Secure() || b.overQUIC.Len(r, k.Listener()) == 0 {
		return nil
	}
	return []*corev3.HeaderValueOption{{
		Header: &corev3.HeaderValue{
			Key: "alt-svc", Value: fmt.Sprintf(`h3=":%d"; ma=%d`, k.Port().Port, altSvcAge),
		},
		AppendAction: corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD,
	}}
}

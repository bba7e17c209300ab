package featuretest

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
)

// NewListener returns the filter chain of an HTTPS listener before any feature is applied, as far as features look at
// it.
func NewListener(hostnames ...string) *feature.Listener {
	return &feature.Listener{
		Chain: &listenerv3.FilterChain{}, TLS: newTLS(), Hostnames: hostnames,
		Manager: &hcmv3.HttpConnectionManager{
			CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{},
			Http2ProtocolOptions:      &corev3.Http2ProtocolOptions{},
			// As if a policy limited the duration of connections.
			Http1SafeMaxConnectionDuration: true,
			HttpFilters: []*hcmv3.HttpFilter{{
				Name:       "envoy.filters.http.router",
				ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: feature.Pack(&routerv3.Router{})},
			}},
		},
	}
}

// NewStream returns the filter chain of a route for TLS connections, which the listener ends, before any feature is
// applied.
func NewStream(hostnames ...string) *feature.Listener {
	return &feature.Listener{
		Chain: &listenerv3.FilterChain{}, TLS: newTLS(), Proxy: &tcpv3.TcpProxy{}, Hostnames: hostnames,
	}
}

func newTLS() *tlsv3.DownstreamTlsContext {
	return &tlsv3.DownstreamTlsContext{
		CommonTlsContext:                 &tlsv3.CommonTlsContext{TlsParams: &tlsv3.TlsParameters{}},
		DisableStatefulSessionResumption: true,
		SessionTicketKeysType: &tlsv3.DownstreamTlsContext_DisableStatelessSessionResumption{
			DisableStatelessSessionResumption: true,
		},
	}
}

// NewPort returns what the TLS listeners of a port share before any feature is applied.
func NewPort() *feature.Port {
	inspector := &listenerv3.ListenerFilter{
		Name:       "envoy.filters.listener.tls_inspector",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: feature.Pack(&inspectorv3.TlsInspector{})},
	}
	return &feature.Port{Proto: &listenerv3.Listener{
		MaxConnectionsToAcceptPerSocketEvent: wrapperspb.UInt32(1),
		ListenerFilters:                      []*listenerv3.ListenerFilter{inspector},
	}}
}

// listeners says what a adds to a port, and to the filter chains of its listeners: nothing that stays as it is.
func listeners(t *testing.T, chain *feature.Chain, a model.Attached, hostnames []string) map[string]any {
	t.Helper()
	out := map[string]any{}
	port := NewPort()
	chain.ApplyPort(port, []model.Attached{a})
	changed(t, out, "port", port.Proto, NewPort().Proto)
	web, stream := NewListener(hostnames...), NewStream(hostnames...)
	before, streamBefore := NewListener(), NewStream()
	chain.ApplyListener(web, []model.Attached{a})
	chain.ApplyListener(stream, []model.Attached{a})
	changed(t, out, "filterChain", web.Chain, before.Chain)
	changed(t, out, "tls", web.TLS, before.TLS)
	changed(t, out, "manager", web.Manager, before.Manager)
	changed(t, out, "streamFilterChain", stream.Chain, streamBefore.Chain)
	changed(t, out, "streamTLS", stream.TLS, streamBefore.TLS)
	changed(t, out, "proxy", stream.Proxy, streamBefore.Proxy)
	return out
}

func changed(t *testing.T, out map[string]any, name string, m, before proto.Message) {
	t.Helper()
	if !proto.Equal(m, before) {
		out[name] = jsonValue(t, m)
	}
}

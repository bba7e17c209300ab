package envoy

import (
	"fmt"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// What a listener does with slow and idle clients. Envoy's guide for edge proxies asks for all of these; Envoy itself
// leaves them off or far higher.
const (
	requestHeadersTimeout = 10 * time.Second
	clientHelloTimeout    = 10 * time.Second
	tlsHandshakeTimeout   = 10 * time.Second
	streamIdleTimeout     = 5 * time.Minute
	connectionIdleTimeout = time.Hour
)

// secretTimeout bounds how long a new listener waits for a certificate. Without it a listener, and with it all that
// are new, would wait for ever.
const secretTimeout = 5 * time.Second

// tableBody returns the RouteConfiguration of a route table without its virtual hosts. A port in the Host header is
// ignored when a host is looked up, and left alone otherwise.
func tableBody(
	key model.RouteTableKey, filters map[string]*anypb.Any, responseHeaders []*corev3.HeaderValueOption,
) []byte {
	return marshal(&routev3.RouteConfiguration{
		Name: key.String(), IgnorePortInHostMatching: true, TypedPerFilterConfig: filters,
		ResponseHeadersToAdd:           responseHeaders,
		MaxDirectResponseBodySizeBytes: wrapperspb.UInt32(feature.MaxDirectResponse),
	})
}

// ListenerName is the name of the Envoy listener of a port.
func ListenerName(key model.PortKey) string { return fmt.Sprintf("%s/%d", key.Transport, key.Port) }

// listenAddress is what the listener of a port binds to.
func listenAddress(bind string, port model.PortKey) *corev3.Address {
	out := socketAddress(bind, port.Port)
	out.GetSocketAddress().Ipv4Compat = bind == "::"
	if port.Transport == model.OverUDP {
		out.GetSocketAddress().Protocol = corev3.SocketAddress_UDP
	}
	return out
}

// listener returns the Envoy listener of a TCP port with the filter chains of its HTTP and HTTPS listeners. They hold
// nothing of the routes: a change to a filter chain drains its connections.
func listener(bind string, port model.Port, filters []*hcmv3.HttpFilter, shape shaper) *xds.Resource {
	out := &listenerv3.Listener{
		Name:                          ListenerName(port.Key),
		Address:                       listenAddress(bind, port.Key),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(bufferLimit),
		// The next connection is then for another thread, rather than all that wait for one.
		MaxConnectionsToAcceptPerSocketEvent: wrapperspb.UInt32(1),
	}
	r := &xds.Resource{Name: out.Name, Owners: sources(port)}
	switch port.Protocol {
	case model.HTTPS, model.TLS:
		out.ListenerFilters = []*listenerv3.ListenerFilter{{
			Name:       "envoy.filters.listener.tls_inspector",
			ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: toAny(&inspectorv3.TlsInspector{})},
		}}
		out.ListenerFiltersTimeout = durationpb.New(clientHelloTimeout)
		for i := range port.Listeners {
			if l := &port.Listeners[i]; l.Protocol == model.HTTPS {
				out.FilterChains = append(out.FilterChains, httpChain(model.HTTPSTable(port.Key, l.Key), l, filters, shape))
			}
		}
	case model.HTTP:
		out.FilterChains = []*listenerv3.FilterChain{
			httpChain(model.HTTPTable(port.Key), &port.Listeners[0], filters, shape),
		}
	}
	shape.port(&feature.Port{Proto: out})
	r.Body = marshal(out)
	r.Hash = hash(r.Body)
	return r
}

// httpChain is the filter chain of a route table: of all plain HTTP listeners of a port, or of one HTTPS listener,
// which SNI chooses.
func httpChain(
	table model.RouteTableKey, l *model.Listener, filters []*hcmv3.HttpFilter, shape shaper,
) *listenerv3.FilterChain {
	under := &feature.Listener{
		Chain: &listenerv3.FilterChain{Name: table.String()}, Manager: connectionManager(table, filters),
	}
	if table.Secure() {
		under.Chain.FilterChainMatch = &listenerv3.FilterChainMatch{TransportProtocol: "tls"}
		under.Chain.TransportSocketConnectTimeout = durationpb.New(tlsHandshakeTimeout)
		if l.Hostname != "" {
			under.Chain.FilterChainMatch.ServerNames = []string{l.Hostname}
		}
		under.TLS = downstreamTLS(l, []string{"h2", "http/1.1"})
	}
	if !shape.chain(l, under) && table.Secure() {
		under.Chain.Filters = append(under.Chain.Filters, refuseAll())
	}
	if under.TLS != nil {
		under.Chain.TransportSocket = tlsSocket(under.TLS)
	}
	under.Chain.Filters = append(under.Chain.Filters, managerFilter(under.Manager))
	return under.Chain
}

// managerFilter is the last filter of a chain for HTTP.
func managerFilter(manager *hcmv3.HttpConnectionManager) *listenerv3.Filter {
	return &listenerv3.Filter{
		Name:       "envoy.filters.network.http_connection_manager",
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: toAny(manager)},
	}
}

// refuseAll closes every connection: rules that allow nobody.
func refuseAll() *listenerv3.Filter {
	return &listenerv3.Filter{
		Name: "envoy.filters.network.rbac",
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: toAny(&rbacv3.RBAC{
			StatPrefix: "refused", Rules: &rbacconfigv3.RBAC{Action: rbacconfigv3.RBAC_ALLOW},
		})},
	}
}

// connectionManager is the HTTP connection manager that serves a route table.
func connectionManager(table model.RouteTableKey, filters []*hcmv3.HttpFilter) *hcmv3.HttpConnectionManager {
	hcm := &hcmv3.HttpConnectionManager{
		StatPrefix: fmt.Sprintf("port_%d", table.Port().Port),
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			RouteConfigName: table.String(), ConfigSource: ads(0),
		}},
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			IdleTimeout:                  durationpb.New(connectionIdleTimeout),
			HeadersWithUnderscoresAction: corev3.HttpProtocolOptions_REJECT_REQUEST,
		},
		Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
			MaxConcurrentStreams:        wrapperspb.UInt32(http2Streams),
			InitialStreamWindowSize:     wrapperspb.UInt32(http2StreamWindow),
			InitialConnectionWindowSize: wrapperspb.UInt32(http2ConnectionWindow),
		},
		RequestHeadersTimeout:        durationpb.New(requestHeadersTimeout),
		StreamIdleTimeout:            durationpb.New(streamIdleTimeout),
		UseRemoteAddress:             wrapperspb.Bool(true),
		NormalizePath:                wrapperspb.Bool(true),
		MergeSlashes:                 true,
		PathWithEscapedSlashesAction: hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT,
		ServerHeaderTransformation:   hcmv3.HttpConnectionManager_PASS_THROUGH,
		UpgradeConfigs:               []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
	}
	hcm.HttpFilters = append(slices.Clone(filters), routerFilter(&routerv3.Router{}))
	return hcm
}

// routerFilter is the filter that sends requests to backends.
func routerFilter(config *routerv3.Router) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: toAny(config)},
	}
}

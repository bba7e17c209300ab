// Package clienttimeout is the field timeout of a ClientTrafficPolicy: how long clients may take.
//
// http is for listeners that speak HTTP: requestReceivedTimeout is request_timeout of the connection manager,
// requestHeadersReceivedTimeout its request_headers_timeout, streamIdleTimeout its stream_idle_timeout, and
// idleTimeout the idle_timeout of its common_http_protocol_options. tcp.idleTimeout is idle_timeout of the proxies
// for TLSRoutes and TCPRoutes, tcp.tlsHandshakeTimeout transport_socket_connect_timeout of filter chains, of those
// for HTTPS too, and tcp.connectionInspectionTimeout listener_filters_timeout of the whole port: what it takes to
// tell for which listener a connection is, and to read a PROXY protocol header.
//
// A timeout of 0s is none. What is left out stays as it is without a policy: 10 s for the headers of a request, for a
// TLS handshake and for the inspection of a TLS connection, where Envoy Gateway has no limit, no limit, and 15 s; one
// hour for idle connections and five minutes for idle streams, as Envoy Gateway has it.
package clienttimeout

import (
	"fmt"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/duration"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field timeout.
type Feature struct{}

var (
	_ feature.Checker         = Feature{}
	_ feature.ListenerApplier = Feature{}
	_ feature.PortApplier     = Feature{}
)

// Name returns the name of the policy's field.
func (Feature) Name() string { return model.KindClientTrafficPolicy + ".timeout" }

// Check refuses what is no duration.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.ClientTimeout)
	var refused policy.Refusals
	if t := spec.TCP; t != nil {
		refused.Duration(".tcp.idleTimeout", t.IdleTimeout, 0)
		refused.Duration(".tcp.tlsHandshakeTimeout", t.TLSHandshakeTimeout, 0)
		refused.Duration(".tcp.connectionInspectionTimeout", t.ConnectionInspectionTimeout, 0)
	}
	if t := spec.HTTP; t != nil {
		refused.Duration(".http.requestReceivedTimeout", t.RequestReceivedTimeout, 0)
		refused.Duration(".http.requestHeadersReceivedTimeout", t.RequestHeadersReceivedTimeout, 0)
		refused.Duration(".http.idleTimeout", t.IdleTimeout, 0)
		refused.Duration(".http.streamIdleTimeout", t.StreamIdleTimeout, 0)
	}
	return refused
}

// ApplyListener sets the timeouts of one listener.
func (Feature) ApplyListener(l *feature.Listener, a model.Attached) {
	spec := a.Spec.(*egv1a1.ClientTimeout)
	if t := spec.TCP; t != nil {
		if l.Proxy != nil && t.IdleTimeout != nil {
			l.Proxy.IdleTimeout = policy.Duration(t.IdleTimeout)
		}
		if l.TLS != nil && t.TLSHandshakeTimeout != nil {
			l.Chain.TransportSocketConnectTimeout = policy.Duration(t.TLSHandshakeTimeout)
		}
	}
	if t := spec.HTTP; t != nil && l.Manager != nil {
		if t.RequestReceivedTimeout != nil {
			l.Manager.RequestTimeout = policy.Duration(t.RequestReceivedTimeout)
		}
		if t.RequestHeadersReceivedTimeout != nil {
			l.Manager.RequestHeadersTimeout = policy.Duration(t.RequestHeadersReceivedTimeout)
		}
		if t.IdleTimeout != nil {
			l.Manager.CommonHttpProtocolOptions.IdleTimeout = policy.Duration(t.IdleTimeout)
		}
		if t.StreamIdleTimeout != nil {
			l.Manager.StreamIdleTimeout = policy.Duration(t.StreamIdleTimeout)
		}
	}
}

// inspection is how long a connection may take before it is known which listener it is for, nil for nothing.
func inspection(a model.Attached) *gwv1.Duration {
	if t := a.Spec.(*egv1a1.ClientTimeout).TCP; t != nil {
		return t.ConnectionInspectionTimeout
	}
	return nil
}

// PortSettings returns the timeout of inspections.
func (Feature) PortSettings(a model.Attached) string {
	if d := inspection(a); d != nil {
		return fmt.Sprint(duration.MustParse(*d))
	}
	return ""
}

// ApplyPort sets the timeout of inspections.
func (Feature) ApplyPort(p *feature.Port, a model.Attached) {
	if d := inspection(a); d != nil {
		p.Proto.ListenerFiltersTimeout = policy.Duration(d)
	}
}

package clientconnection

import (
	"fmt"
	"slices"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	proxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// ProxyProtocol is the feature of the field proxyProtocol.
type ProxyProtocol struct{}

// EnableProxyProtocol is the feature of the deprecated field enableProxyProtocol.
type EnableProxyProtocol struct{}

var (
	_ feature.PortApplier = ProxyProtocol{}
	_ feature.PortApplier = EnableProxyProtocol{}
)

const proxyFilter = "envoy.filters.listener.proxy_protocol"

// Name returns the name of the policy's field.
func (ProxyProtocol) Name() string { return model.KindClientTrafficPolicy + ".proxyProtocol" }

// PortSettings returns whether the header has to be there.
func (ProxyProtocol) PortSettings(a model.Attached) string {
	return fmt.Sprintf("optional %t", policy.Or(a.Spec.(*egv1a1.ProxyProtocolSettings).Optional, false))
}

// ApplyPort has connections begin with a PROXY protocol header.
func (ProxyProtocol) ApplyPort(p *feature.Port, a model.Attached) {
	expectHeader(p, policy.Or(a.Spec.(*egv1a1.ProxyProtocolSettings).Optional, false))
}

// Name returns the name of the policy's field.
func (EnableProxyProtocol) Name() string {
	return model.KindClientTrafficPolicy + ".enableProxyProtocol"
}

// PortSettings returns whether there is a header.
func (EnableProxyProtocol) PortSettings(a model.Attached) string {
	if *a.Spec.(*bool) {
		return "enabled"
	}
	return ""
}

// ApplyPort has connections begin with a PROXY protocol header, unless proxyProtocol has said how.
func (EnableProxyProtocol) ApplyPort(p *feature.Port, a model.Attached) {
	there := func(f *listenerv3.ListenerFilter) bool { return f.GetName() == proxyFilter }
	if *a.Spec.(*bool) && !slices.ContainsFunc(p.Proto.ListenerFilters, there) {
		expectHeader(p, false)
	}
}

// expectHeader adds the filter before those that look at what comes behind the header.
func expectHeader(p *feature.Port, optional bool) {
	p.Proto.ListenerFilters = slices.Insert(p.Proto.ListenerFilters, 0, &listenerv3.ListenerFilter{
		Name: proxyFilter,
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: feature.Pack(&proxyv3.ProxyProtocol{
			AllowRequestsWithoutProxyProtocol: optional,
		})},
	})
}

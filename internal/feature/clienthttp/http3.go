package clienthttp

import (
	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// HTTP3 is the feature of the field http3.
type HTTP3 struct{}

var (
	_ feature.Checker         = HTTP3{}
	_ feature.ListenerChecker = HTTP3{}
	_ feature.QUICUser        = HTTP3{}
)

// noCertificates is why listeners that ask for certificates of clients are left to TCP.
const noCertificates = "Envoy cannot ask clients for certificates over QUIC, and here they show some: requests come " +
	"by HTTP/2 and HTTP/1.1 alone; remove http3, or ask for no certificates"

// Name returns the name of the policy's field.
func (HTTP3) Name() string { return model.KindClientTrafficPolicy + ".http3" }

// OverQUIC says that the listener is reached by QUIC too.
func (HTTP3) OverQUIC(model.Attached) bool { return true }

// Check refuses HTTP/3 beside what cannot be kept there: certificates of clients, versions of TLS before 1.3, and
// addresses of clients that a load balancer writes in front of a TCP connection.
func (HTTP3) Check(a model.Attached, rule *model.Rule) []feature.Problem {
	var refused policy.Refusals
	for _, b := range feature.Beside(a, rule) {
		switch spec := b.Spec.(type) {
		case *egv1a1.ClientTLSSettings:
			if spec.ClientValidation != nil {
				refused.Add("", noCertificates)
			}
			if v := policy.Or(spec.MaxVersion, egv1a1.TLSv13); v != egv1a1.TLSv13 && v != egv1a1.TLSAuto {
				refused.Add("", "QUIC has TLS 1.3 alone, and tls.maxVersion is %s: remove one of them", v)
			}
		case *egv1a1.ProxyProtocolSettings:
			if !policy.Or(spec.Optional, false) {
				refused.Add("", noAddresses)
			}
		case *bool:
			if b.Feature == model.KindClientTrafficPolicy+".enableProxyProtocol" && *spec {
				refused.Add("", noAddresses)
			}
		}
	}
	return refused
}

// noAddresses is why there is no HTTP/3 behind load balancers that speak the PROXY protocol.
const noAddresses = "There is no PROXY protocol for QUIC, so addresses of clients would be those of the load " +
	"balancer: remove http3 or proxyProtocol"

// CheckListener refuses listeners whose Gateway asks clients for certificates.
func (HTTP3) CheckListener(_ model.Attached, l *model.Listener, _ []string) []feature.Problem {
	var refused policy.Refusals
	if l.Clients != nil {
		refused.Add("", noCertificates)
	}
	return refused
}

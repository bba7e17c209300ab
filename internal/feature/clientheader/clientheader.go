// Package clientheader is the field headers of a ClientTrafficPolicy: what becomes of headers before a route is
// chosen, and of those of responses at the very end.
//
// earlyRequestHeaders is early_header_mutation_extensions of the connection manager, before routing and tracing;
// lateResponseHeaders is Envoy's header_mutation, the first filter and so the last to see a response. Both work in
// the order addIfAbsent, add, set, remove, removeOnMatch. xForwardedClientCert is forward_client_cert_details and
// set_current_client_cert_details, requestID generate_request_id and preserve_external_request_id (preserveXRequestID
// is PreserveOrGenerate), withUnderscoresAction headers_with_underscores_action, host.stripTrailingHostDot
// strip_trailing_host_dot. enableEnvoyHeaders: false is suppress_envoy_headers of the router.
//
// Defaults: x-forwarded-client-cert of clients is removed, requests with underscores in the name of a header are
// rejected, and X-Request-Id is made anew, as in Envoy Gateway. Unlike there, Envoy's own headers (x-envoy-*) are
// sent unless enableEnvoyHeaders is false: they say why a request failed.
package clientheader

import (
	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field headers.
type Feature struct{}

var (
	_ feature.Checker         = Feature{}
	_ feature.ListenerApplier = Feature{}
)

// Name returns the name of the policy's field.
func (Feature) Name() string { return model.KindClientTrafficPolicy + ".headers" }

var certificateModes = map[egv1a1.XFCCForwardMode]hcmv3.HttpConnectionManager_ForwardClientCertDetails{
	egv1a1.XFCCForwardModeSanitize:          hcmv3.HttpConnectionManager_SANITIZE,
	egv1a1.XFCCForwardModeForwardOnly:       hcmv3.HttpConnectionManager_FORWARD_ONLY,
	egv1a1.XFCCForwardModeAppendForward:     hcmv3.HttpConnectionManager_APPEND_FORWARD,
	egv1a1.XFCCForwardModeSanitizeSet:       hcmv3.HttpConnectionManager_SANITIZE_SET,
	egv1a1.XFCCForwardModeAlwaysForwardOnly: hcmv3.HttpConnectionManager_ALWAYS_FORWARD_ONLY,
}

var underscoreActions = map[egv1a1.WithUnderscoresAction]corev3.HttpProtocolOptions_HeadersWithUnderscoresAction{
	egv1a1.WithUnderscoresActionAllow:         corev3.HttpProtocolOptions_ALLOW,
	egv1a1.WithUnderscoresActionRejectRequest: corev3.HttpProtocolOptions_REJECT_REQUEST,
	egv1a1.WithUnderscoresActionDropHeader:    corev3.HttpProtocolOptions_DROP_HEADER,
}

// requestID is what becomes of X-Request-Id.
type requestID struct{ generate, preserve bool }

var requestIDs = map[egv1a1.RequestIDAction]requestID{
	egv1a1.RequestIDActionGenerate:           {generate: true},
	egv1a1.RequestIDActionPreserveOrGenerate: {generate: true, preserve: true},
	egv1a1.RequestIDActionPreserve:           {preserve: true},
	egv1a1.RequestIDActionDisable:            {},
}

// ApplyListener says what becomes of headers.
func (Feature) ApplyListener(l *feature.Listener, a model.Attached) {
	if l.Manager == nil {
		return
	}
	spec := a.Spec.(*egv1a1.HeaderSettings)
	if !policy.Or(spec.EnableEnvoyHeaders, true) {
		suppressOwn(l.Manager)
	}
	if spec.XForwardedClientCert != nil {
		forwardCertificate(l.Manager, spec.XForwardedClientCert)
	}
	if spec.WithUnderscoresAction != nil {
		l.Manager.CommonHttpProtocolOptions.HeadersWithUnderscoresAction = underscoreActions[*spec.WithUnderscoresAction]
	}
	if action := requestIDAction(spec); action != nil {
		l.Manager.GenerateRequestId = wrapperspb.Bool(requestIDs[*action].generate)
		l.Manager.PreserveExternalRequestId = requestIDs[*action].preserve
	}
	if spec.Host != nil {
		l.Manager.StripTrailingHostDot = policy.Or(spec.Host.StripTrailingHostDot, false)
	}
	edit(l.Manager, spec)
}

// requestIDAction is the action that the spec asks for, in either of two ways; nil for the default.
func requestIDAction(spec *egv1a1.HeaderSettings) *egv1a1.RequestIDAction {
	if spec.RequestID != nil {
		return spec.RequestID
	}
	//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
	if policy.Or(spec.PreserveXRequestID, false) {
		return new(egv1a1.RequestIDActionPreserveOrGenerate)
	}
	return nil
}

// suppressOwn has the router, which is the last filter, keep Envoy's own headers to itself.
func suppressOwn(m *hcmv3.HttpConnectionManager) {
	last := m.HttpFilters[len(m.HttpFilters)-1]
	router := &routerv3.Router{}
	if err := last.GetTypedConfig().UnmarshalTo(router); err != nil {
		panic("clientheader: the last filter is not the router: " + err.Error()) // a mistake in the program
	}
	router.SuppressEnvoyHeaders = true
	m.HttpFilters[len(m.HttpFilters)-1] = &hcmv3.HttpFilter{
		Name: last.GetName(), ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: feature.Pack(router)},
	}
}

// forwardCertificate says what backends are told of the certificate of a client. What is added of it is only added in
// modes that add something.
func forwardCertificate(m *hcmv3.HttpConnectionManager, spec *egv1a1.XForwardedClientCert) {
	m.ForwardClientCertDetails = certificateModes[policy.Or(spec.Mode, egv1a1.XFCCForwardModeSanitize)]
	if len(spec.CertDetailsToAdd) == 0 {
		return
	}
	details := &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{}
	for _, d := range spec.CertDetailsToAdd {
		switch d {
		case egv1a1.XFCCCertDataSubject:
			details.Subject = wrapperspb.Bool(true)
		case egv1a1.XFCCCertDataCert:
			details.Cert = true
		case egv1a1.XFCCCertDataChain:
			details.Chain = true
		case egv1a1.XFCCCertDataDNS:
			details.Dns = true
		case egv1a1.XFCCCertDataURI:
			details.Uri = true
		}
	}
	m.SetCurrentClientCertDetails = details
}

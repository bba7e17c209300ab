// Package clienttls is the field tls of a ClientTrafficPolicy: how listeners that end TLS speak it, and whom they let
// in.
//
// minVersion, maxVersion, ciphers, ecdhCurves and signatureAlgorithms are tls_params of the filter chain's TLS
// context, alpnProtocols its alpn_protocols, session.resumption switches its resumption of sessions on, and
// fingerprints the TLS inspector of the port: they are for logs and for backends (the operators TLS_JA3_FINGERPRINT
// and TLS_JA4_FINGERPRINT). For versions before 1.2 Envoy has no ciphers of its own; where none are named, those that
// they need are added.
//
// clientValidation is require_client_certificate and the validation context. Its CA certificates and revocation lists
// are served by SDS: new ones change no listener and cut no connection. It takes the place of what the Gateway says
// of clients in spec.tls.frontend.
//
// Defaults: TLS 1.2 to 1.3; h2 and http/1.1 with HTTP, no ALPN without; no resumption of sessions, in which Envoy
// would not look at the certificates of clients again. These are Envoy Gateway's.
//
// It guards: while it cannot be applied, nobody can connect.
package clienttls

import (
	"slices"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Feature is the feature of the field tls.
type Feature struct{}

var (
	_ feature.Checker         = Feature{}
	_ feature.Guard           = Feature{}
	_ feature.ListenerApplier = Feature{}
	_ feature.PortApplier     = Feature{}
	_ feature.Referrer        = Feature{}
)

// Name returns the name of the policy's field.
func (Feature) Name() string { return model.KindClientTrafficPolicy + ".tls" }

// Guards says that nobody gets by it.
func (Feature) Guards() {}

// References returns the CA certificates of clients, and what is revoked of these.
func (Feature) References(a model.Attached) []resolve.Reference {
	v := a.Spec.(*egv1a1.ClientTLSSettings).ClientValidation
	if v == nil {
		return nil
	}
	var out []resolve.Reference
	for i, ref := range v.CACertificateRefs {
		out = append(out, resolve.Reference{
			Path: at(a.Path+".clientValidation.caCertificateRefs", i), Authority: resolve.SecretReference(ref),
		})
	}
	if v.Crl != nil {
		for i, ref := range v.Crl.Refs {
			out = append(out, resolve.Reference{
				Path: at(a.Path+".clientValidation.crl.refs", i), Revoked: resolve.SecretReference(ref),
			})
		}
	}
	return out
}

var versions = map[egv1a1.TLSVersion]tlsv3.TlsParameters_TlsProtocol{
	egv1a1.TLSAuto: tlsv3.TlsParameters_TLS_AUTO,
	egv1a1.TLSv10:  tlsv3.TlsParameters_TLSv1_0,
	egv1a1.TLSv11:  tlsv3.TlsParameters_TLSv1_1,
	egv1a1.TLSv12:  tlsv3.TlsParameters_TLSv1_2,
	egv1a1.TLSv13:  tlsv3.TlsParameters_TLSv1_3,
}

// ApplyListener says how TLS is spoken.
func (Feature) ApplyListener(l *feature.Listener, a model.Attached) {
	if l.TLS == nil {
		return
	}
	spec := a.Spec.(*egv1a1.ClientTLSSettings)
	common := l.TLS.CommonTlsContext
	setParameters(common.TlsParams, &spec.TLSSettings)
	if spec.ALPNProtocols != nil { // an empty list is one, too: no ALPN
		common.AlpnProtocols = nil
		for _, p := range spec.ALPNProtocols {
			common.AlpnProtocols = append(common.AlpnProtocols, string(p))
		}
	}
	if spec.Session != nil && spec.Session.Resumption != nil {
		r := spec.Session.Resumption
		l.TLS.DisableStatefulSessionResumption = r.Stateful == nil
		l.TLS.SessionTicketKeysType = nil
		if r.Stateless == nil {
			l.TLS.SessionTicketKeysType = &tlsv3.DownstreamTlsContext_DisableStatelessSessionResumption{
				DisableStatelessSessionResumption: true,
			}
		}
	}
	if spec.ClientValidation != nil {
		validate(l.TLS, spec.ClientValidation, a.Trust)
	}
}

func setParameters(out *tlsv3.TlsParameters, spec *egv1a1.TLSSettings) {
	if spec.MinVersion != nil {
		out.TlsMinimumProtocolVersion = versions[*spec.MinVersion]
	}
	if spec.MaxVersion != nil {
		out.TlsMaximumProtocolVersion = versions[*spec.MaxVersion]
	}
	out.CipherSuites = spec.Ciphers
	if len(spec.Ciphers) == 0 && old(spec.MinVersion) {
		out.CipherSuites = slices.Concat(modernCiphers, oldCiphers)
	}
	out.EcdhCurves = spec.ECDHCurves
	out.SignatureAlgorithms = spec.SignatureAlgorithms
}

// old says whether a version is one that Envoy has no ciphers for by default.
func old(v *egv1a1.TLSVersion) bool { return v != nil && (*v == egv1a1.TLSv10 || *v == egv1a1.TLSv11) }

// validate has clients asked for a certificate.
func validate(tls *tlsv3.DownstreamTlsContext, spec *egv1a1.ClientValidationContext, trust model.Trust) {
	mode := modeOf(spec)
	required := mode == egv1a1.ClientValidationRequireAny || mode == egv1a1.ClientValidationRequireAndVerify
	tls.RequireClientCertificate = wrapperspb.Bool(required)
	context := &tlsv3.CertificateValidationContext{
		AllowExpiredCertificate:   spec.AllowExpiredCertificate != nil && *spec.AllowExpiredCertificate,
		VerifyCertificateSpki:     spec.SPKIHashes,
		VerifyCertificateHash:     spec.CertificateHashes,
		MatchTypedSubjectAltNames: names(spec.SubjectAltNames),
	}
	if spec.Crl != nil {
		context.OnlyVerifyLeafCertCrl = spec.Crl.OnlyVerifyLeafCertificate != nil && *spec.Crl.OnlyVerifyLeafCertificate
	}
	if !verifies(mode) {
		context.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
	}
	if trust == (model.Trust{}) {
		tls.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: context}
		return
	}
	tls.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_CombinedValidationContext{
		CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext: context, ValidationContextSdsSecretConfig: feature.TrustConfig(trust),
		},
	}
}

// modeOf is how a spec says that clients are validated, in either of two ways.
func modeOf(spec *egv1a1.ClientValidationContext) egv1a1.ClientValidationModeType {
	if spec.Mode != nil {
		return *spec.Mode
	}
	//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
	if spec.Optional {
		return egv1a1.ClientValidationVerifyIfGiven
	}
	return egv1a1.ClientValidationRequireAndVerify
}

// verifies says whether a certificate has to be valid, if there is one.
func verifies(mode egv1a1.ClientValidationModeType) bool {
	return mode == egv1a1.ClientValidationVerifyIfGiven || mode == egv1a1.ClientValidationRequireAndVerify
}

// PortSettings returns which fingerprints are taken.
func (Feature) PortSettings(a model.Attached) string {
	ja3, ja4 := fingerprints(a)
	switch {
	case ja3 && ja4:
		return "JA3 and JA4"
	case ja3:
		return "JA3"
	case ja4:
		return "JA4"
	}
	return ""
}

func fingerprints(a model.Attached) (ja3, ja4 bool) {
	list := a.Spec.(*egv1a1.ClientTLSSettings).Fingerprints
	return slices.Contains(list, egv1a1.TLSFingerprintTypeJA3), slices.Contains(list, egv1a1.TLSFingerprintTypeJA4)
}

// ApplyPort has the TLS inspector take fingerprints.
func (Feature) ApplyPort(p *feature.Port, a model.Attached) {
	ja3, ja4 := fingerprints(a)
	for _, f := range p.Proto.ListenerFilters {
		inspector := &inspectorv3.TlsInspector{}
		if f.GetTypedConfig().UnmarshalTo(inspector) != nil || !ja3 && !ja4 {
			continue // another filter
		}
		if ja3 {
			inspector.EnableJa3Fingerprinting = wrapperspb.Bool(true)
		}
		if ja4 {
			inspector.EnableJa4Fingerprinting = wrapperspb.Bool(true)
		}
		f.ConfigType = &listenerv3.ListenerFilter_TypedConfig{TypedConfig: feature.Pack(inspector)}
	}
}

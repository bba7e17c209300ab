package envoy

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// tlsParameters are the versions of TLS that are spoken on both sides: Envoy's own default towards backends stops
// at 1.2.
func tlsParameters() *tlsv3.TlsParameters {
	return &tlsv3.TlsParameters{
		TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2,
		TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
	}
}

// tlsSocket wraps a TLS context as a transport socket.
func tlsSocket(context proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: toAny(context)},
	}
}

// sds is the configuration of a secret that Envoy asks for by name.
func sds(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: ads(secretTimeout)}
}

// backendSocket is the transport socket of connections to a backend. CA certificates and the client certificate come by
// SDS, so that they can change without the cluster. Unless it is said, ALPN is left to Envoy, which offers the protocol
// of the connection pool that makes the connection, and none for TCP.
func backendSocket(b *model.BackendTLS, key model.BackendKey) *corev3.TransportSocket {
	options := b.Options.Or(key.Options).Settings()
	common := &tlsv3.CommonTlsContext{TlsParams: backendParameters(options), AlpnProtocols: options.ALPN}
	if !b.Insecure {
		common.ValidationContextType = &tlsv3.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext: &tlsv3.CertificateValidationContext{
					MatchTypedSubjectAltNames: subjectMatchers(b.Names),
				},
				ValidationContextSdsSecretConfig: feature.TrustConfig(b.Trust),
			},
		}
	}
	client := b.Client
	if client == (model.Name{}) {
		client = key.Client
	}
	if client != (model.Name{}) {
		common.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{sds(client.String())}
	}
	return tlsSocket(&tlsv3.UpstreamTlsContext{
		CommonTlsContext: common, Sni: b.SNI, AutoHostSni: b.Ask == model.AskEndpoint,
		AutoSniSanValidation: !b.Insecure && len(b.Names) == 0,
	})
}

// tlsVersions are those of Envoy by the names that [model.TLSSettings] has for them.
var tlsVersions = map[string]tlsv3.TlsParameters_TlsProtocol{
	"1.0": tlsv3.TlsParameters_TLSv1_0, "1.1": tlsv3.TlsParameters_TLSv1_1,
	"1.2": tlsv3.TlsParameters_TLSv1_2, "1.3": tlsv3.TlsParameters_TLSv1_3,
}

// backendParameters are the parameters of TLS with a backend.
func backendParameters(s model.TLSSettings) *tlsv3.TlsParameters {
	out := tlsParameters()
	if v, ok := tlsVersions[s.MinVersion]; ok {
		out.TlsMinimumProtocolVersion = v
	}
	if v, ok := tlsVersions[s.MaxVersion]; ok {
		out.TlsMaximumProtocolVersion = v
	}
	out.CipherSuites, out.EcdhCurves, out.SignatureAlgorithms = s.Ciphers, s.Curves, s.Signatures
	return out
}

// subjectMatchers say which names a certificate has to be for. Envoy lets a wildcard of the certificate stand for one
// label of an exact DNS name, as RFC 6125 has it.
func subjectMatchers(names []model.SubjectName) []*tlsv3.SubjectAltNameMatcher {
	out := make([]*tlsv3.SubjectAltNameMatcher, len(names))
	for i, n := range names {
		m := &tlsv3.SubjectAltNameMatcher{SanType: tlsv3.SubjectAltNameMatcher_DNS, Matcher: exactly(n.Value)}
		if n.URI {
			m.SanType = tlsv3.SubjectAltNameMatcher_URI
		} else if strings.HasPrefix(n.Value, "*.") {
			m.Matcher = &matcherv3.StringMatcher{
				MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: n.Value[1:]}, IgnoreCase: true,
			}
		}
		out[i] = m
	}
	return out
}

func exactly(value string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}}
}

// downstreamTLS is how a listener terminates TLS, with the application protocols that it offers by ALPN.
func downstreamTLS(l *model.Listener, alpn []string) *tlsv3.DownstreamTlsContext {
	tls := &tlsv3.DownstreamTlsContext{
		CommonTlsContext: &tlsv3.CommonTlsContext{TlsParams: tlsParameters(), AlpnProtocols: alpn},
		// A session that is resumed is not validated again: neither a client whose certificate has been revoked, nor
		// against the CA certificates of today.
		DisableStatefulSessionResumption: true,
		SessionTicketKeysType: &tlsv3.DownstreamTlsContext_DisableStatelessSessionResumption{
			DisableStatelessSessionResumption: true,
		},
	}
	for _, c := range l.Certificates {
		tls.CommonTlsContext.TlsCertificateSdsSecretConfigs = append(
			tls.CommonTlsContext.TlsCertificateSdsSecretConfigs, sds(c.String()))
	}
	validateClients(tls, l.Clients)
	return tls
}

// validateClients has an HTTPS listener ask clients for a certificate.
func validateClients(tls *tlsv3.DownstreamTlsContext, v *model.ClientValidation) {
	if v == nil {
		return
	}
	tls.RequireClientCertificate = wrapperspb.Bool(!v.Optional)
	if !v.Optional {
		tls.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{
			ValidationContextSdsSecretConfig: feature.TrustConfig(v.Trust),
		}
		return
	}
	tls.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_CombinedValidationContext{
		CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext: &tlsv3.CertificateValidationContext{
				TrustChainVerification: tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED,
			},
			ValidationContextSdsSecretConfig: feature.TrustConfig(v.Trust),
		},
	}
}

// authority returns the SDS resource of the CA certificates of a trust, with what is revoked of what they signed.
func authority(trust model.Trust, a resolve.Authority) *xds.Resource {
	source := inline(a.Bundle)
	if a.File != "" {
		source = &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: a.File}}
	}
	context := &tlsv3.CertificateValidationContext{TrustedCa: source}
	if len(a.Revoked) > 0 {
		context.Crl = inline(a.Revoked)
	}
	name := trust.String()
	body := marshal(&tlsv3.Secret{Name: name, Type: &tlsv3.Secret_ValidationContext{ValidationContext: context}})
	return &xds.Resource{
		Name: name, Body: body, Hash: hash(body), Owners: slices.Concat(trust.Bundles(), trust.Revoked()),
	}
}

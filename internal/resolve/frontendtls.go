package resolve

import (
	"fmt"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// eachValidation calls f for every configuration of client validation that a Gateway has, used or not.
func eachValidation(gw *gwv1.Gateway, f func(*gwv1.FrontendTLSValidation)) {
	if gw.Spec.TLS == nil || gw.Spec.TLS.Frontend == nil {
		return
	}
	frontend := gw.Spec.TLS.Frontend
	if frontend.Default.Validation != nil {
		f(frontend.Default.Validation)
	}
	for i := range frontend.PerPort {
		if v := frontend.PerPort[i].TLS.Validation; v != nil {
			f(v)
		}
	}
}

// validationOf returns the configuration of client validation for HTTPS on a port, and where it is written: that of
// the port or, if the port has none, the default. It is nil if clients are not asked for a certificate.
func validationOf(tls *gwv1.GatewayTLSConfig, port gwv1.PortNumber) (*gwv1.FrontendTLSValidation, string) {
	if tls == nil || tls.Frontend == nil {
		return nil, ""
	}
	frontend := tls.Frontend
	for i := range frontend.PerPort {
		if p := &frontend.PerPort[i]; p.Port == port {
			return p.TLS.Validation, fmt.Sprintf("spec.tls.frontend.perPort[%d].tls.validation", i)
		}
	}
	return frontend.Default.Validation, "spec.tls.frontend.default.validation"
}

// clients resolves how the listener validates clients. It is refused if no CA certificate is valid: nobody could be
// let in, and to let in everybody instead would open what was meant to be closed.
func (v *listenerResolver) clients() *model.ClientValidation {
	spec, path := validationOf(v.tls, v.spec.Port)
	if spec == nil {
		return nil
	}
	var bundles []model.Ref
	for i, ref := range spec.CACertificateRefs {
		to := bundleRef(ref, v.gateway.Namespace)
		if reason, message := v.authority(to); reason != "" {
			v.issueAt(status.ResolvedRefs, string(reason), fmt.Sprintf("%s.caCertificateRefs[%d]", path, i), message)
			continue
		}
		bundles = append(bundles, to)
	}
	if len(bundles) == 0 {
		v.issueAt(status.Accepted, string(gwv1.ListenerReasonNoValidCACertificate), path+".caCertificateRefs",
			"None of the CA certificates is valid, so no client could be validated")
		v.refused = true
		return nil
	}
	return &model.ClientValidation{
		Trust: model.TrustIn(bundles), Optional: spec.Mode == gwv1.AllowInsecureFallback,
	}
}

// authority returns why a caCertificateRef cannot be used, or no reason. Whether there is such an object in another
// namespace is said only to those who are granted it.
func (v *listenerResolver) authority(to model.Ref) (gwv1.ListenerConditionReason, string) {
	if !holdsBundles(to) {
		return gwv1.ListenerReasonInvalidCACertificateKind, wrongBundleKind(to)
	}
	// What has no namespace is there for everybody.
	if to.Namespace != "" && !v.t.granted(v.r, v.gateway, to) {
		return gwv1.ListenerReasonRefNotPermitted,
			v.t.unseen(v.r, to, fmt.Sprintf("No ReferenceGrant in namespace %s lets Gateways of namespace %s use %s",
				to.Namespace, v.gateway.Namespace, to))
	}
	if problem := v.t.bundleProblem(v.r, to); problem != "" {
		return gwv1.ListenerReasonInvalidCACertificateRef, problem
	}
	return "", ""
}

// insecureFallback says whether a Gateway lets in clients whose certificates are not valid, on some port.
func insecureFallback(gw *gwv1.Gateway) bool {
	insecure := false
	eachValidation(gw, func(v *gwv1.FrontendTLSValidation) {
		insecure = insecure || v.Mode == gwv1.AllowInsecureFallback
	})
	return insecure
}

// clientCertificate resolves how the Gateway connects to backends by TLS: the certificate of
// spec.tls.backend.clientCertificateRef or else of the EnvoyProxy (backendTLS), and the TLS of the EnvoyProxy. A
// certificate that cannot be used is an issue of the Gateway, which stays accepted; but it connects to no backend by
// TLS as somebody that it is not meant to be.
func (v *gatewayResolver) clientCertificate() model.ClientCertificate {
	var out model.ClientCertificate
	var ref *gwv1.SecretObjectReference
	from, path := v.ref, "spec.tls.backend.clientCertificateRef"
	if tls := v.gw.Spec.TLS; tls != nil && tls.Backend != nil {
		ref = tls.Backend.ClientCertificateRef
	}
	if spec := v.out.infra.Spec; spec != nil && spec.BackendTLS != nil {
		out.Options = tlsOptions(&spec.BackendTLS.TLSSettings, func(string, string) {}) // refused where it is written
		if ref == nil && spec.BackendTLS.ClientCertificateRef != nil {
			ref, from, path = spec.BackendTLS.ClientCertificateRef, v.out.infra.ClientSource, "spec.gatewayClassName"
			if v.gw.Spec.Infrastructure != nil && v.gw.Spec.Infrastructure.ParametersRef != nil {
				path = "spec.infrastructure.parametersRef"
			}
		}
	}
	if ref == nil {
		return out
	}
	to := secretRef(*ref, from.Namespace)
	reason, message := v.t.checkCertificate(v.r, from, to)
	if reason == "" {
		out.Secret = to.Name
		return out
	}
	if reason == gwv1.ListenerReasonInvalidCertificateRef {
		reason = gwv1.ListenerConditionReason(gwv1.GatewayReasonInvalidClientCertificateRef)
	}
	if from != v.ref {
		message = fmt.Sprintf("%s, spec.backendTLS.clientCertificateRef: %s", from, message)
	}
	v.issue(status.ResolvedRefs, string(reason), path, message+"; requests to backends by TLS fail")
	out.Broken = true
	return out
}

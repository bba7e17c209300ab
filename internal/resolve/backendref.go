package resolve

import (
	"fmt"
	"slices"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// appProtocols are the values of a Service port's appProtocol, in lower case, that Envoy can be told to speak: the
// Kubernetes ones (KEP-3726), Envoy Gateway's, and the IANA names in use.
var appProtocols = map[string]model.AppProtocol{
	"":                          model.AppHTTP,
	"http":                      model.AppHTTP,
	"kubernetes.io/h2c":         model.AppH2C,
	"gateway.envoyproxy.io/h2c": model.AppH2C,
	"h2c":                       model.AppH2C,
	"http2":                     model.AppH2C,
	"kubernetes.io/ws":          model.AppWS,
	"gateway.envoyproxy.io/ws":  model.AppWS,
	"ws":                        model.AppWS,
	"grpc":                      model.AppGRPC,
	"kubernetes.io/grpc":        model.AppGRPC,
	"https":                     model.AppHTTP,
	"kubernetes.io/wss":         model.AppWS,
	"gateway.envoyproxy.io/wss": model.AppWS,
	"wss":                       model.AppWS,
}

// secureProtocols are those of appProtocols that are spoken over TLS.
var secureProtocols = []string{"https", "kubernetes.io/wss", "gateway.envoyproxy.io/wss", "wss"}

// appProtocol returns what is spoken to a backend that asks for a protocol and is put to a use, and whether they go
// together.
func appProtocol(asked, use model.AppProtocol) (model.AppProtocol, bool) {
	if use != model.AppGRPC {
		return asked, true
	}
	switch asked {
	case model.AppHTTP:
		return model.AppGRPC, true
	case model.AppH2C, model.AppGRPC:
		return asked, true
	default:
		return asked, false
	}
}

// resolveBackend returns the backend that a reference means. If it cannot be used it notes why and returns the zero
// value. What another namespace holds is said only to those who are granted it.
func (v *routeResolver) resolveBackend(
	ref *gwv1.BackendObjectReference, use model.AppProtocol, path string,
) model.BackendKey {
	to := model.Ref{
		Group: string(deref(ref.Group, "")), Kind: string(deref(ref.Kind, model.KindService)),
		Name: model.Name{Namespace: string(deref(ref.Namespace, gwv1.Namespace(v.key.Namespace))), Name: string(ref.Name)},
	}
	refuse := func(reason, message string) model.BackendKey {
		v.issue(status.ResolvedRefs, reason, path, message)
		return model.BackendKey{}
	}
	isService := to.Group == model.GroupCore && to.Kind == model.KindService
	if !isService && (to.Group != model.GroupEnvoyGateway || to.Kind != model.KindBackend) {
		return refuse(status.ReasonInvalidKind, fmt.Sprintf(
			"%s of group %q cannot be a backend: use a Service, or a Backend of group %s",
			to.Kind, to.Group, model.GroupEnvoyGateway))
	}
	if !v.t.granted(v.r, v.key.Ref(), to) {
		return refuse(status.ReasonRefNotPermitted, fmt.Sprintf(
			"No ReferenceGrant in namespace %s lets a %s of namespace %s use %s", to.Namespace, v.key.Kind, v.key.Namespace, to))
	}
	key := model.BackendKey{Kind: to.Kind, Name: to.Name, Use: use}
	check := v.checkExternal
	if isService {
		if ref.Port == nil {
			return refuse(status.ReasonBackendNotFound, "The port is missing: it is required for a Service")
		}
		key.Port = uint16(*ref.Port) // 1 to 65535 by its schema
		check = v.checkService
	}
	v.out.Mentions = append(v.out.Mentions, key)
	if reason, message := check(key); reason != "" {
		return refuse(reason, message)
	}
	// The status of the policy says why: the reference itself is right. Of connections, it depends on the listener
	// whether the policy matters.
	if v.originatesTLS() && v.t.guarded(v.r, key).Broken {
		return model.BackendKey{}
	}
	return key
}

// checkService returns why the port of a Service cannot be used, or no reason.
func (v *routeResolver) checkService(key model.BackendKey) (reason, message string) {
	svc, ok := incr.Get(v.r, v.t.services, key.Name)
	if !ok {
		return status.ReasonBackendNotFound, fmt.Sprintf("%s does not exist", key.Ref())
	}
	if svc.External {
		return status.ReasonBackendNotFound, fmt.Sprintf(
			"%s is of type ExternalName, which is not supported: use a Backend with an fqdn endpoint", key.Ref())
	}
	transport := transportOf(key.Use)
	port, ok := svc.port(key.Port, transport)
	if !ok {
		return status.ReasonBackendNotFound, fmt.Sprintf("%s has no port %d", key.Ref(), key.Port)
	}
	asked, known := appProtocols[port.App]
	switch _, fits := appProtocol(asked, key.Use); {
	case port.Protocol != transport:
		return status.ReasonUnsupportedProtocol, fmt.Sprintf(
			"Port %d of %s is not a %s port", key.Port, key.Ref(), transport)
	case isStream(v.key.Kind):
		// Whatever the application speaks, its bytes are passed on.
	case !known:
		return status.ReasonUnsupportedProtocol, fmt.Sprintf(
			"The appProtocol %q of port %d of %s is not supported", port.App, key.Port, key.Ref())
	case !fits:
		return status.ReasonUnsupportedProtocol, fmt.Sprintf(
			"The appProtocol %q of port %d of %s cannot carry gRPC", port.App, key.Port, key.Ref())
	case v.originatesTLS() && slices.Contains(secureProtocols, port.App) && v.t.guarded(v.r, key) == (guard{}):
		return status.ReasonUnsupportedProtocol, fmt.Sprintf(
			"The appProtocol %q of port %d of %s needs TLS, but nothing says whom to trust: attach a BackendTLSPolicy to it",
			port.App, key.Port, key.Ref())
	}
	return "", ""
}

// originatesTLS says whether the proxy itself speaks the backend's protocol for routes of this kind: those of TCP may
// well carry the TLS of the client.
func (v *routeResolver) originatesTLS() bool {
	return v.key.Kind == model.KindHTTPRoute || v.key.Kind == model.KindGRPCRoute
}

// checkExternal returns why a Backend object cannot be used, or no reason.
func (v *routeResolver) checkExternal(key model.BackendKey) (reason, message string) {
	ext, ok := incr.Get(v.r, v.t.externals, key.Name)
	if !ok {
		return status.ReasonBackendNotFound, fmt.Sprintf("%s does not exist", key.Ref())
	}
	if len(ext.Report) > 0 {
		return status.ReasonBackendNotFound, fmt.Sprintf("%s is not valid: %s", key.Ref(), ext.Report.Message())
	}
	if key.Use == model.AppUDP && ext.Address != model.AddressIP {
		return status.ReasonUnsupportedProtocol, fmt.Sprintf(
			"The endpoints of %s are not IP addresses: UDP can be sent to nothing else", key.Ref())
	}
	if _, fits := appProtocol(ext.Protocol, key.Use); !fits {
		return status.ReasonUnsupportedProtocol, fmt.Sprintf("The appProtocols of %s cannot carry gRPC", key.Ref())
	}
	return "", ""
}

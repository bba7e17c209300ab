package resolve

import (
	"fmt"
	"slices"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
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

// resolveBackend returns the backend that a reference of the route means. If it cannot be used it notes why and returns
// the zero value.
func (v *routeResolver) resolveBackend(
	ref *gwv1.BackendObjectReference, use model.AppProtocol, path string,
) model.BackendKey {
	found := v.t.backendOf(v.r, v.key.Ref(), ref, use)
	if found.Mention != (model.BackendKey{}) {
		v.out.Mentions = append(v.out.Mentions, found.Mention)
	}
	if found.Reason != "" {
		v.issue(status.ResolvedRefs, found.Reason, path, found.Message)
	}
	return found.key()
}

// referral is what a reference to a backend comes to.
type referral struct {
	// Mention is the backend, whether or not it can be used; the zero value if it may not be referred to.
	Mention model.BackendKey
	// Reason is why it cannot be used, empty if it can. Message goes with it.
	Reason, Message string
	// Barred is set if a BackendTLSPolicy of the backend cannot be applied. The status of the policy says why: the
	// reference itself is right.
	Barred bool
}

// key returns the backend, the zero value if it cannot be used.
func (f referral) key() model.BackendKey {
	if f.Reason != "" || f.Barred {
		return model.BackendKey{}
	}
	return f.Mention
}

// backendOf returns the backend that a reference in the object from means. What another namespace holds is said only
// to those who are granted it.
func (t *Tables) backendOf(
	r *incr.Reader, from model.Ref, ref *gwv1.BackendObjectReference, use model.AppProtocol,
) referral {
	to := resource.Target(from.Namespace, ref)
	refuse := func(reason, format string, args ...any) referral {
		return referral{Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	check := t.backendCheck(to)
	if check == nil {
		return refuse(status.ReasonInvalidKind,
			"%s of group %q cannot be a backend: use a Service, a Backend of group %s, or an XBackend of group %s",
			to.Kind, to.Group, model.GroupEnvoyGateway, model.GroupGatewayX)
	}
	if !t.granted(r, from, to) {
		return refuse(status.ReasonRefNotPermitted, "%s", t.unseen(r, to,
			fmt.Sprintf("No ReferenceGrant in namespace %s lets a %s of namespace %s use %s",
				to.Namespace, from.Kind, from.Namespace, to)))
	}
	found := referral{Mention: model.BackendKey{Kind: to.Kind, Name: to.Name, Use: use}}
	if t.extends(to.Group, to.Kind) {
		found.Mention = model.ExtensionBackend(to, uint16(deref(ref.Port, 0)), use) // 1 to 65535 by its schema
	}
	if to.Kind == model.KindService {
		if ref.Port == nil {
			return refuse(status.ReasonBackendNotFound, "The port is missing: it is required for a Service")
		}
		found.Mention.Port = uint16(*ref.Port) // 1 to 65535 by its schema
	}
	found.Reason, found.Message = check(r, from, found.Mention)
	// Those of TCP may well carry the TLS of the client: it depends on the listener whether the policy matters.
	found.Barred = !isStream(from.Kind) && t.guarded(r, found.Mention).Broken
	return found
}

// backendCheck returns the function that says why a backend of a kind cannot be used by an object, or no reason; nil if
// the kind is none of backends.
func (t *Tables) backendCheck(to model.Ref) func(*incr.Reader, model.Ref, model.BackendKey) (reason, message string) {
	switch {
	case to.Group == model.GroupCore && to.Kind == model.KindService:
		return t.checkService
	case to.Group == model.GroupEnvoyGateway && to.Kind == model.KindBackend && t.opts.NoBackends:
		return refuseExternal
	case to.Group == model.GroupEnvoyGateway && to.Kind == model.KindBackend:
		return t.checkExternal
	case to.Group == model.GroupGatewayX && to.Kind == model.KindXBackend:
		return t.checkXBackend
	case t.extends(to.Group, to.Kind):
		return t.checkExtension
	}
	return nil
}

// checkService returns why the port of a Service cannot be used, or no reason.
func (t *Tables) checkService(r *incr.Reader, from model.Ref, key model.BackendKey) (reason, message string) {
	svc, ok := incr.Get(r, t.services, key.Name)
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
	if named, mixed := t.addressing(r, key.Name); mixed {
		return status.ReasonUnsupportedAddressType, fmt.Sprintf("The EndpointSlices of %s have host names (addressType "+
			"FQDN) and IP addresses: a Service can have one of them", key.Ref())
	} else if named && key.Use == model.AppUDP {
		return status.ReasonUnsupportedProtocol, fmt.Sprintf("The EndpointSlices of %s have host names (addressType FQDN): "+
			"UDP can be sent to nothing but IP addresses", key.Ref())
	}
	asked, known := appProtocols[port.App]
	switch _, fits := appProtocol(asked, key.Use); {
	case port.Protocol != transport:
		return status.ReasonUnsupportedProtocol, fmt.Sprintf(
			"Port %d of %s is not a %s port", key.Port, key.Ref(), transport)
	case isStream(from.Kind):
		// Whatever the application speaks, its bytes are passed on.
	case !known:
		return status.ReasonUnsupportedProtocol, fmt.Sprintf(
			"The appProtocol %q of port %d of %s is not supported", port.App, key.Port, key.Ref())
	case !fits:
		return status.ReasonUnsupportedProtocol, fmt.Sprintf(
			"The appProtocol %q of port %d of %s cannot carry gRPC", port.App, key.Port, key.Ref())
	case slices.Contains(secureProtocols, port.App) && t.guarded(r, key) == (guard{}):
		return status.ReasonUnsupportedProtocol, fmt.Sprintf(
			"The appProtocol %q of port %d of %s needs TLS, but nothing says whom to trust: attach a BackendTLSPolicy to it",
			port.App, key.Port, key.Ref())
	}
	return "", ""
}

// refuseExternal refuses a Backend object where they are switched off.
func refuseExternal(_ *incr.Reader, _ model.Ref, key model.BackendKey) (reason, message string) {
	return status.ReasonInvalidKind, fmt.Sprintf("%s cannot be used: Backends are switched off in the configuration file "+
		"of Sluice (extensionApis.enableBackend)", key.Ref())
}

// checkExternal returns why a Backend object cannot be used, or no reason.
func (t *Tables) checkExternal(r *incr.Reader, from model.Ref, key model.BackendKey) (reason, message string) {
	ext, ok := incr.Get(r, t.externals, key.Name)
	if !ok {
		return status.ReasonBackendNotFound, fmt.Sprintf("%s does not exist", key.Ref())
	}
	report, secured := ext.Report, t.guarded(r, key)
	if secured.Own && secured.Broken {
		report = slices.Concat(report, t.tlsReport(r, key))
	}
	if len(report) > 0 {
		return status.ReasonBackendNotFound, fmt.Sprintf("%s is not valid: %s", key.Ref(), report.Message())
	}
	if ext.Secure && secured == (guard{}) {
		return status.ReasonUnsupportedProtocol, fmt.Sprintf("The appProtocols of %s need TLS, but nothing says whom to "+
			"trust: set its spec.tls, or attach a BackendTLSPolicy to it", key.Ref())
	}
	if why := undirected(from.Kind); ext.Address == model.AddressDynamic && why != "" {
		return status.ReasonUnsupportedProtocol, fmt.Sprintf("%s is a dynamic resolver: %s", key.Ref(), why)
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

// undirected returns why an object of a kind cannot send anything to whom it is for, empty if it can.
func undirected(kind string) string {
	switch kind {
	case model.KindHTTPRoute, model.KindGRPCRoute, model.KindTLSRoute:
		return ""
	case model.KindTCPRoute, model.KindUDPRoute:
		return "nothing of a " + kind + " says to which host it wants. Use a TLSRoute, or a Backend with endpoints"
	default:
		return "only routes can send requests to the hosts that they are for. Use a Backend with endpoints"
	}
}

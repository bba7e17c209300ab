// Package model is the vocabulary between resolving what users wrote and building what Envoy runs: gateways,
// listeners, routes, backends and the configuration attached to them.
//
// Its types are values: once made they are never changed. It imports neither Kubernetes nor Envoy packages; what a
// user wrote for a feature travels through it as an opaque [Attached.Spec].
package model

import (
	"cmp"
	"strings"
)

// Name is the namespace and name of an object whose kind is known from the context. Namespace is empty for
// cluster-scoped kinds.
type Name struct {
	Namespace, Name string
}

// Compare orders names by namespace, then name, as the Gateway API breaks ties.
func (n Name) Compare(o Name) int {
	return cmp.Or(strings.Compare(n.Namespace, o.Namespace), strings.Compare(n.Name, o.Name))
}

// String returns namespace/name, or just the name without a namespace.
func (n Name) String() string {
	if n.Namespace == "" {
		return n.Name
	}
	return n.Namespace + "/" + n.Name
}

// Ref names an object of any kind.
type Ref struct {
	// Group is the API group, empty for the core group.
	Group string
	// Kind as in manifests, for example "HTTPRoute".
	Kind string
	Name
}

// Compare orders refs by group, kind, namespace and name.
func (r Ref) Compare(o Ref) int {
	return cmp.Or(strings.Compare(r.Group, o.Group), strings.Compare(r.Kind, o.Kind), r.Name.Compare(o.Name))
}

// String returns Kind/namespace/name, as status messages and logs name objects. The group is left out: no two kinds
// that Sluice reads share a name.
func (r Ref) String() string { return r.Kind + "/" + r.Name.String() }

// The kinds that the stages name in code.
const (
	KindGatewayClass          = "GatewayClass"
	KindGateway               = "Gateway"
	KindListenerSet           = "ListenerSet"
	KindHTTPRoute             = "HTTPRoute"
	KindGRPCRoute             = "GRPCRoute"
	KindTLSRoute              = "TLSRoute"
	KindTCPRoute              = "TCPRoute"
	KindUDPRoute              = "UDPRoute"
	KindReferenceGrant        = "ReferenceGrant"
	KindService               = "Service"
	KindEndpointSlice         = "EndpointSlice"
	KindSecret                = "Secret"
	KindConfigMap             = "ConfigMap"
	KindNamespace             = "Namespace"
	KindBackend               = "Backend"
	KindEnvoyProxy            = "EnvoyProxy"
	KindHTTPRouteFilter       = "HTTPRouteFilter"
	KindXBackend              = "XBackend"
	KindXBackendTrafficPolicy = "XBackendTrafficPolicy"
	KindXTelemetryPolicy      = "XTelemetryPolicy"
	KindPod                   = "Pod"
	KindClientTrafficPolicy   = "ClientTrafficPolicy"
	KindBackendTrafficPolicy  = "BackendTrafficPolicy"
	KindSecurityPolicy        = "SecurityPolicy"
	KindEnvoyExtensionPolicy  = "EnvoyExtensionPolicy"
	KindEnvoyPatchPolicy      = "EnvoyPatchPolicy"

	KindBackendTLSPolicy   = "BackendTLSPolicy"
	KindClusterTrustBundle = "ClusterTrustBundle"
)

// The API groups that the stages name in code.
const (
	GroupCore         = ""
	GroupDiscovery    = "discovery.k8s.io"
	GroupGateway      = "gateway.networking.k8s.io"
	GroupGatewayX     = "gateway.networking.x-k8s.io"
	GroupEnvoyGateway = "gateway.envoyproxy.io"
	GroupCertificates = "certificates.k8s.io"
)

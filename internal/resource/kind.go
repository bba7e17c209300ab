// Package resource knows the kinds of objects that Sluice reads: how they are named, which older versions are upgraded,
// how they are decoded, validated and defaulted, and the tables in which the engine keeps them.
//
// A new kind is one row of [Kinds].
package resource

import (
	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1a1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Object is an object of one of the kinds. Once stored it is never changed.
type Object interface {
	metav1.Object
	runtime.Object
}

// Kind is one row of the table of kinds.
type Kind struct {
	Group, Version, Kind string
	// Plural is the lower case plural, as in the name of the CRD.
	Plural string
	// Older are versions of the kind that have the same shape and are upgraded when read.
	Older []string
	// Cluster kinds have no namespace.
	Cluster bool
	// Builtin kinds are Kubernetes' own: they have no CRD, so nothing but their Go type to validate against.
	Builtin bool
	// Status says that Sluice reads the status of the kind, in files too: that of a Pod has its addresses.
	Status bool
	// Guards are the fields of its spec that keep requests away from backends. While an object with one of them cannot be
	// read, its targets are kept: see [Unreadable]. "*" is any field.
	Guards []string
	// Extension kinds are not for Sluice, but for an extension server: see [Extensions].
	Extension bool

	new     func() Object
	newList func() runtime.Object
	table   func(e *incr.Engine, name string) table
	// crd is nil for kinds without a schema.
	crd *crd
}

// New returns an empty object of the kind.
func (k *Kind) New() Object { return k.new() }

// Ref returns the reference of an object of the kind.
func (k *Kind) Ref(name model.Name) model.Ref {
	return model.Ref{Group: k.Group, Kind: k.Kind, Name: name}
}

// kind makes a row for the Go type T.
func kind[T any, P interface {
	*T
	Object
}](k Kind) Kind {
	k.new = func() Object { return P(new(T)) }
	k.newList = func() runtime.Object { return new(list[T, P]) }
	if !k.Builtin && !k.Extension {
		k.crd = new(crd)
	}
	k.table = func(e *incr.Engine, name string) table {
		return typed[P]{incr.NewInput[model.Name, P](e, name)}
	}
	return k
}

// Kinds is the table of kinds.
var Kinds = []Kind{
	kind[gwv1.GatewayClass](Kind{
		Group: model.GroupGateway, Version: "v1", Kind: model.KindGatewayClass, Plural: "gatewayclasses",
		Older: []string{"v1beta1"}, Cluster: true,
	}),
	kind[gwv1.Gateway](Kind{
		Group: model.GroupGateway, Version: "v1", Kind: model.KindGateway, Plural: "gateways",
		Older: []string{"v1beta1"},
	}),
	kind[gwv1.ListenerSet](Kind{
		Group: model.GroupGateway, Version: "v1", Kind: model.KindListenerSet, Plural: "listenersets",
	}),
	kind[gwv1.HTTPRoute](Kind{
		Group: model.GroupGateway, Version: "v1", Kind: model.KindHTTPRoute, Plural: "httproutes",
		Older: []string{"v1beta1"},
	}),
	kind[gwv1.GRPCRoute](Kind{
		Group: model.GroupGateway, Version: "v1", Kind: model.KindGRPCRoute, Plural: "grpcroutes",
		Older: []string{"v1alpha2"},
	}),
	kind[gwv1.TLSRoute](Kind{
		Group: model.GroupGateway, Version: "v1", Kind: model.KindTLSRoute, Plural: "tlsroutes",
		Older: []string{"v1alpha3", "v1alpha2"},
	}),
	kind[gwv1.TCPRoute](Kind{
		Group: model.GroupGateway, Version: "v1", Kind: model.KindTCPRoute, Plural: "tcproutes",
		Older: []string{"v1alpha2"},
	}),
	kind[gwv1.UDPRoute](Kind{
		Group: model.GroupGateway, Version: "v1", Kind: model.KindUDPRoute, Plural: "udproutes",
		Older: []string{"v1alpha2"},
	}),
	kind[gwv1.ReferenceGrant](Kind{
		Group: model.GroupGateway, Version: "v1", Kind: model.KindReferenceGrant, Plural: "referencegrants",
		Older: []string{"v1beta1", "v1alpha2"},
	}),
	kind[gwv1.BackendTLSPolicy](Kind{
		Group: model.GroupGateway, Version: "v1", Kind: model.KindBackendTLSPolicy, Plural: "backendtlspolicies",
		Older: []string{"v1alpha3"}, Guards: []string{anyField},
	}),
	kind[egv1a1.Backend](Kind{
		Group: model.GroupEnvoyGateway, Version: "v1alpha1", Kind: model.KindBackend, Plural: "backends",
	}),
	kind[egv1a1.EnvoyProxy](Kind{
		Group: model.GroupEnvoyGateway, Version: "v1alpha1", Kind: model.KindEnvoyProxy, Plural: "envoyproxies",
	}),
	kind[egv1a1.HTTPRouteFilter](Kind{
		Group: model.GroupEnvoyGateway, Version: "v1alpha1", Kind: model.KindHTTPRouteFilter, Plural: "httproutefilters",
	}),
	kind[egv1a1.ClientTrafficPolicy](Kind{
		Group: model.GroupEnvoyGateway, Version: "v1alpha1", Kind: model.KindClientTrafficPolicy,
		Plural: "clienttrafficpolicies", Guards: []string{"tls", "clientIPDetection"},
	}),
	kind[egv1a1.BackendTrafficPolicy](Kind{
		Group: model.GroupEnvoyGateway, Version: "v1alpha1", Kind: model.KindBackendTrafficPolicy,
		Plural: "backendtrafficpolicies", Guards: []string{"rateLimit"},
	}),
	kind[egv1a1.SecurityPolicy](Kind{
		Group: model.GroupEnvoyGateway, Version: "v1alpha1", Kind: model.KindSecurityPolicy, Plural: "securitypolicies",
		Guards: []string{anyField},
	}),
	kind[egv1a1.EnvoyExtensionPolicy](Kind{
		Group: model.GroupEnvoyGateway, Version: "v1alpha1", Kind: model.KindEnvoyExtensionPolicy,
		Plural: "envoyextensionpolicies", Guards: []string{anyField},
	}),
	kind[egv1a1.EnvoyPatchPolicy](Kind{
		Group: model.GroupEnvoyGateway, Version: "v1alpha1", Kind: model.KindEnvoyPatchPolicy,
		Plural: "envoypatchpolicies",
	}),
	kind[gwxv1a1.XBackendTrafficPolicy](Kind{
		Group: model.GroupGatewayX, Version: "v1alpha1", Kind: model.KindXBackendTrafficPolicy,
		Plural: "xbackendtrafficpolicies",
	}),
	kind[gwxv1a1.XTelemetryPolicy](Kind{
		Group: model.GroupGatewayX, Version: "v1alpha1", Kind: model.KindXTelemetryPolicy, Plural: "xtelemetrypolicies",
	}),
	kind[gwxv1a1.XBackend](Kind{
		Group: model.GroupGatewayX, Version: "v1alpha1", Kind: model.KindXBackend, Plural: "xbackends",
	}),
	kind[corev1.Service](Kind{Version: "v1", Kind: model.KindService, Plural: "services", Builtin: true}),
	kind[discoveryv1.EndpointSlice](Kind{
		Group: model.GroupDiscovery, Version: "v1", Kind: model.KindEndpointSlice, Plural: "endpointslices", Builtin: true,
	}),
	kind[corev1.Secret](Kind{Version: "v1", Kind: model.KindSecret, Plural: "secrets", Builtin: true}),
	kind[corev1.ConfigMap](Kind{Version: "v1", Kind: model.KindConfigMap, Plural: "configmaps", Builtin: true}),
	kind[certificatesv1.ClusterTrustBundle](Kind{
		Group: model.GroupCertificates, Version: "v1", Kind: model.KindClusterTrustBundle, Plural: "clustertrustbundles",
		Older: []string{"v1beta1", "v1alpha1"}, Cluster: true, Builtin: true,
	}),
	kind[corev1.Pod](Kind{Version: "v1", Kind: model.KindPod, Plural: "pods", Builtin: true, Status: true}),
	kind[corev1.Namespace](Kind{
		Version: "v1", Kind: model.KindNamespace, Plural: "namespaces", Cluster: true, Builtin: true,
	}),
}

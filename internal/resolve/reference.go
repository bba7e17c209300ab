package resolve

import (
	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
)

// Reference is a reference to something else inside of what a policy asks of a feature. One of Backend, URL, Object,
// Authority, Revoked and Fetch is set.
type Reference struct {
	// Path is the field of the reference: that of the [model.Attached] and what is inside of it,
	// "spec.extAuth.grpc.backendRefs[0]".
	Path string
	// Backend is what requests are sent to, spoken to as Use says.
	Backend *gwv1.BackendObjectReference
	Use     model.AppProtocol
	// Among is the field whose backends share the requests, if Backend is one of several; else empty.
	Among string
	// URL names a server that requests are sent to without a Backend, spoken to as Use says. If it is https, its
	// certificate has to be for the URL's host and signed by an authority that the proxy's system trusts. It counts as a
	// backend: its key is among the [model.Attached.Backends].
	URL string
	// Settings are those of connections to Backend or URL (backendSettings beside the reference), nil if there are none.
	Settings *egv1a1.ClusterSettings
	// Object is an object whose data is read.
	Object *ObjectReference
	// Authority is an object with CA certificates that are trusted, Revoked one with lists of the certificates that are
	// not, for all that.
	Authority, Revoked *ObjectReference
	// Fetch is something that is fetched from a server.
	Fetch *FetchReference
	// Optional says that the feature can do without: the status of the policy says that it cannot be used, and the
	// feature is given the zero value in its place. Else nothing of what the policy asks of the feature is applied.
	Optional bool
}

// ObjectReference names a Secret or ConfigMap or, for CA certificates, a ClusterTrustBundle.
type ObjectReference struct {
	// Group is empty for Secrets and ConfigMaps.
	Group string
	// Kind is that of the object, Secret if it is empty.
	Kind string
	// Namespace is that of the policy if it is empty.
	Namespace string
	Name      string
}

// LocalReference returns a reference of a policy to an object in its namespace. Where schemas of Envoy Gateway admit
// the group v1 they mean the core group, by the version that Secrets and ConfigMaps have in it.
func LocalReference(ref gwv1.LocalObjectReference) *ObjectReference {
	group := string(ref.Group)
	if group == "v1" {
		group = model.GroupCore
	}
	return &ObjectReference{Group: group, Kind: string(ref.Kind), Name: string(ref.Name)}
}

// SecretReference returns a reference to a Secret as the Gateway API writes it.
func SecretReference(ref gwv1.SecretObjectReference) *ObjectReference {
	out := &ObjectReference{Name: string(ref.Name)}
	if ref.Group != nil {
		out.Group = string(*ref.Group)
	}
	if ref.Kind != nil {
		out.Kind = string(*ref.Kind)
	}
	if ref.Namespace != nil {
		out.Namespace = string(*ref.Namespace)
	}
	return out
}

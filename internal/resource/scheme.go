package resource

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// list is what the API server returns for a list of objects of the Go type T.
type list[T any, P interface {
	*T
	Object
}] struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []T `json:"items"`
}

// DeepCopyObject implements [runtime.Object].
func (l *list[T, P]) DeepCopyObject() runtime.Object {
	out := &list[T, P]{TypeMeta: l.TypeMeta, Items: make([]T, 0, len(l.Items))}
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	for i := range l.Items {
		out.Items = append(out.Items, *P(&l.Items[i]).DeepCopyObject().(P))
	}
	return out
}

// NewScheme returns a scheme that decodes what the API server sends of all kinds, those for extension servers too, in
// all versions that are read: their older versions are decoded into the same Go types.
func NewScheme(extensions ...*Kind) (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	// These two have lists of their own, which can be sent as protobuf.
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("scheme: %w", err)
		}
	}
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	for _, k := range Extensions(extensions).All() {
		if k.Protobuf() {
			continue
		}
		for _, gv := range k.GroupVersions() {
			s.AddKnownTypeWithName(gv.WithKind(k.Kind), k.new())
			s.AddKnownTypeWithName(gv.WithKind(k.Kind+"List"), k.newList())
			metav1.AddToGroupVersion(s, gv)
		}
	}
	return s, nil
}

// Protobuf says whether the API server sends the kind as protobuf: it does so for those that are not custom resources,
// and it is done for those of which there are many.
func (k *Kind) Protobuf() bool {
	return k.Builtin && (k.Group == corev1.GroupName || k.Group == discoveryv1.GroupName)
}

// GroupVersions returns the versions in which the kind is read, the one that is preferred first.
func (k *Kind) GroupVersions() []schema.GroupVersion {
	out := []schema.GroupVersion{{Group: k.Group, Version: k.Version}}
	for _, v := range k.Older {
		out = append(out, schema.GroupVersion{Group: k.Group, Version: v})
	}
	return out
}

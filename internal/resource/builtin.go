package resource

import (
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sluice-gateway/sluice/internal/model"
)

// builtin is what the API server does with one of its own kinds. Their validation is not in a library, so the checks
// and defaults that Sluice depends on are here, in the API server's words.
type builtin struct {
	name validation.ValidateNameFunc
	// defaults fills in what is left out. It may be nil.
	defaults func(Object)
	// check validates the defaulted object. It may be nil.
	check func(Object) field.ErrorList
}

// on makes the functions of a builtin of functions of the kind's Go type.
func on[T Object](name validation.ValidateNameFunc, defaults func(T), check func(T) field.ErrorList) builtin {
	b := builtin{name: name}
	if defaults != nil {
		b.defaults = func(o Object) { defaults(o.(T)) }
	}
	if check != nil {
		b.check = func(o Object) field.ErrorList { return check(o.(T)) }
	}
	return b
}

var builtins = map[string]builtin{
	model.KindService:            on(validation.NameIsDNSLabel, defaultService, checkService),
	model.KindEndpointSlice:      on(validation.NameIsDNSSubdomain, defaultEndpointSlice, checkEndpointSlice),
	model.KindSecret:             on(validation.NameIsDNSSubdomain, defaultSecret, checkSecret),
	model.KindConfigMap:          on(validation.NameIsDNSSubdomain, nil, checkConfigMap),
	model.KindClusterTrustBundle: on(trustBundleName, nil, checkTrustBundle),
	model.KindPod:                on(validation.NameIsDNSSubdomain, nil, checkPod),
	model.KindNamespace:          on(validation.NameIsDNSLabel, defaultNamespace, nil),
}

// objectMeta returns the metadata of an object of a Builtin kind.
func objectMeta(obj Object) *metav1.ObjectMeta {
	switch o := obj.(type) {
	case *corev1.Service:
		return &o.ObjectMeta
	case *discoveryv1.EndpointSlice:
		return &o.ObjectMeta
	case *corev1.Secret:
		return &o.ObjectMeta
	case *corev1.ConfigMap:
		return &o.ObjectMeta
	case *certificatesv1.ClusterTrustBundle:
		return &o.ObjectMeta
	case *corev1.Pod:
		return &o.ObjectMeta
	case *corev1.Namespace:
		return &o.ObjectMeta
	}
	return &metav1.ObjectMeta{Name: obj.GetName(), Namespace: obj.GetNamespace()}
}

// builtin decodes an object of one of Kubernetes' own kinds.
func (d *decoder) builtin() {
	obj := d.kind.New()
	if !d.strict(d.obj, obj) {
		return
	}
	b := builtins[d.kind.Kind]
	name := b.name
	if name == nil {
		name = validation.NameIsDNSSubdomain
	}
	d.checkMeta(objectMeta(obj), name)
	if b.defaults != nil {
		b.defaults(obj)
	}
	if b.check != nil {
		d.invalid(b.check(obj))
	}
	d.out.Object = obj
}

// defaultNamespace labels a namespace with its name, as the API server does, for selectors to find it.
func defaultNamespace(ns *corev1.Namespace) {
	if ns.Labels == nil {
		ns.Labels = map[string]string{}
	}
	ns.Labels[corev1.LabelMetadataName] = ns.Name
}

package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// The labels and annotations of every object of a fleet.
const (
	labelManagedBy = "app.kubernetes.io/managed-by"
	managedBy      = "sluice"
	// labelInstallation is which installation of Sluice an object is of: it leaves those of others alone.
	labelInstallation = "sluice.dev/installation"
	// labelFleet is what Services and Deployments find their pods by. It never changes: a selector cannot be changed.
	labelFleet = model.LabelFleet
	// annotationProxy is the name of the proxy: that an object is ours, and whose.
	annotationProxy = "sluice.dev/proxy"
	// annotationHash is of the object as rendered: what it says is compared before anything is written.
	annotationHash = "sluice.dev/hash"
	// annotationConfig, on pods, is of the files that an Envoy reads when it starts: other files need other pods.
	annotationConfig = "sluice.dev/config"
)

// The labels that users of Envoy Gateway select the objects of a Gateway by.
const (
	labelOwningName      = "gateway.envoyproxy.io/owning-gateway-name"
	labelOwningNamespace = "gateway.envoyproxy.io/owning-gateway-namespace"
	labelOwningClass     = "gateway.envoyproxy.io/owning-gatewayclass"
	labelClassName       = "gateway.networking.k8s.io/gateway-class-name"
)

// renderer renders the objects of one fleet.
type renderer struct {
	fleet    *resolve.Fleet
	settings Settings
	// spec and provider are never nil.
	spec     *egv1a1.EnvoyProxySpec
	provider *egv1a1.EnvoyProxyKubernetesProvider
	drain    fleet.Drain
	// files are the contents of the ConfigMap.
	files map[string]string
}

// Render returns the objects of a fleet, but for the Secret with its certificate, in the order in which they are to be
// created. It returns an error, which says the field, if what the EnvoyProxy wants cannot be. The same fleet always
// gives the same objects.
func Render(f *resolve.Fleet, s Settings) ([]*unstructured.Unstructured, error) {
	r := &renderer{fleet: f, settings: s, spec: f.Spec, provider: &egv1a1.EnvoyProxyKubernetesProvider{}}
	if r.spec == nil {
		r.spec = &egv1a1.EnvoyProxySpec{}
	}
	if p := r.spec.Provider; p != nil && p.Kubernetes != nil {
		r.provider = p.Kubernetes
	}
	var err error
	if r.drain, err = fleet.DrainOf(r.spec, DefaultDrain); err != nil {
		return nil, err
	}
	if err := r.configure(); err != nil {
		return nil, err
	}
	parts := []func() ([]object, error){r.serviceAccount, r.configMap, r.workload, r.services, r.autoscaler, r.budget}
	var out []*unstructured.Unstructured
	for _, part := range parts {
		objects, err := part()
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			u, err := r.finish(o)
			if err != nil {
				return nil, err
			}
			out = append(out, u)
		}
	}
	return out, nil
}

// Check returns why no fleet can be made from an EnvoyProxy; nil if one can.
func Check(spec *egv1a1.EnvoyProxySpec) error {
	_, err := Render(&resolve.Fleet{
		Proxy: "namespace/gateway", Namespace: "namespace", Name: "gateway-class", Class: "class", Spec: spec,
		Owner:    resolve.Owner{Kind: model.KindGateway, Name: model.Name{Namespace: "namespace", Name: "gateway"}},
		Gateways: []model.Name{{Namespace: "namespace", Name: "gateway"}},
		Ports:    []resolve.FleetPort{{Port: 80, Protocol: "TCP"}},
	}, Settings{
		EnvoyImage: "envoy", SluiceImage: "sluice", Server: "sluice", Port: 1, Identity: "spiffe://sluice",
		Namespace: "namespace", Service: "sluice",
	})
	return err
}

// object is an object of a fleet before it has what all have.
type object interface {
	metav1.Object
	runtime.Object
}

// finish gives an object its namespace, owner and labels. A patch may have changed anything else.
func (r *renderer) finish(o object) (*unstructured.Unstructured, error) {
	kind := o.GetObjectKind().GroupVersionKind().Kind
	if errs := validation.IsDNS1123Subdomain(o.GetName()); len(errs) > 0 {
		return nil, fmt.Errorf("the name %q of the %s is not valid: %s", o.GetName(), kind, strings.Join(errs, "; "))
	}
	o.SetNamespace(r.fleet.Namespace)
	o.SetLabels(merged(r.fleet.Labels, o.GetLabels(), r.labels()))
	o.SetAnnotations(merged(r.fleet.Annotations, o.GetAnnotations(), map[string]string{
		annotationProxy: string(r.fleet.Proxy),
	}))
	if r.fleet.Owner.UID != "" {
		o.SetOwnerReferences([]metav1.OwnerReference{{
			APIVersion: gwv1.GroupVersion.String(), Kind: r.fleet.Owner.Kind, Name: r.fleet.Owner.Name.Name,
			UID: r.fleet.Owner.UID,
		}})
	}
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", kind, o.GetName(), err)
	}
	out := &unstructured.Unstructured{Object: raw}
	delete(out.Object, "status")
	unstructured.RemoveNestedField(out.Object, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(out.Object, "spec", "template", "metadata", "creationTimestamp")
	return stamp(out)
}

// stamp adds the hash of the object to it.
func stamp(o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	raw, err := json.Marshal(o.Object)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
	}
	o.SetAnnotations(merged(o.GetAnnotations(), map[string]string{annotationHash: hash(raw)}))
	return o, nil
}

func hash(data []byte) string { return fmt.Sprintf("%016x", xxhash.Sum64(data)) }

// labels are those that every object has, whatever the user says.
func (r *renderer) labels() map[string]string {
	out := map[string]string{
		"app.kubernetes.io/name": "envoy", "app.kubernetes.io/component": "proxy", labelManagedBy: managedBy,
		labelInstallation: r.settings.installation(), labelFleet: r.fleet.Name, labelClassName: labelValue(r.fleet.Class),
	}
	if r.fleet.Owner.Kind == model.KindGateway {
		out[gwv1.GatewayNameLabelKey] = labelValue(r.fleet.Owner.Name.Name)
		out[labelOwningName] = labelValue(r.fleet.Owner.Name.Name)
		out[labelOwningNamespace] = r.fleet.Owner.Namespace
	} else {
		out[labelOwningClass] = labelValue(r.fleet.Class)
	}
	return out
}

// selector is what the pods of the fleet are found by.
func (r *renderer) selector() map[string]string {
	return map[string]string{labelManagedBy: managedBy, labelFleet: r.fleet.Name}
}

// labelValue is a name as the value of a label, which is at most 63 characters long.
func labelValue(name string) string {
	if len(name) <= validation.LabelValueMaxLength {
		return name
	}
	sum := hash([]byte(name))
	return strings.TrimRight(name[:validation.LabelValueMaxLength-len(sum)-1], "-.") + "-" + sum
}

// merged returns a new map with what is in all, the last of them first.
func merged(all ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range all {
		maps.Copy(out, m)
	}
	return out
}

func (r *renderer) name(own *string) string {
	if own != nil && *own != "" {
		return *own
	}
	return r.fleet.Name
}

func (r *renderer) meta(own *string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: r.name(own)} }

func typeMeta(version, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: version, Kind: kind}
}

var errNoPorts = errors.New("the fleet has no port")

// sortedKeys returns the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

package resolve

import (
	"reflect"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
)

// envoyPolicy is what the policies of Envoy Gateway of all kinds have in common. Its spec is opaque: each field of it
// is for the feature that is named after it.
type envoyPolicy struct {
	Meta *metav1.ObjectMeta
	// Targets is nil for an EnvoyProxy, which others refer to.
	Targets *egv1a1.PolicyTargetReferences
	// Merge is how it is merged with the policy of the listener; empty if it takes its place.
	Merge egv1a1.MergeType
	// Spec is a pointer to the struct.
	Spec any
}

// unreadable says that nothing of the policy can be applied, but that it guards its targets.
func (p *envoyPolicy) unreadable() bool { return p.Meta != nil && resource.Unreadable(p.Meta) }

// routePolicyKinds are the kinds that can be attached to routes, in the order in which they are applied.
var routePolicyKinds = []string{
	model.KindBackendTrafficPolicy, model.KindSecurityPolicy, model.KindEnvoyExtensionPolicy,
}

// newSpec returns an empty spec of a kind of policy that can be merged.
func newSpec(kind string) any {
	switch kind {
	case model.KindBackendTrafficPolicy:
		return &egv1a1.BackendTrafficPolicySpec{}
	case model.KindSecurityPolicy:
		return &egv1a1.SecurityPolicySpec{}
	case model.KindEnvoyProxy:
		return &egv1a1.EnvoyProxySpec{}
	default:
		return &egv1a1.EnvoyExtensionPolicySpec{}
	}
}

func envoyPolicyRef(kind string, name model.Name) model.Ref {
	return model.Ref{Group: model.GroupEnvoyGateway, Kind: kind, Name: name}
}

// envoyPolicy returns the policy of a reference.
func (t *Tables) envoyPolicy(r *incr.Reader, ref model.Ref) (envoyPolicy, bool) {
	switch ref.Kind {
	case model.KindClientTrafficPolicy:
		p, ok := incr.Get(r, t.in.clientTraffic, ref.Name)
		if !ok {
			return envoyPolicy{}, false
		}
		return envoyPolicy{Meta: &p.ObjectMeta, Targets: &p.Spec.PolicyTargetReferences, Spec: &p.Spec}, true
	case model.KindBackendTrafficPolicy:
		p, ok := incr.Get(r, t.in.envoyTraffic, ref.Name)
		if !ok {
			return envoyPolicy{}, false
		}
		return envoyPolicy{&p.ObjectMeta, &p.Spec.PolicyTargetReferences, mergeType(p.Spec.MergeType), &p.Spec}, true
	case model.KindSecurityPolicy:
		p, ok := incr.Get(r, t.in.security, ref.Name)
		if !ok {
			return envoyPolicy{}, false
		}
		return envoyPolicy{&p.ObjectMeta, &p.Spec.PolicyTargetReferences, mergeType(p.Spec.MergeType), &p.Spec}, true
	case model.KindEnvoyExtensionPolicy:
		p, ok := incr.Get(r, t.in.extensions, ref.Name)
		if !ok {
			return envoyPolicy{}, false
		}
		return envoyPolicy{&p.ObjectMeta, &p.Spec.PolicyTargetReferences, mergeType(p.Spec.MergeType), &p.Spec}, true
	case model.KindEnvoyProxy:
		p, ok := incr.Get(r, t.in.envoyProxies, ref.Name)
		if !ok {
			return envoyPolicy{}, false
		}
		return envoyPolicy{Meta: &p.ObjectMeta, Merge: mergeType(p.Spec.MergeType), Spec: &p.Spec}, true
	default:
		return envoyPolicy{}, false
	}
}

// mergeType is how a policy is merged: Replace is the same as nothing.
func mergeType(t *egv1a1.MergeType) egv1a1.MergeType {
	if m := deref(t, egv1a1.Replace); m != egv1a1.Replace {
		return m
	}
	return ""
}

// asked is a field of a policy that is set.
type asked struct {
	// Name is that in manifests.
	Name string
	// Value is what is written there: a pointer, or a slice.
	Value any
}

// takeApart returns the fields of a spec that are set and say what is to be done, rather than to what, in the
// order of the type. Structs that are inlined are taken apart too. Of an EnvoyProxy these are routingType and the
// fields of telemetry: the others are for what runs the Envoys.
func takeApart(spec any) []asked {
	proxy, ok := spec.(*egv1a1.EnvoyProxySpec)
	if !ok {
		return appendAsked(nil, reflect.ValueOf(spec).Elem())
	}
	var out []asked
	if proxy.RoutingType != nil {
		out = append(out, asked{Name: "routingType", Value: proxy.RoutingType})
	}
	if proxy.Telemetry == nil {
		return out
	}
	for _, field := range appendAsked(nil, reflect.ValueOf(proxy.Telemetry).Elem()) {
		out = append(out, asked{Name: "telemetry." + field.Name, Value: field.Value})
	}
	return out
}

func appendAsked(out []asked, v reflect.Value) []asked {
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Type == reflect.TypeFor[egv1a1.PolicyTargetReferences](),
			field.Type == reflect.TypeFor[*egv1a1.MergeType]():
		case field.Anonymous && name == "":
			out = appendAsked(out, value)
		case value.IsZero(), value.Kind() == reflect.Slice && value.Len() == 0:
		case value.Kind() == reflect.Pointer || value.Kind() == reflect.Slice:
			out = append(out, asked{Name: name, Value: value.Interface()})
		default:
			out = append(out, asked{Name: name, Value: value.Addr().Interface()})
		}
	}
	return out
}

// featureOf is the name of the feature that a field of a kind of policy is for.
func featureOf(kind, field string) string { return kind + "." + field }

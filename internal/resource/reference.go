package resource

import (
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
)

// BackendRef is what a reference of a route to a backend means.
type BackendRef struct {
	To model.Ref
	// Port is the port of a Service, 0 if none is given.
	Port uint16
}

// Target returns what a reference to a backend means in an object of a namespace: what it leaves out stands for a
// Service of that namespace.
func Target(namespace string, ref *gwv1.BackendObjectReference) model.Ref {
	to := model.Ref{Kind: model.KindService, Name: model.Name{Namespace: namespace, Name: string(ref.Name)}}
	if ref.Group != nil {
		to.Group = string(*ref.Group)
	}
	if ref.Kind != nil {
		to.Kind = string(*ref.Kind)
	}
	if ref.Namespace != nil {
		to.Namespace = string(*ref.Namespace)
	}
	return to
}

// BackendRefs returns what the rules of a route and their filters refer to as backends, in the order in which they are
// written. Objects of other kinds have none.
func BackendRefs(obj Object) []BackendRef {
	switch r := obj.(type) {
	case *gwv1.HTTPRoute:
		return httpBackendRefs(r)
	case *gwv1.GRPCRoute:
		return grpcBackendRefs(r)
	case *gwv1.TLSRoute:
		return streamBackendRefs(r.Namespace, r.Spec.Rules,
			func(rule *gwv1.TLSRouteRule) []gwv1.BackendRef { return rule.BackendRefs })
	case *gwv1.TCPRoute:
		return streamBackendRefs(r.Namespace, r.Spec.Rules,
			func(rule *gwv1.TCPRouteRule) []gwv1.BackendRef { return rule.BackendRefs })
	case *gwv1.UDPRoute:
		return streamBackendRefs(r.Namespace, r.Spec.Rules,
			func(rule *gwv1.UDPRouteRule) []gwv1.BackendRef { return rule.BackendRefs })
	}
	return nil
}

// backendRefs gathers the references of an object of a namespace.
type backendRefs struct {
	namespace string
	all       []BackendRef
}

func (b *backendRefs) add(ref *gwv1.BackendObjectReference) {
	out := BackendRef{To: Target(b.namespace, ref)}
	if ref.Port != nil {
		out.Port = uint16(*ref.Port) //nolint:gosec // 1 to 65535 by its schema
	}
	b.all = append(b.all, out)
}

func httpBackendRefs(r *gwv1.HTTPRoute) []BackendRef {
	out := backendRefs{namespace: r.Namespace}
	filters := func(list []gwv1.HTTPRouteFilter) {
		for i := range list {
			if f := list[i].RequestMirror; f != nil {
				out.add(&f.BackendRef)
			}
			if f := list[i].ExternalAuth; f != nil {
				out.add(&f.BackendRef)
			}
		}
	}
	for i := range r.Spec.Rules {
		rule := &r.Spec.Rules[i]
		filters(rule.Filters)
		for j := range rule.BackendRefs {
			out.add(&rule.BackendRefs[j].BackendObjectReference)
			filters(rule.BackendRefs[j].Filters)
		}
	}
	return out.all
}

func grpcBackendRefs(r *gwv1.GRPCRoute) []BackendRef {
	out := backendRefs{namespace: r.Namespace}
	filters := func(list []gwv1.GRPCRouteFilter) {
		for i := range list {
			if f := list[i].RequestMirror; f != nil {
				out.add(&f.BackendRef)
			}
		}
	}
	for i := range r.Spec.Rules {
		rule := &r.Spec.Rules[i]
		filters(rule.Filters)
		for j := range rule.BackendRefs {
			out.add(&rule.BackendRefs[j].BackendObjectReference)
			filters(rule.BackendRefs[j].Filters)
		}
	}
	return out.all
}

func streamBackendRefs[R any](namespace string, rules []R, refs func(*R) []gwv1.BackendRef) []BackendRef {
	out := backendRefs{namespace: namespace}
	for i := range rules {
		list := refs(&rules[i])
		for j := range list {
			out.add(&list[j].BackendObjectReference)
		}
	}
	return out.all
}

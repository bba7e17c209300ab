package resolve

import (
	"fmt"
	"regexp"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
)

// grpcRules resolves the rules of a GRPCRoute.
func (v *routeResolver) grpcRules(specs []gwv1.GRPCRouteRule) []model.Rule {
	return v.eachRule(len(specs), func(i int, rule *ruleBuilder) {
		spec := &specs[i]
		rule.Name = string(deref(spec.Name, ""))
		rule.matches(eachMatch(v, spec.Matches, (*matchResolver).grpcMatch))
		for j, f := range filters(spec.Filters, grpcFilter) {
			rule.filter(f, j)
		}
		for j := range spec.BackendRefs {
			ref := &spec.BackendRefs[j]
			rule.backend(&ref.BackendRef, filters(ref.Filters, grpcFilter), j)
		}
		//lint:ignore SA1019 deprecated in favour of a kind without conformance tests, but still what routes are written with
		attach(rule, "SessionPersistence", spec.SessionPersistence, ".sessionPersistence")
	})
}

func (v *matchResolver) grpcMatch(spec *gwv1.GRPCRouteMatch) model.Match {
	m := model.Match{Path: v.grpcMethod(spec.Method)}
	for i, h := range spec.Headers {
		name := strings.ToLower(string(h.Name))
		if hasName(m.Headers, name) {
			continue
		}
		value := v.value(fmt.Sprintf(".headers[%d]", i), string(deref(h.Type, gwv1.GRPCHeaderMatchExact)), h.Value)
		m.Headers = named(m.Headers, model.NamedMatch{Name: name, ValueMatch: value})
	}
	return m
}

// grpcMethod turns service and method into the path of the request, which is /service/method.
func (v *matchResolver) grpcMethod(spec *gwv1.GRPCMethodMatch) model.ValueMatch {
	if spec == nil {
		return everyPath
	}
	service, method := deref(spec.Service, ""), deref(spec.Method, "")
	switch typ := deref(spec.Type, gwv1.GRPCMethodMatchExact); typ {
	case gwv1.GRPCMethodMatchExact:
		switch {
		case service != "" && method != "":
			return model.ValueMatch{Type: model.Exact, Value: "/" + service + "/" + method}
		case service != "":
			return prefix("/" + service)
		case method != "":
			return model.ValueMatch{Type: model.Regex, Value: "/[^/]+/" + regexp.QuoteMeta(method)}
		}
	case gwv1.GRPCMethodMatchRegularExpression:
		if service != "" || method != "" {
			expr := "/" + v.element(".method.service", service) + "/" + v.element(".method.method", method)
			if !v.broken {
				v.regex(".method", expr)
			}
			return model.ValueMatch{Type: model.Regex, Value: expr}
		}
	default:
		v.refuse(".method.type", fmt.Sprintf("%q is not known: use Exact or RegularExpression", typ))
	}
	return everyPath
}

// element returns the expression of one element of the path. Each is checked by itself, so that none can close the
// group it is put in.
func (v *matchResolver) element(path, expr string) string {
	if expr == "" {
		return "[^/]+"
	}
	v.regex(path, expr)
	return "(?:" + expr + ")"
}

func grpcFilter(f *gwv1.GRPCRouteFilter) filter {
	out := filter{Type: string(f.Type)}
	switch f.Type {
	case gwv1.GRPCRouteFilterRequestHeaderModifier:
		out.Spec = some(f.RequestHeaderModifier)
	case gwv1.GRPCRouteFilterResponseHeaderModifier:
		out.Spec = some(f.ResponseHeaderModifier)
	case gwv1.GRPCRouteFilterRequestMirror:
		mirror(&out, f.RequestMirror)
	case gwv1.GRPCRouteFilterExtensionRef:
		out.Spec, out.Extension = some(f.ExtensionRef), f.ExtensionRef
	default:
		out.Unknown = true
	}
	return out
}

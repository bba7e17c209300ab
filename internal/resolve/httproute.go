package resolve

import (
	"fmt"
	"slices"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

var methods = []gwv1.HTTPMethod{
	gwv1.HTTPMethodGet, gwv1.HTTPMethodHead, gwv1.HTTPMethodPost, gwv1.HTTPMethodPut, gwv1.HTTPMethodDelete,
	gwv1.HTTPMethodConnect, gwv1.HTTPMethodOptions, gwv1.HTTPMethodTrace, gwv1.HTTPMethodPatch,
}

// httpRules resolves the rules of an HTTPRoute.
func (v *routeResolver) httpRules(specs []gwv1.HTTPRouteRule) []model.Rule {
	return v.eachRule(len(specs), func(i int, rule *ruleBuilder) {
		spec := &specs[i]
		rule.Name = string(deref(spec.Name, ""))
		rule.matches(eachMatch(v, spec.Matches, (*matchResolver).httpMatch))
		for j, f := range filters(spec.Filters, httpFilter) {
			rule.filter(f, j)
		}
		for j := range spec.BackendRefs {
			ref := &spec.BackendRefs[j]
			rule.backend(&ref.BackendRef, filters(ref.Filters, httpFilter), j)
		}
		attach(rule, "Timeouts", spec.Timeouts, ".timeouts")
		attach(rule, "Retry", spec.Retry, ".retry")
		//lint:ignore SA1019 deprecated in favour of a kind without conformance tests, but still what routes are written with
		attach(rule, "SessionPersistence", spec.SessionPersistence, ".sessionPersistence")
	})
}

// eachRule resolves the n rules of a route of any kind, one by one. A rule of which no match can be expressed is left
// out: it matches nothing.
func (v *routeResolver) eachRule(n int, resolve func(i int, rule *ruleBuilder)) []model.Rule {
	out := make([]model.Rule, 0, n)
	for i := range n {
		v.rule = i
		rule := ruleBuilder{routeResolver: v, path: fmt.Sprintf("spec.rules[%d]", i)}
		rule.Index, rule.GRPC = i, v.key.Kind == model.KindGRPCRoute
		resolve(i, &rule)
		if len(rule.Matches) > 0 {
			out = append(out, rule.finish())
		}
	}
	return out
}

// filters are the filters of one kind of route in the form of all.
func filters[F any](specs []F, one func(*F) filter) []filter {
	out := make([]filter, 0, len(specs))
	for i := range specs {
		out = append(out, one(&specs[i]))
	}
	return out
}

func (v *matchResolver) httpMatch(spec *gwv1.HTTPRouteMatch) model.Match {
	m := model.Match{Path: v.httpPath(spec.Path)}
	if method := deref(spec.Method, ""); method != "" {
		if !slices.Contains(methods, method) {
			v.refuse(".method", fmt.Sprintf("%q is not an HTTP method that can be matched", method))
		}
		m.Method = string(method)
	}
	for i, h := range spec.Headers {
		name := strings.ToLower(string(h.Name))
		if hasName(m.Headers, name) {
			continue
		}
		value := v.value(fmt.Sprintf(".headers[%d]", i), string(deref(h.Type, gwv1.HeaderMatchExact)), h.Value)
		m.Headers = named(m.Headers, model.NamedMatch{Name: name, ValueMatch: value})
	}
	for i, q := range spec.QueryParams {
		if hasName(m.Query, string(q.Name)) {
			continue
		}
		value := v.value(fmt.Sprintf(".queryParams[%d]", i), string(deref(q.Type, gwv1.QueryParamMatchExact)), q.Value)
		m.Query = named(m.Query, model.NamedMatch{Name: string(q.Name), ValueMatch: value})
	}
	return m
}

func (v *matchResolver) httpPath(spec *gwv1.HTTPPathMatch) model.ValueMatch {
	if spec == nil {
		return everyPath
	}
	value := deref(spec.Value, "/")
	switch typ := deref(spec.Type, gwv1.PathMatchPathPrefix); typ {
	case gwv1.PathMatchExact:
		return model.ValueMatch{Type: model.Exact, Value: value}
	case gwv1.PathMatchPathPrefix:
		return prefix(value)
	case gwv1.PathMatchRegularExpression:
		return v.regex(".path.value", value)
	default:
		v.refuse(".path.type", fmt.Sprintf("%q is not known: use Exact, PathPrefix or RegularExpression", typ))
		return everyPath
	}
}

// filter is a filter of any kind of route.
type filter struct {
	// Type is the name of the feature, Spec the field that goes with it; nil if it is missing.
	Type string
	Spec any
	// Backend is the backend reference inside of the filter, BackendPath its field relative to the filter.
	Backend     *gwv1.BackendObjectReference
	BackendPath string
	// GRPC is set if the backend is spoken to by gRPC whatever the kind of the route.
	GRPC bool
	// Guards says that a filter whose backend is invalid must fail requests rather than be skipped.
	Guards bool
	// Extension is the reference of an ExtensionRef.
	Extension *gwv1.LocalObjectReference
	// Unknown is set for a type that is not known.
	Unknown bool
}

// some returns the pointer as a filter's Spec: nil, not a typed nil, if the field is missing.
func some[T any](p *T) any {
	if p == nil {
		return nil
	}
	return p
}

func httpFilter(f *gwv1.HTTPRouteFilter) filter {
	out := filter{Type: string(f.Type)}
	switch f.Type {
	case gwv1.HTTPRouteFilterRequestHeaderModifier:
		out.Spec = some(f.RequestHeaderModifier)
	case gwv1.HTTPRouteFilterResponseHeaderModifier:
		out.Spec = some(f.ResponseHeaderModifier)
	case gwv1.HTTPRouteFilterRequestRedirect:
		out.Spec = some(f.RequestRedirect)
	case gwv1.HTTPRouteFilterURLRewrite:
		out.Spec = some(f.URLRewrite)
	case gwv1.HTTPRouteFilterCORS:
		out.Spec = some(f.CORS)
	case gwv1.HTTPRouteFilterRequestMirror:
		mirror(&out, f.RequestMirror)
	case gwv1.HTTPRouteFilterExternalAuth:
		out.Spec, out.Guards = some(f.ExternalAuth), true
		if f.ExternalAuth != nil {
			out.Backend, out.BackendPath = &f.ExternalAuth.BackendRef, ".externalAuth.backendRef"
			out.GRPC = f.ExternalAuth.ExternalAuthProtocol == gwv1.HTTPRouteExternalAuthGRPCProtocol
		}
	case gwv1.HTTPRouteFilterExtensionRef:
		out.Spec, out.Extension = some(f.ExtensionRef), f.ExtensionRef
	default:
		out.Unknown = true
	}
	return out
}

func mirror(out *filter, spec *gwv1.HTTPRequestMirrorFilter) {
	out.Spec = some(spec)
	if spec != nil {
		out.Backend, out.BackendPath = &spec.BackendRef, ".requestMirror.backendRef"
	}
}

// ruleBuilder resolves what a rule does with the requests that it matches.
type ruleBuilder struct {
	*routeResolver
	model.Rule
	path string
	// restricted is set once a filter has restricted the matches: see [ruleBuilder.cookies].
	restricted bool
}

// attach adds a field of the rule, if it is set, as configuration for the feature of that name.
func attach[T any](b *ruleBuilder, feature string, spec *T, path string) {
	if spec != nil {
		b.Attached = append(b.Attached, model.Attached{Feature: feature, Spec: spec, Path: b.path + path})
	}
}

// matches sets the rule's matches. If one of them is broken the whole rule is: the requests of the others fail.
func (b *ruleBuilder) matches(matches []model.Match, broken bool) {
	b.Matches = matches
	if broken {
		b.fail(status.ReasonUnsupportedValue)
	}
}

// fail gives the rule a fault, unless it has one.
func (b *ruleBuilder) fail(why string) {
	if b.Fault == nil {
		b.Fault = b.fault(why)
	}
}

// filter adds a filter of the rule. One that cannot be resolved "MUST NOT be skipped": the rule fails.
func (b *ruleBuilder) filter(f filter, index int) {
	path := fmt.Sprintf("%s.filters[%d]", b.path, index)
	found, reason := b.resolveFilter(f, path)
	if reason != "" {
		b.fail(reason)
		return
	}
	b.cookies(found.Cookies, path)
	b.Attached = append(b.Attached, found.Attached...)
	b.extend(found.Extensions...)
}

// resolveFilter returns what a filter asks for, or why it cannot be applied.
func (b *ruleBuilder) resolveFilter(f filter, path string) (*routeFilter, string) {
	a := model.Attached{Feature: f.Type, Spec: f.Spec, Path: path}
	switch {
	case f.Unknown:
		b.issue(status.Accepted, status.ReasonUnsupportedValue, path+".type",
			fmt.Sprintf("%q is not a filter that this version of Sluice knows: remove it", f.Type))
		return nil, status.ReasonUnsupportedValue
	case f.Spec == nil:
		b.issue(status.Accepted, status.ReasonUnsupportedValue, path,
			fmt.Sprintf("The filter's type is %s, but the field of that name is not set", f.Type))
		return nil, status.ReasonUnsupportedValue
	case f.Extension != nil:
		return b.extension(f.Extension, path+".extensionRef")
	case f.Backend != nil:
		use := b.use()
		if f.GRPC {
			use = model.AppGRPC
		}
		key := b.resolveBackend(f.Backend, use, path+f.BackendPath)
		if f.Guards && key == (model.BackendKey{}) {
			return nil, status.ReasonBackendNotFound
		}
		a.Backends = []model.BackendKey{key}
	}
	return &routeFilter{Attached: []model.Attached{a}}, ""
}

// backend adds a backend reference. If one of its own filters cannot be applied, its share of the requests fails.
func (b *ruleBuilder) backend(ref *gwv1.BackendRef, filters []filter, index int) {
	path := fmt.Sprintf("%s.backendRefs[%d]", b.path, index)
	out := model.WeightedBackend{
		Weight:  uint32(max(0, deref(ref.Weight, 1))), // not negative
		Backend: b.resolveBackend(&ref.BackendObjectReference, b.use(), path),
	}
	broken := false
	for i, f := range filters {
		at := fmt.Sprintf("%s.filters[%d]", path, i)
		found, reason := b.resolveFilter(f, at)
		if reason == "" && len(found.Cookies) > 0 {
			reason = status.ReasonUnsupportedValue
			b.issue(status.Accepted, reason, at,
				"An HTTPRouteFilter with matches can only be a filter of a rule: which backend a request goes to is a matter "+
					"of weights")
		}
		if reason == "" && len(found.Extensions) > 0 {
			reason = status.ReasonUnsupportedValue
			b.issue(status.Accepted, reason, at,
				"A filter for an extension server can only be one of a rule: the server is asked about routes, not about backends")
		}
		if reason != "" {
			broken = true
			continue
		}
		out.Attached = append(out.Attached, found.Attached...)
	}
	if broken {
		out.Backend, out.Attached = model.BackendKey{}, nil
	}
	if e, ok := incr.Get(b.r, b.t.extensions, out.Backend.Ref()); ok {
		b.extend(e)
	}
	if !isStream(b.key.Kind) {
		out.Attached = append(out.Attached, b.t.attachedTo(b.r, out.Backend)...)
	}
	b.Backends = append(b.Backends, out)
}

// use is how the route's own backends are used.
func (b *ruleBuilder) use() model.AppProtocol {
	switch b.key.Kind {
	case model.KindGRPCRoute:
		return model.AppGRPC
	case model.KindUDPRoute:
		return model.AppUDP
	default:
		return model.AppHTTP
	}
}

// finish returns the rule, failed if there is nothing that could answer its requests. What the rule says itself of
// session persistence outranks what its backends say (GEP-1619).
func (b *ruleBuilder) finish() model.Rule {
	persistent := func(a model.Attached) bool { return a.Feature == "SessionPersistence" }
	if slices.ContainsFunc(b.Attached, persistent) {
		for i := range b.Backends {
			b.Backends[i].Attached = slices.DeleteFunc(b.Backends[i].Attached, persistent)
		}
	}
	answers := slices.ContainsFunc(b.Attached, func(a model.Attached) bool {
		return a.Feature == string(gwv1.HTTPRouteFilterRequestRedirect) || a.Feature == directResponse
	})
	if !answers {
		sum, valid := uint32(0), false
		for _, be := range b.Backends {
			sum += be.Weight
			valid = valid || be.Weight > 0 && be.Backend != (model.BackendKey{})
		}
		switch {
		case len(b.Backends) == 0:
			b.fail("NoBackends")
		case sum == 0:
			b.fail("NoWeight")
		case !valid:
			b.fail("NoValidBackend")
		}
	}
	return b.Rule
}

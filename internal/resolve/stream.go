package resolve

import (
	"fmt"
	"slices"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// isStream says whether routes of a kind carry connections or packets rather than requests.
func isStream(kind string) bool {
	return kind == model.KindTLSRoute || kind == model.KindTCPRoute || kind == model.KindUDPRoute
}

// streamObject returns the TLSRoute, TCPRoute or UDPRoute of a key.
func (t *Tables) streamObject(r *incr.Reader, key model.RouteKey) (routeObject, bool) {
	switch key.Kind {
	case model.KindTLSRoute:
		o, ok := incr.Get(r, t.in.tlsRoutes, key.Name)
		if !ok {
			return routeObject{}, false
		}
		return routeObject{
			Meta: &o.ObjectMeta, Common: &o.Spec.CommonRouteSpec, Hostnames: o.Spec.Hostnames, count: len(o.Spec.Rules),
			rules: func(v *routeResolver) []model.Rule { return streamRules(v, o.Spec.Rules, tlsRule) },
		}, true
	case model.KindTCPRoute:
		o, ok := incr.Get(r, t.in.tcpRoutes, key.Name)
		if !ok {
			return routeObject{}, false
		}
		return routeObject{
			Meta: &o.ObjectMeta, Common: &o.Spec.CommonRouteSpec, count: len(o.Spec.Rules),
			rules: func(v *routeResolver) []model.Rule { return streamRules(v, o.Spec.Rules, tcpRule) },
		}, true
	case model.KindUDPRoute:
		o, ok := incr.Get(r, t.in.udpRoutes, key.Name)
		if !ok {
			return routeObject{}, false
		}
		return routeObject{
			Meta: &o.ObjectMeta, Common: &o.Spec.CommonRouteSpec, count: len(o.Spec.Rules),
			rules: func(v *routeResolver) []model.Rule { return streamRules(v, o.Spec.Rules, udpRule) },
		}, true
	default:
		return routeObject{}, false
	}
}

// streamRule is what the rules of these kinds have in common, which is all that they have.
type streamRule struct {
	name     *gwv1.SectionName
	backends []gwv1.BackendRef
}

func tlsRule(r *gwv1.TLSRouteRule) streamRule { return streamRule{r.Name, r.BackendRefs} }
func tcpRule(r *gwv1.TCPRouteRule) streamRule { return streamRule{r.Name, r.BackendRefs} }
func udpRule(r *gwv1.UDPRouteRule) streamRule { return streamRule{r.Name, r.BackendRefs} }

// streamRules resolves the rules of a route of these kinds; their schemas allow one.
func streamRules[R any](v *routeResolver, specs []R, common func(*R) streamRule) []model.Rule {
	out := make([]model.Rule, 0, len(specs))
	for i := range specs {
		v.rule = i
		spec := common(&specs[i])
		rule := ruleBuilder{
			routeResolver: v, path: fmt.Sprintf("spec.rules[%d]", i),
			Rule: model.Rule{Index: i, Name: string(deref(spec.name, ""))},
		}
		for j := range spec.backends {
			rule.backend(&spec.backends[j], nil, j)
		}
		rule.oneResolver()
		out = append(out, rule.finish())
	}
	return out
}

// oneResolver refuses a dynamic resolver among other backends of a TLSRoute: the server name would be looked up for all
// connections, whichever backend they are for.
func (b *ruleBuilder) oneResolver() {
	if len(b.Backends) < 2 {
		return
	}
	for i := range b.Backends {
		if b.t.isDynamic(b.r, b.Backends[i].Backend) {
			b.issue(status.ResolvedRefs, status.ReasonUnsupportedProtocol, fmt.Sprintf("%s.backendRefs[%d]", b.path, i),
				fmt.Sprintf("%s is a dynamic resolver, which cannot share connections with others: make it the only backend",
					b.Backends[i].Backend.Ref()))
			b.Backends[i].Backend = model.BackendKey{}
		}
	}
}

// isDynamic reports whether a backend is a dynamic resolver.
func (t *Tables) isDynamic(r *incr.Reader, key model.BackendKey) bool {
	if key.Kind != model.KindBackend {
		return false
	}
	ext, ok := incr.Get(r, t.externals, key.Name)
	return ok && ext.Address == model.AddressDynamic
}

// reads reports whether a listener of protocol TLS reads what it could only pass on: a dynamic resolver sends the TLS
// of clients to the server that these ask for.
func (b *binder) reads(d *door) bool {
	if b.key.Kind != model.KindTLSRoute || d.Passthrough {
		return false
	}
	route, ok := incr.Get(b.r, b.t.Routes, b.key)
	return ok && slices.ContainsFunc(route.Rules, func(rule model.Rule) bool {
		return slices.ContainsFunc(rule.Backends, func(w model.WeightedBackend) bool {
			return b.t.isDynamic(b.r, w.Backend)
		})
	})
}

func (t *Tables) addStreams(e *incr.Engine) {
	t.Streams = incr.NewIndex(e, "streams", t.Bindings, func(_ model.RouteKey, b Bindings) []model.StreamKey {
		var out []model.StreamKey
		for _, bound := range b.Streams {
			out = append(out, bound.Keys()...)
		}
		return out
	})
	t.StreamOwners = incr.NewTable(e, "stream owners", func(r *incr.Reader, key model.StreamKey) (model.RouteKey, bool) {
		var best model.Claim
		found := false
		for route, b := range t.Streams.Values(r, key) {
			claim, ok := b.claim(route, key)
			if ok && (!found || claim.Compare(best) < 0) {
				best, found = claim, true
			}
		}
		return best.Route, found
	}, t.Streams)
}

// claim returns the claim that a route with these bindings has to a stream.
func (b Bindings) claim(route model.RouteKey, key model.StreamKey) (model.Claim, bool) {
	for _, bound := range b.Streams {
		if bound.Port != key.Port || bound.Listener != key.Listener {
			continue
		}
		if from, ok := bound.From(key.Domain); ok {
			return model.Claim{Route: route, Created: bound.Created, From: from}, true
		}
	}
	return model.Claim{}, false
}

// bindStream attaches the route to a listener of protocol TLS, TCP or UDP that lets it in.
func (b *binder) bindStream(d *door, hosts []model.BoundHost) {
	has := func(have model.StreamBinding) bool { return have.Listener == d.Key }
	if slices.ContainsFunc(b.out.Streams, has) {
		return
	}
	b.out.Streams = append(b.out.Streams, model.StreamBinding{
		Port: d.Port, Listener: d.Key, Hosts: hosts, Client: d.Client, Above: b.t.Above(b.r, d.Key),
		Created: b.created,
	})
}

// eclipsed returns a remark if a parent's listeners give everything that the route wants of them to other routes.
func (t *Tables) eclipsed(r *incr.Reader, route model.RouteKey, b Bindings, p ParentOutcome) string {
	var by model.RouteKey
	for _, bound := range b.Streams {
		if !slices.Contains(p.Listeners, bound.Listener) {
			continue
		}
		for _, key := range bound.Keys() {
			owner, _ := incr.Get(r, t.StreamOwners, key)
			if owner == route {
				return ""
			}
			by = owner
		}
	}
	if by == (model.RouteKey{}) {
		return ""
	}
	return fmt.Sprintf("The route is attached but takes no traffic: %s has precedence on the same listener", by)
}

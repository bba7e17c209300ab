package resolve

import (
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// Route is a route that one of our Gateways is a parent of, or one of their ListenerSets, and what is wrong with it.
type Route struct {
	model.Route
	// RuleCount is how many rules the route has in its spec. Those that match nothing are not in Rules.
	RuleCount int
	// Report holds the route's issues; they are those of all of its parents.
	Report status.Report
	// Mentions are the backends that the route refers to, whether or not they can be used, if it may refer to them.
	Mentions []model.BackendKey
	// Refused is set while the route stands in for the version that Envoy refused: Envoy's words, and what is live.
	Refused string
}

// Refusal says that Envoy refused a route.
type Refusal struct {
	// Message is what Envoy said.
	Message string
	// Version is what was refused. The refusal ends by itself as soon as the route resolves to anything else; if it is
	// nil, not before the entry is deleted.
	Version *model.Route
	// LastGood is the version to serve instead; if it is nil, none is.
	LastGood *model.Route
}

// routeObject is what routes of all kinds have in common.
type routeObject struct {
	Meta      *metav1.ObjectMeta
	Common    *gwv1.CommonRouteSpec
	Hostnames []gwv1.Hostname
	// rules resolves the rules.
	rules func(*routeResolver) []model.Rule
	count int
}

// routeObject returns the route of a key.
func (t *Tables) routeObject(r *incr.Reader, key model.RouteKey) (routeObject, bool) {
	switch key.Kind {
	case model.KindHTTPRoute:
		o, ok := incr.Get(r, t.in.httpRoutes, key.Name)
		if !ok {
			return routeObject{}, false
		}
		return routeObject{
			Meta: &o.ObjectMeta, Common: &o.Spec.CommonRouteSpec, Hostnames: o.Spec.Hostnames, count: len(o.Spec.Rules),
			rules: func(v *routeResolver) []model.Rule { return v.httpRules(o.Spec.Rules) },
		}, true
	case model.KindGRPCRoute:
		o, ok := incr.Get(r, t.in.grpcRoutes, key.Name)
		if !ok {
			return routeObject{}, false
		}
		return routeObject{
			Meta: &o.ObjectMeta, Common: &o.Spec.CommonRouteSpec, Hostnames: o.Spec.Hostnames, count: len(o.Spec.Rules),
			rules: func(v *routeResolver) []model.Rule { return v.grpcRules(o.Spec.Rules) },
		}, true
	default:
		return t.streamObject(r, key)
	}
}

func (t *Tables) addRoutes(e *incr.Engine) {
	httpKeys := incr.NewIndex(e, "httproute keys", t.in.httpRoutes,
		func(n model.Name, _ *gwv1.HTTPRoute) []model.RouteKey {
			return []model.RouteKey{{Kind: model.KindHTTPRoute, Name: n}}
		})
	grpcKeys := incr.NewIndex(e, "grpcroute keys", t.in.grpcRoutes,
		func(n model.Name, _ *gwv1.GRPCRoute) []model.RouteKey {
			return []model.RouteKey{{Kind: model.KindGRPCRoute, Name: n}}
		})
	tlsKeys := incr.NewIndex(e, "tlsroute keys", t.in.tlsRoutes,
		func(n model.Name, _ *gwv1.TLSRoute) []model.RouteKey {
			return []model.RouteKey{{Kind: model.KindTLSRoute, Name: n}}
		})
	tcpKeys := incr.NewIndex(e, "tcproute keys", t.in.tcpRoutes,
		func(n model.Name, _ *gwv1.TCPRoute) []model.RouteKey {
			return []model.RouteKey{{Kind: model.KindTCPRoute, Name: n}}
		})
	udpKeys := incr.NewIndex(e, "udproute keys", t.in.udpRoutes,
		func(n model.Name, _ *gwv1.UDPRoute) []model.RouteKey {
			return []model.RouteKey{{Kind: model.KindUDPRoute, Name: n}}
		})
	t.routeKeys = []incr.KeySource[model.RouteKey]{httpKeys, grpcKeys, tlsKeys, tcpKeys, udpKeys}
	t.Routes = incr.NewTable(e, "routes", t.route, t.routeKeys...)
	t.references = incr.NewIndex(e, "backend references", t.Routes, func(_ model.RouteKey, rt *Route) []model.BackendKey {
		var out []model.BackendKey
		rt.EachBackend(func(b *model.BackendKey) {
			if *b != (model.BackendKey{}) {
				out = append(out, *b)
			}
		})
		return out
	})
}

func (t *Tables) route(r *incr.Reader, key model.RouteKey) (*Route, bool) {
	o, ok := t.routeObject(r, key)
	if !ok || len(t.parents(r, key, o.Common)) == 0 {
		return nil, false
	}
	v := &routeResolver{t: t, r: r, key: key, out: &Route{}}
	v.out.RuleCount = o.count
	v.out.Route = model.Route{Key: key, Created: o.Meta.CreationTimestamp.UTC()}
	v.out.Rules = o.rules(v)
	if t.opts.Check != nil {
		v.out.Report = append(v.out.Report, t.opts.Check(&v.out.Route)...)
	}
	for i := range v.out.Rules {
		if fault := v.out.Rules[i].Fault; fault != nil {
			v.out.Rules[i].Fault = v.fault(fault.Why)
		}
	}
	v.refusal()
	return v.out, true
}

// routeResolver resolves one route.
type routeResolver struct {
	t   *Tables
	r   *incr.Reader
	key model.RouteKey
	out *Route
	// rule is the index of the rule that is being resolved.
	rule int
}

// issue notes an issue with the rule that is being resolved.
func (v *routeResolver) issue(condition, reason, path, message string) {
	v.out.Report = append(v.out.Report, status.Issue{
		Object: v.key.Ref(), Section: status.Section{Rule: v.rule + 1},
		Condition: condition, Reason: reason, Path: path, Message: message,
	})
}

// fault is the answer to requests that cannot be served: 500 for HTTP, and for gRPC 503, which Envoy turns into the
// status UNAVAILABLE that the Gateway API asks for (GRPCRouteRule.BackendRefs).
func (v *routeResolver) fault(why string) *model.Fault {
	if v.key.Kind == model.KindGRPCRoute {
		return &model.Fault{Status: 503, Why: why}
	}
	return &model.Fault{Status: 500, Why: why}
}

// refusal replaces the route by its last good version while Envoy refuses it. What the old version refers to is checked
// again: a grant may have been withdrawn since.
func (v *routeResolver) refusal() {
	refused, ok := incr.Get(v.r, v.t.Refused, v.key)
	if !ok || refused.Version != nil && !reflect.DeepEqual(*refused.Version, v.out.Route) {
		return
	}
	if refused.LastGood == nil {
		v.out.Refused = "Envoy refused the route, and nothing of it is served: " + refused.Message
		v.out.Rules = nil
		return
	}
	v.out.Refused = "Envoy refused the route, and the version before it stays live: " + refused.Message
	v.out.Route = refused.LastGood.WithBackends(func(b *model.BackendKey) {
		barred := !isStream(v.key.Kind) && v.t.guarded(v.r, *b).Broken
		if *b != (model.BackendKey{}) && (barred || !v.t.granted(v.r, v.key.Ref(), b.Ref())) {
			*b = model.BackendKey{}
		}
	})
	for i := range v.out.Rules {
		if rule := &v.out.Rules[i]; !v.mayRead(rule) {
			rule.Fault = v.fault(status.ReasonRefNotPermitted)
		}
	}
}

// mayRead says whether the objects that the filters of a rule refer to may still be referred to.
func (v *routeResolver) mayRead(rule *model.Rule) bool {
	granted := func(list []model.Attached) bool {
		for _, a := range list {
			for _, o := range a.Objects {
				if !v.t.granted(v.r, a.Source, o.Ref) {
					return false
				}
			}
		}
		return true
	}
	return granted(rule.Attached) && !slices.ContainsFunc(rule.Backends, func(b model.WeightedBackend) bool {
		return !granted(b.Attached)
	})
}

package envoy

import (
	"cmp"
	"slices"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// stance is what two listeners have in common whose policies are the same: then what these say is built once.
type stance struct {
	Policies model.PolicyStack
	// Client is what their Gateways show to the backends that policies ask.
	Client model.ClientCertificate
}

func (s stance) Compare(o stance) int {
	return cmp.Or(s.Policies.Compare(o.Policies), s.Client.Compare(o.Client))
}

// Refs are the policies.
func (s stance) Refs() []model.Ref {
	var out []model.Ref
	for _, kind := range []string{
		model.KindBackendTrafficPolicy, model.KindSecurityPolicy, model.KindEnvoyExtensionPolicy,
	} {
		if name := s.Policies.Policy(kind); name != (model.Name{}) {
			out = append(out, model.Ref{Group: model.GroupEnvoyGateway, Kind: kind, Name: name})
		}
	}
	return out
}

// regime says which policies hold for all hosts of a route table. If they are Mixed, each host has those of its
// listener.
type regime struct {
	stance
	Mixed bool
}

// addPolicies adds what the policies of Gateways and listeners ask of HTTP filters: once for all the routes there that
// have no policies of their own.
func (b *builder) addPolicies(e *incr.Engine) {
	b.stances = incr.NewTable(e, "listener stances", func(r *incr.Reader, k model.ListenerKey) (stance, bool) {
		out := stance{Policies: b.in.Above(r, k)}
		if out.Policies == (model.PolicyStack{}) {
			return stance{}, false
		}
		out.Client = b.in.Client(r, k)
		return out, true
	}, b.in.Seats)
	distinct := incr.NewIndex(e, "stances", b.stances, func(_ model.ListenerKey, s stance) []stance { return []stance{s} })
	b.scopes = incr.NewTable(e, "listener scopes", b.scope, distinct).Equal(func(a, b *feature.Scope) bool {
		return a.Equal(b)
	}).OnFault(deniedScope)
	b.described = incr.NewTable(e, "described listeners", func(r *incr.Reader, k stance) (struct{}, bool) {
		return struct{}{}, b.scopeFor(r, k).Described()
	}, distinct)
	tables := incr.NewIndex(e, "tables of ports", b.in.Ports, func(_ model.PortKey, p model.Port) []model.RouteTableKey {
		return tablesOf(p)
	})
	b.regimes = incr.NewTable(e, "table policies", b.regime, tables)
	asked := incr.NewTable(e, "backends of policies", func(r *incr.Reader, k model.PortKey) ([]BackendKey, bool) {
		port, _ := incr.Get(r, b.in.Ports, k)
		var out []BackendKey
		for i := range port.Listeners {
			for _, n := range b.scopeOf(r, port.Listeners[i].Key).Needs {
				out = append(out, BackendKey{Proxy: k.Proxy, Backend: n})
			}
		}
		slices.SortFunc(out, BackendKey.Compare)
		return slices.Compact(out), len(out) > 0
	}, b.in.Ports)
	b.policyBackends = incr.NewIndex(e, "policy backend uses", asked,
		func(_ model.PortKey, list []BackendKey) []BackendKey { return list })
}

// scope returns the filters that the policies of listeners ask for.
func (b *builder) scope(r *incr.Reader, k stance) (*feature.Scope, bool) {
	policed := b.in.Policed(r, k.Policies, model.RouteKey{}, "")
	out := &feature.Scope{}
	b.opts.Chain.Filters(out, b.reachable(r, k.Client, policed.Attached))
	out.Reorder(k.Policies.Gear().Filters)
	if policed.Denied != "" {
		out.Deny()
	}
	return out, !out.Empty()
}

// deniedScope is what the policies of listeners come to if a bug keeps it from being computed: what it was before or,
// if they asked for nothing until now, that all requests are denied.
func deniedScope(
	_ *incr.Reader, _ stance, last *feature.Scope, had bool,
) (*feature.Scope, bool) {
	if had {
		return last, true
	}
	out := &feature.Scope{}
	out.Deny()
	return out, true
}

// reachable returns what policies ask for with the backends as a Gateway connects to them.
func (b *builder) reachable(r *incr.Reader, client model.ClientCertificate, list []model.Attached) []model.Attached {
	backend := func(key model.BackendKey) (model.Backend, bool) { return incr.Get(r, b.in.Backends, key.Shared()) }
	out := slices.Clone(list)
	for i := range out {
		out[i].Backends = slices.Clone(out[i].Backends)
		for j := range out[i].Backends {
			out[i].Backends[j] = identify(out[i].Backends[j], client, backend)
		}
	}
	return out
}

// scopeOf returns the filters that the policies of a listener ask for; an empty scope if there are none.
func (b *builder) scopeOf(r *incr.Reader, listener model.ListenerKey) *feature.Scope {
	if s, ok := incr.Get(r, b.stances, listener); ok {
		return b.scopeFor(r, s)
	}
	return &feature.Scope{}
}

func (b *builder) scopeFor(r *incr.Reader, s stance) *feature.Scope {
	if s.Policies != (model.PolicyStack{}) {
		if scope, ok := incr.Get(r, b.scopes, s); ok {
			return scope
		}
	}
	return &feature.Scope{}
}

// regime returns which policies hold in a route table, nothing if there are none.
func (b *builder) regime(r *incr.Reader, k model.RouteTableKey) (regime, bool) {
	if k.Secure() {
		s, ok := incr.Get(r, b.stances, k.Listener())
		return regime{stance: s}, ok
	}
	port, _ := incr.Get(r, b.in.Ports, k.Port())
	var out regime
	for i := range port.Listeners {
		s, _ := incr.Get(r, b.stances, port.Listeners[i].Key)
		if i > 0 && s != out.stance {
			return regime{Mixed: true}, true
		}
		out.stance = s
	}
	return out, out != regime{}
}

// tablesOf returns the route tables of a port.
func tablesOf(port model.Port) []model.RouteTableKey {
	if port.Protocol == model.HTTP {
		return []model.RouteTableKey{model.HTTPTable(port.Key)}
	}
	var out []model.RouteTableKey
	for i := range port.Listeners {
		if l := &port.Listeners[i]; l.Protocol == model.HTTPS {
			out = append(out, model.HTTPSTable(port.Key, l.Key))
		}
	}
	return out
}

// hostScope returns the filters that a host has of its listener's policies: none if its table has them.
func (b *builder) hostScope(r *incr.Reader, k model.HostKey) *feature.Scope {
	if regime, ok := incr.Get(r, b.regimes, k.Table); !ok || !regime.Mixed {
		return &feature.Scope{}
	}
	return b.scopeOf(r, b.ownerOf(r, k))
}

// policing is what the policies of Envoy Gateway mean for the routes of a site.
type policing struct {
	b   *builder
	r   *incr.Reader
	key siteKey
}

// rule returns what policies ask for a rule. filters says that the rule has HTTP filters of its own, which have to be
// put together with those of its listener's policies; so have those that count for each route. Else it does without,
// and an edit of these does not reach it.
func (p *policing) rule(rule *model.Rule, filters bool) resolve.Policed {
	kinds := []string{model.KindBackendTrafficPolicy}
	if filters || p.b.in.HasPolicies(p.r, p.key.Route) {
		kinds = nil
	}
	out := p.b.in.Policed(p.r, p.key.Policies, p.key.Route, rule.Name, kinds...)
	if p.b.opts.Chain.Apart(out.Attached) {
		if kinds != nil {
			out = p.b.in.Policed(p.r, p.key.Policies, p.key.Route, rule.Name)
		}
		out.Own = true
	}
	out.Attached = p.b.reachable(p.r, p.key.Client, out.Attached)
	return out
}

// describes reports whether the listener's policies want routes to say what they were made of. Routes read this and not
// the policies: an edit of these reaches routes only if it changes this.
func (p *policing) describes() bool {
	if p.key.Policies == (model.PolicyStack{}) {
		return false
	}
	_, ok := incr.Get(p.r, p.b.described, p.key.stance)
	return ok
}

// wider returns the filters of the policies of the listener.
func (p *policing) wider() *feature.Scope { return p.b.scopeFor(p.r, p.key.stance) }

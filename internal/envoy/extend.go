package envoy

import (
	"fmt"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/envoy/patch"
	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// addServers adds what extension servers say.
func (b *builder) addServers(e *incr.Engine) {
	b.servers = extender{managers: b.opts.Extensions}
	if len(b.opts.Extensions) > 0 {
		b.servers.answers = incr.NewInput[model.Call, model.Answer](e, "answers of extension servers")
	}
	if b.servers.translates(xds.Cluster) {
		b.decided = incr.NewInput[BackendKey, Decision](e, "clusters decided by extension servers")
	}
}

// waitsForClusters says whether routes may have to wait for clusters that extension servers have not seen yet.
func (b *builder) waitsForClusters() bool {
	return b.servers.takes(model.HookCluster) || b.servers.takes(model.HookEndpoints)
}

// addServed adds the routes of sites as they would be, and returns the backends that they use. What stays of a route
// while an extension server is asked needs its clusters too.
func (b *builder) addServed(e *incr.Engine, sites incr.KeySource[siteKey]) []incr.KeySource[BackendKey] {
	needs := func(k siteKey, s served) []BackendKey {
		out := make([]BackendKey, 0, len(s.needs))
		for _, n := range s.needs {
			out = append(out, BackendKey{Proxy: k.Table.Port().Proxy, Backend: n})
		}
		return out
	}
	if !b.servers.takes(model.HookRoute) && !b.waitsForClusters() && !b.servers.translates(xds.Cluster) {
		b.served = holding(e, rows[siteKey, served]{name: "envoy routes", try: b.serve, equal: equalServed}, sites)
		b.served.whole.OnFault(b.failed)
		uses := incr.NewIndex(e, "backend uses", b.served.whole, needs)
		b.backendUses = uses
		return []incr.KeySource[BackendKey]{uses}
	}
	b.served = &held[siteKey, served]{equal: equalServed, proxy: proxyOfSite}
	b.served.trying(e, "envoy routes", b.serve, sites)
	b.served.tries.OnFault(func(
		r *incr.Reader, k siteKey, last attempt[served], had bool,
	) (attempt[served], bool) {
		value, ok := b.failed(r, k, last.value, had)
		return attempt[served]{value: value, standIn: true}, ok
	})
	uses := incr.NewIndex(e, "backend uses", b.served.tries, func(k siteKey, a attempt[served]) []BackendKey {
		return needs(k, a.value)
	})
	b.backendUses = uses
	// What was complete is forgotten after the commit in which a route goes. Its clusters go with the route: with its
	// policies gone they would be made anew without those.
	complete := incr.NewTable(e, "complete envoy routes", func(r *incr.Reader, k siteKey) (served, bool) {
		if _, there := incr.Get(r, b.served.tries, k); !there {
			return served{}, false
		}
		return incr.Get(r, b.served.last, k)
	}, b.served.last).Equal(equalServed)
	return []incr.KeySource[BackendKey]{uses, incr.NewIndex(e, "backend uses of complete routes", complete, needs)}
}

// siteUses says which sites use a backend.
type siteUses interface {
	Len(r *incr.Reader, k BackendKey) int
	Keys(r *incr.Reader, k BackendKey) []siteKey
}

// servedAt is what a route becomes at a site, whether or not extension servers are done with it.
func (b *builder) servedAt(r *incr.Reader, k siteKey) served {
	if b.served.tries != nil {
		a, _ := incr.Get(r, b.served.tries, k)
		return a.value
	}
	s, _ := incr.Get(r, b.served.whole, k)
	return s
}

// settleServed adds the routes of sites as they are: complete, with clusters that are.
func (b *builder) settleServed(e *incr.Engine) {
	if b.served.tries == nil {
		return
	}
	b.served.settling(e, "envoy routes", func(
		r *incr.Reader, k siteKey, a attempt[served], last func() (served, bool),
	) (served, bool) {
		v := a.verdict
		for i := range a.value.entries {
			waits := b.awaited(r, k.Table.Port().Proxy, a.value.entries[i].Needs)
			if waits.Failed != "" && !a.value.entries[i].Failed {
				a.value.entries = slices.Clone(a.value.entries)
				a.value.entries[i].Failed = true
			}
			v = v.join(waits)
		}
		if v.ready() {
			return a.value, true
		}
		if out, ok := last(); ok {
			out.why = v.Failed
			if out.why != "" {
				out.why += "; the version before it stays live"
			}
			return out, true
		}
		if v.Pending {
			return served{}, true
		}
		return failedRoutes(a.value, v.Failed), true
	})
}

// awaited says whether the clusters of backends are complete, or were.
func (b *builder) awaited(r *incr.Reader, proxy model.ProxyName, needs []model.BackendKey) verdict {
	var out verdict
	if b.clusters.tries == nil && b.decided == nil {
		return out
	}
	for _, n := range needs {
		key := BackendKey{Proxy: proxy, Backend: n}
		if _, there := incr.Get(r, b.clusters.whole, key); there {
			out = out.join(b.undecided(r, key))
			continue
		}
		if b.clusters.tries == nil {
			continue
		}
		if a, ok := incr.Get(r, b.clusters.tries, key); ok {
			out = out.join(verdict{Pending: a.Pending, Failed: a.Failed})
		}
	}
	return out
}

// failedRoutes has those routes answer 500 for which an extension server has failed: they never were complete.
func failedRoutes(s served, why string) served {
	out := served{why: why + "; its requests are answered with 500", needs: s.needs, entries: slices.Clone(s.entries)}
	for i := range out.entries {
		if e := &out.entries[i]; e.Failed {
			var route routev3.Route
			if err := proto.Unmarshal(e.Body, &route); err != nil {
				panic(fmt.Sprintf("envoy: a route of our own: %v", err))
			}
			e.Body = marshal(&routev3.Route{Name: route.GetName(), Match: route.GetMatch(), Action: respond(500)})
			e.Needs, e.Clusters = nil, nil
		}
	}
	return out
}

// routeExtender returns what has extension servers change the routes of a site: those with objects that they
// understand.
func (b *builder) routeExtender(r *incr.Reader, k siteKey) func(*model.Rule, *entry, string) verdict {
	var hostnames []string
	return func(rule *model.Rule, e *entry, name string) verdict {
		policies := b.in.ExtensionPolicies(r, k.Route, rule.Name)
		if len(rule.Extensions)+len(policies) == 0 {
			return verdict{}
		}
		if hostnames == nil {
			hostnames = b.hostnames(r, k)
		}
		q := question{hook: model.HookRoute, about: name, body: e.Body}
		q.context = func(m *model.ExtensionManager) (hookContext, bool) {
			c := hookContext{
				Objects:  model.SelectExtensions(rule.Extensions, m.Resources),
				Policies: model.SelectExtensions(policies, m.Policies), Hostnames: hostnames,
			}
			return c, len(c.Objects)+len(c.Policies) > 0
		}
		body, v := b.servers.ask(r, q)
		e.Failed = v.Failed != ""
		if string(body) != string(e.Body) {
			e.changed(body)
		}
		return v
	}
}

// hostnames are the domains that a route serves at a site.
func (b *builder) hostnames(r *incr.Reader, k siteKey) []string {
	bindings, _ := incr.Get(r, b.in.Bindings, k.Route)
	out := []string{}
	for _, bound := range bindings.Bound {
		if bound.Table != k.Table || (stance{Policies: bound.Above, Client: bound.Client}) != k.stance {
			continue
		}
		for _, h := range bound.Hosts {
			out = append(out, h.Domain)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// changed takes in what an extension server has made of the route. If it matches something else now it is not looked up
// by its path any more.
func (e *entry) changed(body []byte) {
	var before, after routev3.Route
	if proto.Unmarshal(e.Body, &before) != nil || proto.Unmarshal(body, &after) != nil {
		return // it was read before
	}
	e.Body, e.Clusters = body, patch.NeedsOf(&after)
	if !proto.Equal(before.GetMatch(), after.GetMatch()) {
		e.Path = model.ValueMatch{Type: model.Regex}
	}
}

func proxyOfSite(k siteKey) model.ProxyName       { return k.Table.Port().Proxy }
func proxyOfBackend(k BackendKey) model.ProxyName { return k.Proxy }

// extendCluster asks about the clusters of backends that extension servers understand. A cluster waits for its
// endpoints: Envoy would wait for them, and with it for all other clusters.
func (b *builder) extendCluster(r *incr.Reader, k BackendKey) (attempt[*xds.Resource], bool) {
	found, ok := b.cluster(r, k)
	if !ok {
		return attempt[*xds.Resource]{}, false
	}
	out := attempted(found)
	if k.Backend.Extension() && b.servers.takes(model.HookCluster) {
		backend, _ := incr.Get(r, b.in.Backends, k.Backend.Shared())
		body, v := b.servers.ask(r, question{
			hook: model.HookCluster, about: found.Name, body: found.Body,
			context: func(m *model.ExtensionManager) (hookContext, bool) {
				c := hookContext{Objects: model.SelectExtensions([]model.Extension{backend.Extension}, m.Resources)}
				return c, len(c.Objects) > 0
			},
		})
		out.value, out.verdict = changedCluster(found, body), v
	}
	if b.assignments.tries != nil {
		if a, has := incr.Get(r, b.assignments.tries, k); has && !a.ready() {
			if _, there := incr.Get(r, b.assignments.whole, k); !there {
				out.verdict = out.verdict.join(verdict{Pending: a.Pending, Failed: a.Failed})
			}
		}
	}
	return out, true
}

// changedCluster returns the cluster with another body. If Envoy finds its endpoints by DNS, it must not hold back all
// other clusters until it has.
func changedCluster(c *xds.Resource, body []byte) *xds.Resource {
	if string(body) == string(c.Body) {
		return c
	}
	out := *c
	var cluster clusterv3.Cluster
	if err := proto.Unmarshal(body, &cluster); err != nil {
		return c // it was read before
	}
	settle, changed := settled(&cluster)
	if changed {
		body = marshal(&cluster)
	}
	out.Settle = max(out.Settle, settle)
	out.Body, out.Hash = body, hash(body)
	return &out
}

// extendEndpoints asks about the endpoints of all backends.
func (b *builder) extendEndpoints(r *incr.Reader, k BackendKey) (attempt[*xds.Resource], bool) {
	found, ok := b.endpoints(r, k)
	if !ok || !b.servers.takes(model.HookEndpoints) || k.Backend.IsLocal() {
		return attempted(found), ok
	}
	body, v := b.servers.ask(r, question{
		hook: model.HookEndpoints, about: found.Name, body: found.Body, context: always,
	})
	return attempt[*xds.Resource]{value: withBody(found, body), verdict: v}, true
}

// withBody returns the resource with another body.
func withBody(r *xds.Resource, body []byte) *xds.Resource {
	out := *r
	out.Body, out.Hash = body, hash(body)
	return &out
}

// extendListener asks about the listeners of all ports, with the policies for extension servers that are attached to
// them.
func (b *builder) extendListener(r *incr.Reader, k model.PortKey) (attempt[*xds.Resource], bool) {
	found, ok := b.listener(r, k)
	if !ok || !b.servers.takes(model.HookHTTPListener) {
		return attempted(found), ok
	}
	var policies []model.Extension
	for _, l := range b.listenersOn(r, k) {
		for _, p := range b.in.ListenerExtensionPolicies(r, l) {
			if !slices.Contains(policies, p) {
				policies = append(policies, p)
			}
		}
	}
	body, v := b.servers.ask(r, question{
		hook: model.HookHTTPListener, about: found.Name, body: found.Body,
		context: func(m *model.ExtensionManager) (hookContext, bool) {
			return hookContext{Objects: model.SelectExtensions(policies, m.Policies)}, true
		},
	})
	return attempt[*xds.Resource]{value: withBody(found, body), verdict: v}, true
}

// listenersOn are the listeners that share the Envoy listener of a port.
func (b *builder) listenersOn(r *incr.Reader, k model.PortKey) []model.ListenerKey {
	if list, ok := incr.Get(r, b.in.QUIC, k); ok {
		return list
	}
	port, _ := incr.Get(r, b.in.Ports, k)
	out := make([]model.ListenerKey, len(port.Listeners))
	for i := range port.Listeners {
		out[i] = port.Listeners[i].Key
	}
	return out
}

// extendHost asks about all virtual hosts.
func (b *builder) extendHost(r *incr.Reader, k model.HostKey) (attempt[*xds.Part], bool) {
	found, ok := b.host(r, k)
	if !ok || !b.servers.takes(model.HookVirtualHost) {
		return attempted(found), ok
	}
	_, _, n := protowire.ConsumeTag(found.Body)
	host, _ := protowire.ConsumeBytes(found.Body[n:])
	body, v := b.servers.ask(r, question{
		hook: model.HookVirtualHost, about: found.Name, body: host, context: always,
	})
	if string(body) == string(host) {
		return attempt[*xds.Part]{value: found, verdict: v}, true
	}
	out := newPart(found.Name, body)
	out.Needs, out.Owners = slices.Clone(found.Needs), found.Owners
	var changed routev3.VirtualHost
	if proto.Unmarshal(body, &changed) == nil {
		for _, route := range changed.GetRoutes() {
			out.Needs = append(out.Needs, patch.NeedsOf(route)...)
		}
	}
	slices.Sort(out.Needs)
	out.Needs = slices.Compact(out.Needs)
	return attempt[*xds.Part]{value: out, verdict: v}, true
}

// addCalls adds what is to be asked, and what has not been done because of it.
func (b *builder) addCalls(e *incr.Engine, out *Tables) {
	out.Answers = b.servers.answers
	b.addTranslated(e, out)
	hosts := out.hosts
	var calls []incr.KeySource[model.Call]
	calls, out.held = addHeld(e, calls, out.held, "envoy routes", b.served)
	calls, out.held = addHeld(e, calls, out.held, "endpoints", b.assignments)
	calls, out.held = addHeld(e, calls, out.held, "clusters", b.clusters)
	calls, out.held = addHeld(e, calls, out.held, "listeners", out.listeners)
	calls, out.held = addHeld(e, calls, out.held, "virtual hosts", hosts)
	out.Calls = incr.NewTable(e, "calls of extension servers", func(*incr.Reader, model.Call) (struct{}, bool) {
		return struct{}{}, true
	}, calls...)
	bySite := incr.NewIndex(e, "withheld routes", b.served.whole, func(k siteKey, s served) []model.RouteKey {
		if s.why == "" {
			return nil
		}
		return []model.RouteKey{k.Route}
	})
	sources := []incr.KeySource[model.RouteKey]{bySite}
	var byHost *incr.Index[model.RouteKey, model.HostKey, attempt[*xds.Part]]
	if hosts.tries != nil {
		byHost = incr.NewIndex(e, "routes of withheld hosts", hosts.tries,
			func(_ model.HostKey, a attempt[*xds.Part]) []model.RouteKey {
				var out []model.RouteKey
				for _, o := range a.value.Owners {
					if a.Failed != "" {
						out = append(out, model.RouteKey{Kind: o.Kind, Name: o.Name})
					}
				}
				return out
			})
		sources = append(sources, byHost)
	}
	out.Withheld = incr.NewTable(e, "what is withheld", func(r *incr.Reader, k model.RouteKey) (string, bool) {
		var why []string
		for _, s := range bySite.Values(r, k) {
			why = append(why, s.why)
		}
		if byHost != nil {
			for _, a := range byHost.Values(r, k) {
				why = append(why, a.Failed+"; what the host was before stays live")
			}
		}
		slices.Sort(why)
		return strings.Join(slices.Compact(why), ". "), len(why) > 0
	}, sources...)
}

func addHeld[K incr.Key[K], V any](
	e *incr.Engine, calls []incr.KeySource[model.Call], all []keeper, name string, h *held[K, V],
) ([]incr.KeySource[model.Call], []keeper) {
	if h.tries == nil {
		return calls, all
	}
	return append(calls, h.calls(e, name)), append(all, h)
}

// Keep stages what the last commit has made complete as what stays while extension servers are asked for the next.
// pushed says which push of a proxy it was part of. It reports whether there is anything to commit.
func (t *Tables) Keep(pushed func(model.ProxyName) uint64) bool {
	staged := false
	for _, h := range t.held {
		staged = h.keep(pushed) || staged
	}
	return staged
}

// HeldListener says why the listener of a port is not what it should be: what an extension server has failed with. It
// is empty for nothing.
func (t *Tables) HeldListener(k model.PortKey) string {
	if t.listeners.tries == nil {
		return ""
	}
	a, _ := t.listeners.tries.Peek(k)
	return a.Failed
}

// HeldListeners are the ports of which the last commit changed what [Tables.HeldListener] says.
func (t *Tables) HeldListeners() []model.PortKey {
	if t.listeners.tries == nil {
		return nil
	}
	var out []model.PortKey
	for k, c := range t.listeners.tries.Changes() {
		if c.Old.Failed != c.New.Failed {
			out = append(out, k)
		}
	}
	return out
}

// Lived takes in that a push of a proxy is live: what was complete by then is good.
func (t *Tables) Lived(proxy model.ProxyName, push uint64) {
	for _, h := range t.held {
		h.lived(proxy, push)
	}
}

// Distrust takes everything back to what it was before for which an answer made what Envoy refuses.
func (t *Tables) Distrust(call model.Call) {
	for _, h := range t.held {
		h.distrust(call)
	}
}

// Unproven are the calls whose answers a virtual host of a route table is made of since it was last live, those for the
// routes of its owners included.
func (t *Tables) Unproven(proxy model.ProxyName, table, domain string, owners []model.Ref) []model.Call {
	var out []model.Call
	for k := range t.hosts.unproven {
		if k.Table.Port().Proxy == proxy && k.Domain == domain && k.Table.String() == table {
			a, _ := t.hosts.tries.Peek(k)
			out = append(out, a.Calls...)
		}
	}
	for k := range t.served.unproven {
		if k.Table.Port().Proxy == proxy && k.Table.String() == table && slices.Contains(owners, k.Route.Ref()) {
			a, _ := t.served.tries.Peek(k)
			out = append(out, a.Calls...)
		}
	}
	slices.SortFunc(out, model.Call.Compare)
	return slices.Compact(out)
}

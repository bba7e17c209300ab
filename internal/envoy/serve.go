package envoy

import (
	"bytes"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// sitesOf returns the route tables that a route is bound to.
func sitesOf(k model.RouteKey, bindings resolve.Bindings) []siteKey {
	out := make([]siteKey, 0, len(bindings.Bound))
	for _, b := range bindings.Bound {
		out = append(out, siteKey{Table: b.Table, Route: k, stance: stance{Policies: b.Above, Client: b.Client}})
	}
	return out
}

func (b *builder) serve(r *incr.Reader, k siteKey) (attempt[served], bool) {
	route, ok := incr.Get(r, b.in.Routes, k.Route)
	if !ok {
		return attempt[served]{}, false
	}
	backend := func(key model.BackendKey) (model.Backend, bool) { return incr.Get(r, b.in.Backends, key.Shared()) }
	s := site{
		chain: b.opts.Chain, route: &route.Route,
		port: k.Table.Port().Port, secure: k.Table.Secure(), backend: backend,
		place: b.place(r, k.Table.Port()), policies: &policing{b: b, r: r, key: k},
		gear: k.Policies.Gear(),
	}
	if k.Client != (model.ClientCertificate{}) {
		identified := route.WithBackends(func(key *model.BackendKey) { *key = identify(*key, k.Client, backend) })
		s.route = &identified
	}
	if b.servers.takes(model.HookRoute) {
		s.extend = b.routeExtender(r, k)
	}
	out := served{entries: s.entries(), asked: s.asked}
	for _, e := range out.entries {
		out.needs = append(out.needs, e.Needs...)
	}
	slices.SortFunc(out.needs, model.BackendKey.Compare)
	out.needs = slices.Compact(out.needs)
	return attempt[served]{value: out, standIn: route.Refused != "", verdict: s.verdict}, true
}

// failed is what a route becomes if a bug keeps it from being made. It stays what it was. If it is new, or if policies
// hold for it that did not when it was made, it is answered with 500: it must not be open because of a bug.
func (b *builder) failed(r *incr.Reader, k siteKey, last served, had bool) (served, bool) {
	route, ok := incr.Get(r, b.in.Routes, k.Route)
	if !ok {
		return served{}, false
	}
	s := site{chain: b.opts.Chain, route: &route.Route, policies: &policing{b: b, r: r, key: k}, gear: k.Policies.Gear()}
	if had {
		closed := false
		for i := range s.route.Rules {
			_, policed := s.policed(&s.route.Rules[i])
			closed = closed || policed.Denied != ""
		}
		if !closed && !slices.ContainsFunc(s.asked, func(p model.Ref) bool { return !slices.Contains(last.asked, p) }) {
			return last, true
		}
	}
	return served{entries: s.denied(), asked: s.asked}, true
}

// denied are the Envoy routes of a route whose requests are all answered with 500. No feature has to do with them.
func (s *site) denied() []entry {
	var out []entry
	for i := range s.route.Rules {
		rule := model.Rule{
			Index: s.route.Rules[i].Index, Name: s.route.Rules[i].Name, Matches: s.route.Rules[i].Matches,
			Fault: &model.Fault{Status: 500, Why: "Failed"},
		}
		for m, match := range rule.Matches {
			out = append(out, s.forMatch(&rule, resolve.Policed{}, m, match)...)
		}
	}
	return out
}

// reached returns the route with its backends as connections to a listener reach them.
func (b *builder) reached(
	r *incr.Reader, route *model.Route, l *model.Listener, client model.ClientCertificate,
) *model.Route {
	backend := func(key model.BackendKey) (model.Backend, bool) { return incr.Get(r, b.in.Backends, key.Shared()) }
	out := route.WithBackends(func(key *model.BackendKey) {
		if !l.Passthrough {
			*key = identify(*key, client, backend)
			return
		}
		found, _ := backend(*key)
		key.Passthrough = found.Barred || found.TLS != nil
	})
	return &out
}

// identify returns the backend as a Gateway with a certificate of its own connects to it. If the certificate cannot be
// used it is no backend: requests to it fail.
func identify(
	key model.BackendKey, client model.ClientCertificate, backend func(model.BackendKey) (model.Backend, bool),
) model.BackendKey {
	if key.Kind == model.KindServer { // nobody has said that it knows the Gateway
		if key.SecureServer() {
			key.Options = client.Options
		}
		return key
	}
	if key == (model.BackendKey{}) {
		return key
	}
	found, _ := backend(key)
	switch {
	case found.TLS == nil && !found.Barred:
		return key
	case found.Barred || client.Broken && found.TLS.Client == (model.Name{}):
		return model.BackendKey{}
	}
	key.Options = client.Options
	if found.TLS.Client == (model.Name{}) {
		key.Client = client.Secret
	}
	return key
}

func equalServed(a, b served) bool {
	return a.why == b.why && slices.EqualFunc(a.entries, b.entries, func(x, y entry) bool {
		return x.Rank == y.Rank && x.Path == y.Path && bytes.Equal(x.Body, y.Body) && slices.Equal(x.Needs, y.Needs) &&
			slices.Equal(x.Clusters, y.Clusters) && x.Failed == y.Failed
	})
}

// host puts a virtual host together: from the routes that serve its domain or, if there are none, from what the
// listeners of the port say about a domain that nobody serves.
func (b *builder) host(r *incr.Reader, k model.HostKey) (*xds.Part, bool) {
	routes := b.routesAt(r, k)
	if len(routes) == 0 && k.Table.Secure() {
		if hostname, ok := b.in.Hostname(r, k.Table.Listener()); ok && !ownsDomain(hostname, k.Domain) {
			return answering(k.Domain, misdirected), true
		}
	}
	if b.denies(r, k) {
		return answering(k.Domain, 500), true
	}
	host, g, scope := newHost(k.Domain), b.guardOf(r, k), b.hostScope(r, k)
	b.opts.Chain.ApplyHost(host, b.in.ProxyWide(r, k.Table.Port().Proxy))
	host.TypedPerFilterConfig = scope.Fill(b.place(r, k.Table.Port()), nil)
	switch {
	case g == nil:
		return b.virtualHost(host, routes, scope.Needs), true
	case g.Fault != nil:
		return answering(k.Domain, g.Fault.Status), true
	}
	routes, needs := b.guardHost(g, host, routes)
	return b.virtualHost(host, routes, append(needs, scope.Needs...)), true
}

// routesAt returns the routes that serve a host, sorted.
func (b *builder) routesAt(r *incr.Reader, k model.HostKey) []hostRoute {
	var routes []hostRoute
	for route, bindings := range b.in.Hosts.Values(r, k) {
		stance, from, ok := boundFrom(bindings.Bound, k)
		if !ok {
			continue
		}
		s, _ := incr.Get(r, b.served.whole, siteKey{Table: k.Table, Route: route, stance: stance})
		for i := range s.entries {
			routes = append(routes, hostRoute{entry: &s.entries[i], from: from})
		}
	}
	sortHostRoutes(routes)
	return routes
}

// boundFrom returns the most specific of the route's own hostnames that the host came from, and what holds for the
// listener: a host of a route table belongs to one.
func boundFrom(bindings []model.Binding, k model.HostKey) (of stance, best string, found bool) {
	for _, b := range bindings {
		if b.Table != k.Table {
			continue
		}
		for _, h := range b.Hosts {
			if h.Domain == k.Domain && (!found || compareHostnames(h.From, best) < 0) {
				of, best, found = stance{Policies: b.Above, Client: b.Client}, h.From, true
			}
		}
	}
	return of, best, found
}

// ownedHosts returns the domains that the listeners of a port answer for even if no route serves them. On a plain HTTP
// port each listener's own hostname: without it, requests for it would fall to a less specific listener. In the table
// of an HTTPS listener also the hostnames of others that a client could ask for on the same connection (421), and
// everything else unless the listener takes every host.
func ownedHosts(port model.Port) []model.HostKey {
	var out []model.HostKey
	for _, l := range port.Listeners {
		switch port.Protocol {
		case model.HTTP:
			out = append(out, model.HostKey{Table: model.HTTPTable(port.Key), Domain: domainOf(l.Hostname)})
			continue
		case model.TLS, model.TCP, model.UDP:
			continue
		}
		if l.Protocol == model.TLS {
			continue
		}
		table := model.HTTPSTable(port.Key, l.Key)
		out = append(out, model.HostKey{Table: table, Domain: domainOf(l.Hostname)})
		if l.Hostname != "" {
			out = append(out, model.HostKey{Table: table, Domain: "*"})
		}
		if l.Hostname != "" && !strings.HasPrefix(l.Hostname, "*.") {
			continue // an exact name covers no other
		}
		for _, other := range port.Listeners {
			if other.Key != l.Key && covers(l.Hostname, other.Hostname) {
				out = append(out, model.HostKey{Table: table, Domain: other.Hostname})
			}
		}
	}
	return out
}

// ownsDomain reports whether a domain that no route serves belongs to the table's own listener, which has the hostname
// (404), or to nobody or another one (421).
func ownsDomain(hostname, domain string) bool { return domainOf(hostname) == domain }

func domainOf(hostname string) string {
	if hostname == "" {
		return "*"
	}
	return hostname
}

// covers reports whether every host that the more specific hostname takes is one that the other takes too.
func covers(hostname, specific string) bool {
	switch {
	case specific == "" || hostname == specific:
		return false
	case hostname == "":
		return true
	case strings.HasPrefix(hostname, "*."):
		return strings.HasSuffix(specific, hostname[1:])
	}
	return false
}

func trustsOf(k model.PortKey, port model.Port) []AuthorityKey {
	var out []AuthorityKey
	for _, l := range port.Listeners {
		if l.Clients != nil {
			out = append(out, AuthorityKey{Proxy: k.Proxy, Trust: l.Clients.Trust})
		}
	}
	return out
}

func clientSecretsOf(k BackendKey, s security) []SecretKey {
	if s.Client == (model.Name{}) {
		return nil
	}
	return []SecretKey{{Proxy: k.Proxy, Secret: s.Client}}
}

func secretsOf(k model.PortKey, port model.Port) []SecretKey {
	var out []SecretKey
	for _, l := range port.Listeners {
		for _, c := range l.Certificates {
			out = append(out, SecretKey{Proxy: k.Proxy, Secret: c})
		}
	}
	return out
}

package envoy

import (
	"cmp"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// Field numbers that bodies are put together with, so that a route is marshalled once however often it is sent.
const (
	fieldVirtualHosts   protowire.Number = 2  // RouteConfiguration.virtual_hosts
	fieldHostRoutes     protowire.Number = 3  // VirtualHost.routes
	fieldHostMatcher    protowire.Number = 21 // VirtualHost.matcher
	fieldRouteListRoute protowire.Number = 1  // RouteList.routes
)

// hostRoute is an entry at a host, with the hostname of its route that the host came from.
type hostRoute struct {
	*entry
	from string
}

// compareHostRoutes orders the routes of a host: a more specific hostname comes before any match (HTTPRouteSpec
// .hostnames: "precedence must be given to rules from the HTTPRoute with the largest number of characters in a
// matching non-wildcard hostname"), then the match decides.
func compareHostRoutes(a, b hostRoute) int {
	return cmp.Or(compareHostnames(a.from, b.from), a.Rank.compare(b.Rank))
}

func sortHostRoutes(routes []hostRoute) { slices.SortFunc(routes, compareHostRoutes) }

// compareHostnames orders hostnames the more specific first: exact, then wildcards by length, then none.
func compareHostnames(a, b string) int {
	exact := func(h string) bool { return h != "" && !strings.HasPrefix(h, "*") }
	return cmp.Or(compareBool(exact(a), exact(b)), compareDesc(len(a), len(b)))
}

// virtualHost puts a host together from its routes, which are sorted. needs are the backends that it needs besides
// those of its routes.
//
// Extension servers are shown a list of routes and not a tree, which they would not know.
func (b *builder) virtualHost(host *routev3.VirtualHost, routes []hostRoute, needs []model.BackendKey) *xds.Part {
	body := marshal(host)
	if tree, ok := pathTree(routes); ok && !b.servers.takes(model.HookVirtualHost) && !b.servers.translates(xds.Routes) {
		body = protowire.AppendTag(body, fieldHostMatcher, protowire.BytesType)
		body = protowire.AppendBytes(body, tree)
	} else {
		body = appendRoutes(body, fieldHostRoutes, routes)
	}
	part := newPart(host.GetName(), body)
	for _, b := range needs {
		part.Needs = append(part.Needs, b.String())
	}
	for i, r := range routes {
		for _, b := range r.Needs {
			part.Needs = append(part.Needs, b.String())
		}
		part.Needs = append(part.Needs, r.Clusters...)
		if r.Rank.Route == (model.RouteKey{}) {
			continue
		}
		if i == 0 || r.Rank.Route != routes[i-1].Rank.Route {
			part.Owners = append(part.Owners, r.Rank.Route.Ref())
		}
	}
	slices.Sort(part.Needs)
	part.Needs = slices.Compact(part.Needs)
	slices.SortFunc(part.Owners, model.Ref.Compare)
	part.Owners = slices.Compact(part.Owners)
	return part
}

// newHost returns the virtual host of a domain without routes.
func newHost(domain string) *routev3.VirtualHost {
	return &routev3.VirtualHost{Name: domain, Domains: []string{domain}}
}

// misdirected is the answer to everything for a domain that another listener of the port owns: the client sent the
// request on the wrong connection (RFC 9110 section 15.5.20).
const misdirected = 421

// answering answers everything for a domain with a status.
func answering(domain string, status uint32) *xds.Part {
	return newPart(domain, marshal(&routev3.VirtualHost{
		Name: domain, Domains: []string{domain},
		Routes: []*routev3.Route{{
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action: respond(status),
		}},
	}))
}

func newPart(domain string, host []byte) *xds.Part {
	body := make([]byte, 0, len(host)+8)
	body = protowire.AppendTag(body, fieldVirtualHosts, protowire.BytesType)
	body = protowire.AppendBytes(body, host)
	return &xds.Part{Name: domain, Hash: hash(body), Body: body}
}

func appendRoutes(body []byte, field protowire.Number, routes []hostRoute) []byte {
	n := 0
	for _, r := range routes {
		n += len(r.Body) + 6
	}
	body = slices.Grow(body, n)
	for _, r := range routes {
		body = protowire.AppendTag(body, field, protowire.BytesType)
		body = protowire.AppendBytes(body, r.Body)
	}
	return body
}

package envoy

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// guard is what a listener does to every request before a route is chosen.
type guard struct {
	Port    model.PortKey
	Filters []model.Attached
	Fault   *model.Fault
}

// addGuards adds the filters of the listeners that have some, apart from all else about a listener: hosts read them,
// and a certificate must not reach every host.
func (b *builder) addGuards(e *incr.Engine) {
	b.guards = incr.NewTable(e, "listener filters", func(r *incr.Reader, k model.ListenerKey) (*guard, bool) {
		seat, ok := incr.Get(r, b.in.Seats, k)
		if !ok || seat.Conflict != nil || len(seat.Listener.Filters) == 0 && seat.Listener.Fault == nil {
			return nil, false
		}
		out := &guard{Port: seat.Port, Fault: seat.Listener.Fault}
		for _, a := range seat.Listener.Filters {
			a.Backends = b.identified(r, k, a.Backends)
			out.Filters = append(out.Filters, a)
		}
		return out, true
	}, b.in.Seats)
	b.guarded = incr.NewIndex(e, "guarded ports", b.guards, func(_ model.ListenerKey, g *guard) []model.PortKey {
		return []model.PortKey{g.Port}
	})
	b.asked = incr.NewIndex(e, "backends asked by listeners", b.guards, func(_ model.ListenerKey, g *guard) []BackendKey {
		var out []BackendKey
		for _, a := range g.Filters {
			for _, n := range a.Backends {
				if n != (model.BackendKey{}) {
					out = append(out, BackendKey{Proxy: g.Port.Proxy, Backend: n})
				}
			}
		}
		return out
	})
}

// guardOf returns what the listener of a host does to its requests, nil if that is nothing. Hosts of ports without any
// such listener depend on nothing more than that.
func (b *builder) guardOf(r *incr.Reader, k model.HostKey) *guard {
	port := k.Table.Port()
	if b.guarded.Len(r, port) == 0 {
		return nil
	}
	g, _ := incr.Get(r, b.guards, b.ownerOf(r, k))
	return g
}

// ownerOf returns the listener that a host belongs to.
func (b *builder) ownerOf(r *incr.Reader, k model.HostKey) model.ListenerKey {
	if k.Table.Secure() {
		return k.Table.Listener()
	}
	hostname := k.Domain
	if hostname == "*" {
		hostname = ""
	}
	listener, _ := b.in.Owner(r, k.Table.Port(), hostname)
	return listener
}

// place is where the filters of the routes on a port run: behind filters of listeners they go by the route that a
// request has by then.
func (b *builder) place(r *incr.Reader, port model.PortKey) feature.Place {
	if b.guarded.Len(r, port) > 0 {
		return feature.OfRouteLate
	}
	return feature.OfRoute
}

// lastRank comes after the rank of every route.
const lastRank = 9

// guardHost puts a host behind the filters of its listener. They act on requests that match no route too: the routes
// that it returns end with one that takes those.
func (b *builder) guardHost(
	g *guard, host *routev3.VirtualHost, routes []hostRoute,
) (_ []hostRoute, needs []model.BackendKey) {
	scope := &feature.Scope{}
	b.opts.Chain.Filters(scope, g.Filters)
	for name, config := range scope.Fill(feature.OfListener, nil) {
		if host.TypedPerFilterConfig == nil {
			host.TypedPerFilterConfig = map[string]*anypb.Any{}
		}
		host.TypedPerFilterConfig[name] = config
	}
	everything := model.ValueMatch{Type: model.Prefix, Value: "/"}
	rest := &entry{
		Path: everything, Rank: rank{PathRank: lastRank},
		Body: marshal(&routev3.Route{Match: routeMatch(model.Match{Path: everything}, false), Action: respond(404)}),
	}
	from := ""
	if len(routes) > 0 {
		from = routes[len(routes)-1].from
	}
	return append(slices.Clip(routes), hostRoute{entry: rest, from: from}), scope.Needs
}

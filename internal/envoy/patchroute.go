package envoy

import (
	"errors"
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/envoy/patch"
	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// shownTable is a route table as a patch sees it: whole, and without what Envoy Gateway has not. A virtual host that no
// route serves, which answers with 404 or 421, or for a listener that must let nobody in, is not shown.
type shownTable struct {
	table *routev3.RouteConfiguration
	// hosts are the virtual hosts that are shown as they are without patches, by domain.
	hosts map[string]shownHost
	view  patch.Routes
}

type shownHost struct {
	part *xds.Part
	host *routev3.VirtualHost
}

func (b *builder) changeRoutes(
	p *patching, key model.RouteTableKey, base *xds.Resource, steps []*step,
) (*xds.Resource, error) {
	shown, err := b.show(p.r, key, base)
	if err != nil {
		return nil, err
	}
	after, err := p.run(shown.table, steps, func(theirs string) patch.View {
		view := shown.view
		view.Name.Theirs = theirs
		return &view
	})
	if err != nil {
		return nil, err
	}
	if err := patch.Check(shown.table, after, b.limits(p)); err != nil {
		return nil, err
	}
	return shown.restore(p.plan.Policy.Policy, base, after.(*routev3.RouteConfiguration))
}

// show puts a route table together from its parts. Those of hosts with many routes, which have a tree to find them in,
// have the list that it was made of.
func (b *builder) show(r *incr.Reader, key model.RouteTableKey, base *xds.Resource) (*shownTable, error) {
	out := &shownTable{
		table: &routev3.RouteConfiguration{}, hosts: map[string]shownHost{},
		view: patch.Routes{Name: patch.Rename{Own: base.Name}},
	}
	if err := proto.Unmarshal(base.Body, out.table); err != nil {
		return nil, err
	}
	built := map[string]bool{}
	for _, block := range b.blocks.Keys(r, key) {
		for _, k := range b.hosts.Keys(r, block) {
			built[k.Domain] = true
		}
	}
	clusters := map[string]string{}
	for _, part := range base.Parts.Sorted() {
		if len(part.Owners) == 0 {
			continue
		}
		host, err := hostOf(part)
		if err != nil {
			return nil, err
		}
		at := model.HostKey{Table: key, Domain: part.Name}
		view := patch.Host{Rename: patch.Rename{Own: part.Name, Theirs: part.Name}}
		if built[part.Name] {
			routes := b.guardedRoutes(r, at)
			list, err := routesOf(routes)
			if err != nil {
				return nil, err
			}
			if host.Matcher != nil {
				host.Matcher, host.Routes = nil, list
			}
			view.Theirs = b.listenerName(r, b.ownerOf(r, at)) + "/" + underscored(part.Name)
			view.Routes = namesOf(part.Name, routes, list, clusters)
		}
		out.table.VirtualHosts = append(out.table.VirtualHosts, host)
		out.hosts[part.Name] = shownHost{part: part, host: proto.CloneOf(host)}
		out.view.Hosts = append(out.view.Hosts, view)
	}
	return out, nil
}

func hostOf(part *xds.Part) (*routev3.VirtualHost, error) {
	one := &routev3.RouteConfiguration{}
	if err := proto.Unmarshal(part.Body, one); err != nil {
		return nil, err
	}
	if len(one.VirtualHosts) != 1 {
		return nil, fmt.Errorf("the virtual host %s cannot be patched", part.Name)
	}
	return one.VirtualHosts[0], nil
}

func routesOf(list []hostRoute) ([]*routev3.Route, error) {
	out := make([]*routev3.Route, len(list))
	for i, r := range list {
		out[i] = &routev3.Route{}
		if err := proto.Unmarshal(r.Body, out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// guardedRoutes returns the routes that a host has, in order.
func (b *builder) guardedRoutes(r *incr.Reader, k model.HostKey) []hostRoute {
	routes := b.routesAt(r, k)
	if g := b.guardOf(r, k); g != nil {
		routes, _ = b.guardHost(g, newHost(k.Domain), routes)
	}
	return routes
}

// underscored is a domain in the names of Envoy Gateway.
func underscored(domain string) string { return strings.ReplaceAll(domain, ".", "_") }

// namesOf returns the names that Envoy Gateway has for the routes of a host:
// httproute/NAMESPACE/ROUTE/rule/INDEX/match/INDEX/HOST. clusters are those of the clusters in the hosts before.
func namesOf(
	domain string, routes []hostRoute, built []*routev3.Route, clusters map[string]string,
) map[string]patch.Route {
	out := make(map[string]patch.Route, len(routes))
	for i := range routes {
		rank := routes[i].Rank
		if rank.Route == (model.RouteKey{}) {
			continue // that of the listener itself
		}
		rule := fmt.Sprintf("%s/%s/rule/%d", strings.ToLower(rank.Route.Kind), rank.Route.Name, rank.Rule)
		name := patch.Route{Rename: patch.Rename{
			Own: built[i].Name, Theirs: fmt.Sprintf("%s/match/%d/%s", rule, rank.Match, underscored(domain)),
		}}
		found := patch.ClustersOf(built[i])
		for j, own := range found {
			theirs := rule
			if len(found) > 1 {
				theirs = fmt.Sprintf("%s/backend/%d", rule, j)
			}
			if known, ok := clusters[theirs]; ok && known != own {
				continue // the rule has several: they keep their names
			}
			clusters[theirs] = own
			name.Clusters = append(name.Clusters, patch.Rename{Own: own, Theirs: theirs})
		}
		out[patch.Identity(built[i])] = name
	}
	return out
}

// restore takes a route table apart again. Virtual hosts that the patches left alone stay as they were built.
func (t *shownTable) restore(
	policy model.Ref, base *xds.Resource, after *routev3.RouteConfiguration,
) (*xds.Resource, error) {
	out := &xds.Resource{Name: base.Name, Needs: base.Needs, Owners: base.Owners, Settle: base.Settle}
	hosts := after.VirtualHosts
	after.VirtualHosts = nil
	var err error
	if out.Body, err = (proto.MarshalOptions{Deterministic: true}).Marshal(after); err != nil {
		return nil, err
	}
	var parts []*xds.Part
	domains := map[string]bool{}
	for part := range base.Parts.All() {
		if len(part.Owners) == 0 {
			parts = append(parts, part)
			domains[part.Name] = true
		}
	}
	names := map[string]bool{}
	for _, host := range hosts {
		for _, d := range host.Domains {
			if domains[d] {
				return nil, fmt.Errorf("the domain %s has a virtual host already: each has one", d)
			}
			domains[d] = true
		}
		if names[host.Name] {
			return nil, fmt.Errorf("there are two virtual hosts named %q", host.Name)
		}
		names[host.Name] = true
		part, err := t.part(policy, host)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	out.Parts = xds.NewParts(parts)
	out.Hash = xds.RoutesHash(out.Body, out.Parts)
	return out, nil
}

// part returns a virtual host after the patches.
func (t *shownTable) part(policy model.Ref, host *routev3.VirtualHost) (*xds.Part, error) {
	before, known := t.hosts[host.Name]
	if known && proto.Equal(before.host, host) {
		return before.part, nil
	}
	if host.Name == "" {
		return nil, errors.New("a virtual host needs a name")
	}
	if !known {
		before.part = &xds.Part{Owners: []model.Ref{policy}}
	}
	part, err := hostPart(host, before.part.Needs...)
	if err != nil {
		return nil, err
	}
	part.Owners = before.part.Owners
	return part, nil
}

package patch

import (
	"fmt"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
)

// websocket is the upgrade that Envoy Gateway allows route by route, and Sluice in the connection manager.
const websocket = "websocket"

// Routes is the view of a RouteConfiguration: that of Envoy Gateway has a virtual host for each hostname that routes
// have, named after the listener.
type Routes struct {
	Name  Rename
	Hosts []Host
}

// Host is a virtual host of the view.
type Host struct {
	Rename
	// Routes are its routes as they were built, by their [Identity]. Patches may add others, and remove some.
	Routes map[string]Route
}

// Route is a route of a virtual host, and the clusters that it leads to.
type Route struct {
	Rename
	Clusters []Rename
}

// Identity is what a route is known by, wherever it stands: its name and what it matches.
func Identity(r *routev3.Route) string {
	match, err := proto.MarshalOptions{Deterministic: true}.Marshal(r.Match)
	if err != nil {
		return ""
	}
	return r.Name + "\n" + string(match)
}

// Show implements [View].
func (v *Routes) Show(m proto.Message) {
	rc := m.(*routev3.RouteConfiguration)
	rc.Name = v.Name.Theirs
	hosts := make(map[string]Host, len(v.Hosts))
	for _, h := range v.Hosts {
		hosts[h.Own] = h
	}
	for _, host := range rc.VirtualHosts {
		as, ok := hosts[host.Name]
		if !ok {
			continue
		}
		host.Name = as.Theirs
		for _, route := range host.Routes {
			if as, ok := as.Routes[Identity(route)]; ok {
				as.show(route)
			}
		}
	}
}

func (as *Route) show(route *routev3.Route) {
	route.Name = as.Theirs
	translateClusters(route, func(own string) string { return toTheirs(as.Clusters, own) })
	if action := route.GetRoute(); action != nil && len(action.UpgradeConfigs) == 0 {
		action.UpgradeConfigs = []*routev3.RouteAction_UpgradeConfig{{UpgradeType: websocket}}
	}
}

// Restore implements [View].
func (v *Routes) Restore(m proto.Message) error {
	rc := m.(*routev3.RouteConfiguration)
	if rc.Name != v.Name.Theirs {
		return fmt.Errorf("the name of a resource must stay: it is %q", v.Name.Theirs)
	}
	rc.Name = v.Name.Own
	hosts, routes, clusters := map[string]string{}, map[string]string{}, map[string]string{}
	for _, h := range v.Hosts {
		hosts[h.Theirs] = h.Own
		for _, r := range h.Routes {
			routes[r.Theirs] = r.Own
			for _, c := range r.Clusters {
				clusters[c.Theirs] = c.Own
			}
		}
	}
	for _, host := range rc.VirtualHosts {
		host.Name = either(hosts, host.Name)
		for _, route := range host.Routes {
			route.Name = either(routes, route.Name)
			translateClusters(route, func(theirs string) string { return either(clusters, theirs) })
			// Envoy Gateway's default is that of the connection manager, too.
			if action := route.GetRoute(); action != nil && len(action.UpgradeConfigs) == 1 &&
				proto.Equal(action.UpgradeConfigs[0], &routev3.RouteAction_UpgradeConfig{UpgradeType: websocket}) {
				action.UpgradeConfigs = nil
			}
		}
	}
	return nil
}

func either(names map[string]string, name string) string {
	if to, ok := names[name]; ok {
		return to
	}
	return name
}

func toTheirs(clusters []Rename, own string) string {
	if i := slices.IndexFunc(clusters, func(r Rename) bool { return r.Own == own }); i >= 0 {
		return clusters[i].Theirs
	}
	return own
}

// translateClusters changes the names of the clusters that a route sends requests to.
func translateClusters(route *routev3.Route, name func(string) string) {
	switch to := route.GetRoute().GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		to.Cluster = name(to.Cluster)
	case *routev3.RouteAction_WeightedClusters:
		for _, c := range to.WeightedClusters.GetClusters() {
			c.Name = name(c.Name)
		}
	}
}

// ClustersOf returns the names of the clusters that a route sends requests to, in the order in which it names them.
// Mirrors are not among them: what they answer is nobody's response. Nor are those that only headers name.
func ClustersOf(route *routev3.Route) []string {
	var out []string
	translateClusters(route, func(name string) string {
		if name != "" {
			out = append(out, name)
		}
		return name
	})
	return out
}

// NeedsOf returns the names of the clusters that there have to be before a route can serve: those of [ClustersOf], and
// those of its mirrors. One that only headers of a request name is known to nobody before.
func NeedsOf(route *routev3.Route) []string {
	out := ClustersOf(route)
	for _, m := range route.GetRoute().GetRequestMirrorPolicies() {
		if m.GetCluster() != "" {
			out = append(out, m.GetCluster())
		}
	}
	return out
}

package envoy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/envoy/patch"
	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// namer finds the resources that a policy names: by the names that Envoy Gateway gives them, in either of its schemes,
// or by those that they have.
type namer struct {
	b      *builder
	r      *incr.Reader
	policy *resolve.PatchPolicy
	// covered remembers of listeners whether they are what the policy is for.
	covered map[model.ListenerKey]bool
}

// maxHinted is how many names a message lists.
const maxHinted = 8

// find notes in a step which resource a patch names. It returns why the policy may not patch it; empty if it may, or
// if there is none: then it is one that a policy adds, or nothing.
func (n *namer) find(s *step, name string) (problem string) {
	switch s.Type {
	case xds.Listener:
		problem = n.listener(s, name)
	case xds.Routes:
		problem = n.routes(s, name)
	case xds.Cluster, xds.Endpoints:
		problem = n.cluster(s, name)
	case xds.Secret:
		problem = n.secret(s, name)
	}
	if problem == "" && s.Port == (model.PortKey{}) && s.Table == (model.RouteTableKey{}) &&
		s.Backend == (BackendKey{}) && s.Endpoint == (BackendKey{}) && s.Secret == (SecretKey{}) {
		s.Added = AddedKey{Proxy: n.policy.Proxy, Type: s.Type, Name: name}
		s.Missing = fmt.Sprintf("There is no %s named %q", s.Type, name) + n.hint(s.Type)
	}
	return problem
}

// hint says which names there are.
func (n *namer) hint(t xds.Type) string {
	const show = "; sluice translate, or /config of the admin API, shows what there is"
	if t != xds.Listener && t != xds.Routes {
		return ": name it as Envoy Gateway does (httproute/NAMESPACE/ROUTE/rule/0; namespace/name for a Secret)" + show
	}
	var names []string
	for _, port := range n.b.portsOf.Values(n.r, n.policy.Proxy) {
		for i := range port.Listeners {
			if l := port.Listeners[i].Key; n.covers(l) {
				names = append(names, n.b.listenerName(n.r, l))
			}
		}
	}
	slices.Sort(names)
	if len(names) > maxHinted {
		names = append(names[:maxHinted:maxHinted], "...")
	}
	return fmt.Sprintf(": there are %s", strings.Join(names, ", ")) + show
}

// covers reports whether a listener is what the policy is for.
func (n *namer) covers(l model.ListenerKey) bool {
	known, ok := n.covered[l]
	if !ok {
		known = n.b.in.Patches(n.r, n.policy, l)
		n.covered[l] = known
	}
	return known
}

// foreign returns the first of the listeners that the policy is not for; empty if there is none.
func (n *namer) foreign(listeners []model.Listener) string {
	for i := range listeners {
		if key := listeners[i].Key; !n.covers(key) {
			return key.Source.String()
		}
	}
	return ""
}

const (
	sharedPort = "Port %d is that of %s too, which the policy is not for: the patch would change it as well. Give the " +
		"Gateway a port of its own"
	sharedCluster = "%s is used by %s too, which the policy is not for: the patch would change it as well"
)

// listenerName is the name that Envoy Gateway gives to a listener, and to what is made of it alone.
func (b *builder) listenerName(r *incr.Reader, l model.ListenerKey) string {
	name := b.in.GatewayOf(r, l).String()
	if l.Source.Kind == model.KindListenerSet {
		name += "/" + l.Source.Name.String()
	}
	return name + "/" + l.Name
}

func (n *namer) listener(s *step, name string) string {
	for key, port := range n.b.portsOf.Values(n.r, n.policy.Proxy) {
		named := name == fmt.Sprintf("%s-%d", key.Transport, key.Port)
		for i := range port.Listeners {
			named = named || name == n.b.listenerName(n.r, port.Listeners[i].Key)
		}
		switch {
		case named:
			s.Theirs = name
		case name != ListenerName(key):
			continue
		}
		if by := n.foreign(port.Listeners); by != "" {
			return fmt.Sprintf(sharedPort, key.Port, by)
		}
		s.Port = key
		return ""
	}
	return ""
}

func (n *namer) routes(s *step, name string) string {
	for key, port := range n.b.portsOf.Values(n.r, n.policy.Proxy) {
		for i := range port.Listeners {
			l := &port.Listeners[i]
			table, sharing, theirs := model.HTTPTable(key), port.Listeners, fmt.Sprintf("http-%d", key.Port)
			switch l.Protocol {
			case model.HTTPS:
				table, sharing, theirs = model.HTTPSTable(key, l.Key), port.Listeners[i:i+1], ""
			case model.TLS, model.TCP, model.UDP:
				continue
			}
			switch name {
			case n.b.listenerName(n.r, l.Key), theirs:
				s.Theirs = name
			case table.String():
			default:
				continue
			}
			if by := n.foreign(sharing); by != "" {
				return fmt.Sprintf(sharedPort, key.Port, by)
			}
			s.Table = table
			return ""
		}
	}
	return ""
}

func (n *namer) secret(s *step, name string) string {
	namespace, secret, ok := strings.Cut(name, "/")
	key := SecretKey{Proxy: n.policy.Proxy, Secret: model.Name{Namespace: namespace, Name: secret}}
	if !ok || n.b.secretUses.Len(n.r, key) == 0 {
		return ""
	}
	for _, port := range n.b.secretUses.Keys(n.r, key) {
		if by := n.foreignPort(port); by != "" {
			return fmt.Sprintf(sharedCluster, "Secret "+name, by)
		}
	}
	s.Secret = key
	return ""
}

func (n *namer) foreignPort(key model.PortKey) string {
	port, _ := incr.Get(n.r, n.b.in.Ports, key)
	return n.foreign(port.Listeners)
}

// cluster finds a cluster, or its endpoints.
func (n *namer) cluster(s *step, name string) string {
	keys := n.ruleClusters(name)
	switch own, ok := model.ParseBackend(name); {
	case len(keys) > 1:
		return fmt.Sprintf("%s is %d clusters here, one for each backend: name one, as in %s/backend/0",
			name, len(keys), name)
	case len(keys) == 1:
		s.Theirs = name
	case ok && n.used(own):
		keys = []model.BackendKey{own}
	default:
		return ""
	}
	key := BackendKey{Proxy: n.policy.Proxy, Backend: keys[0]}
	if by := n.foreignUser(keys[0]); by != "" {
		return fmt.Sprintf(sharedCluster, keys[0], by)
	}
	if s.Type == xds.Cluster {
		s.Backend = key
	} else {
		s.Endpoint = key
	}
	return ""
}

// used reports whether the proxy has the cluster of a backend.
func (n *namer) used(backend model.BackendKey) bool {
	key := BackendKey{Proxy: n.policy.Proxy, Backend: backend}
	return n.b.backendUses.Len(n.r, key)+n.b.streamUses.Len(n.r, key)+n.b.asked.Len(n.r, key)+
		n.b.collectors.Len(n.r, key)+n.b.policyBackends.Len(n.r, key) > 0
}

// foreignUser returns whose listeners lead to a backend too, if the policy is not for them; empty if it is for all.
func (n *namer) foreignUser(backend model.BackendKey) string {
	if n.policy.Alone {
		return ""
	}
	key := BackendKey{Proxy: n.policy.Proxy, Backend: backend}
	var listeners []model.ListenerKey
	ports := append(n.b.collectors.Keys(n.r, key), n.b.policyBackends.Keys(n.r, key)...)
	for _, site := range n.b.backendUses.Keys(n.r, key) {
		if site.Table.Secure() {
			listeners = append(listeners, site.Table.Listener())
		} else {
			ports = append(ports, site.Table.Port())
		}
	}
	for _, chain := range n.b.streamUses.Keys(n.r, key) {
		listeners = append(listeners, chain.Listener)
	}
	for _, l := range append(listeners, n.b.asked.Keys(n.r, key)...) {
		if !n.covers(l) {
			return l.Source.String()
		}
	}
	slices.SortFunc(ports, model.PortKey.Compare)
	for _, port := range slices.Compact(ports) {
		if by := n.foreignPort(port); by != "" {
			return by
		}
	}
	return ""
}

// ruleClusters returns the clusters of a rule, or of one of its backends, as Envoy Gateway names them:
// httproute/NAMESPACE/ROUTE/rule/INDEX, with /backend/INDEX behind it.
func (n *namer) ruleClusters(name string) []model.BackendKey {
	kinds := map[string]string{
		"httproute": model.KindHTTPRoute, "grpcroute": model.KindGRPCRoute, "tlsroute": model.KindTLSRoute,
		"tcproute": model.KindTCPRoute,
	}
	parts := strings.Split(name, "/")
	if len(parts) != 5 && (len(parts) != 7 || parts[5] != "backend") || parts[3] != "rule" || kinds[parts[0]] == "" {
		return nil
	}
	key := model.RouteKey{Kind: kinds[parts[0]], Name: model.Name{Namespace: parts[1], Name: parts[2]}}
	rule, err := strconv.Atoi(parts[4])
	if err != nil {
		return nil
	}
	found := n.clustersOf(key, rule)
	if len(parts) == 5 {
		return found
	}
	route, ok := incr.Get(n.r, n.b.in.Routes, key)
	backend, err := strconv.Atoi(parts[6])
	rule = max(rule, 0)
	if !ok || err != nil || rule >= len(route.Rules) || backend < 0 || backend >= len(route.Rules[rule].Backends) {
		return nil
	}
	wanted := route.Rules[rule].Backends[backend].Backend.Shared()
	return slices.DeleteFunc(found, func(k model.BackendKey) bool { return k.Shared() != wanted })
}

// clustersOf returns the clusters that a rule sends requests or connections to, on the listeners that the policy is
// for, each once. TLSRoutes and TCPRoutes have one rule, which Envoy Gateway counts as -1.
func (n *namer) clustersOf(key model.RouteKey, rule int) []model.BackendKey {
	bindings, _ := incr.Get(n.r, n.b.in.Bindings, key)
	var out []model.BackendKey
	for _, k := range chainsOf(key, bindings) {
		if c, ok := incr.Get(n.r, n.b.chains, k); ok && rule <= 0 && n.covers(k.Listener) {
			out = append(out, c.Needs...)
		}
	}
	for _, k := range sitesOf(key, bindings) {
		if k.Table.Port().Proxy != n.policy.Proxy {
			continue
		}
		s := n.b.servedAt(n.r, k)
		for i := range s.entries {
			if e := &s.entries[i]; e.Rank.Rule == rule {
				out = append(out, e.clusters()...)
			}
		}
	}
	slices.SortFunc(out, model.BackendKey.Compare)
	return slices.Compact(out)
}

// clusters returns the backends that a route sends requests to, without those that its filters ask.
func (e *entry) clusters() []model.BackendKey {
	route := &routev3.Route{}
	if proto.Unmarshal(e.Body, route) != nil {
		return nil
	}
	names := patch.ClustersOf(route)
	var out []model.BackendKey
	for _, key := range e.Needs {
		if slices.Contains(names, key.String()) {
			out = append(out, key)
		}
	}
	return out
}

// inOrder returns the listeners of a port in the order of Envoy Gateway: as they are written, those of Gateways before
// those of ListenerSets.
func (b *builder) inOrder(r *incr.Reader, port model.Port) []model.Listener {
	place := func(key model.ListenerKey) int {
		var list []model.Listener
		if key.Source.Kind == model.KindListenerSet {
			set, _ := incr.Get(r, b.in.ListenerSets, key.Source.Name)
			list = set.Listeners
		} else {
			gateway, _ := incr.Get(r, b.in.Gateways, key.Source.Name)
			list = gateway.Listeners
		}
		return slices.IndexFunc(list, func(l model.Listener) bool { return l.Key == key })
	}
	out := slices.Clone(port.Listeners)
	slices.SortFunc(out, func(x, y model.Listener) int {
		return cmp.Or(b.in.GatewayOf(r, x.Key).Compare(b.in.GatewayOf(r, y.Key)),
			x.Key.Source.Compare(y.Key.Source), cmp.Compare(place(x.Key), place(y.Key)))
	})
	return out
}

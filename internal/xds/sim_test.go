package xds

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// sim behaves as Envoy does as far as the server can tell: it subscribes to what it is told of, withholds the ACK of
// clusters until they have endpoints, and refuses what is bad, applying the good resources of a bad response for
// clusters and listeners, and those up to the first bad one for the other types.
type sim struct {
	*client
	// bad are the versions that it refuses: "type/name=version", or "part/name=version".
	bad map[string]bool
	// has is what it runs: version by type and name. Parts are under "name/part" of Routes.
	has map[string]string
	// lookups are how each listener looks for routes: the one that runs, and one that waits for its routes.
	lookups map[string][]*lookup
	known   [numTypes]map[string]string // versions on the wire, for reconnects
	// warming are the clusters that have no endpoints since they came or changed: true if they never had any.
	warming map[string]bool
	owed    []*discoveryv3.DeltaDiscoveryResponse // withheld ACKs of clusters
	// hosts are the versions on the wire of virtual hosts that are resources of their own, of any route configuration;
	// virtual are the route configurations that take them.
	hosts   map[string]string
	virtual map[string]bool
	// asked says that virtual hosts were asked for on this stream, askedScopes that scopes were.
	asked, askedScopes bool
	// tied is the virtual host that changes together with what surrounds it, empty for none.
	tied string
	// deltas counts the responses with virtual hosts of their own.
	deltas int
	// least is the number of virtual hosts that a route configuration may never fall below.
	least int
	fault error
}

func newSim(h *harness) *sim {
	s := &sim{
		bad: map[string]bool{}, has: map[string]string{}, lookups: map[string][]*lookup{}, warming: map[string]bool{},
		hosts: map[string]string{}, virtual: map[string]bool{},
	}
	for t := range s.known {
		s.known[t] = map[string]string{}
	}
	s.reconnect(h)
	return s
}

// reconnect opens a new stream with what the Envoy has.
func (s *sim) reconnect(h *harness) {
	s.client = h.connect()
	s.owed, s.asked, s.askedScopes = nil, false, false
	for t := range numTypes {
		names := slices.Sorted(maps.Keys(s.known[t]))
		switch {
		case t == Cluster || t == Listener:
			names = nil
		case len(names) == 0:
			continue
		case t == scopes:
			names, s.askedScopes = nil, true
		}
		initial := maps.Clone(s.known[t])
		maps.DeleteFunc(initial, func(_, version string) bool { return version == "" })
		s.send(&discoveryv3.DeltaDiscoveryRequest{
			TypeUrl: t.URL(), ResourceNamesSubscribe: names, InitialResourceVersions: initial,
		})
	}
	if len(s.virtual) > 0 {
		s.askHosts()
	}
}

// askHosts is the first request for virtual hosts.
func (s *sim) askHosts() {
	s.asked = true
	s.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: hostsURL, InitialResourceVersions: maps.Clone(s.hosts)})
}

// renew is what happens when the listener of a route configuration is replaced by one that asks for it anew, in scopes
// or not: it is forgotten, but the versions of its virtual hosts are not.
func (s *sim) renew(table string) {
	for _, name := range slices.Sorted(maps.Keys(s.known[Routes])) {
		if whole, _ := unscoped(name); whole == table {
			s.leave(name)
			s.known[Routes][name] = ""
			s.subscribe(Routes, name)
		}
	}
}

// leave unsubscribes from a route configuration.
func (s *sim) leave(table string) {
	maps.DeleteFunc(s.has, func(k, _ string) bool { return strings.HasPrefix(k+"/", "routes/"+table+"/") })
	delete(s.virtual, table)
	delete(s.known[Routes], table)
	s.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: Routes.URL(), ResourceNamesUnsubscribe: []string{table}})
}

// settle answers everything for a time.
func (s *sim) settle(d time.Duration) {
	end := time.After(d)
	for {
		select {
		case r := <-s.got:
			s.handle(r)
		case <-end:
			return
		}
	}
}

func (s *sim) handle(r *discoveryv3.DeltaDiscoveryResponse) {
	if r.TypeUrl == hostsURL {
		s.handleHosts(r)
		return
	}
	t, _ := typeOf(r.TypeUrl)
	for _, name := range r.RemovedResources {
		delete(s.has, t.String()+"/"+name)
		switch t {
		case Listener:
			delete(s.lookups, name)
		case scopes:
			s.unhear(name)
		case Cluster:
			delete(s.known[Endpoints], name)
			s.unsubscribe(name)
			for k, v := range s.has {
				if strings.HasSuffix(v, "@"+name) && strings.HasPrefix(k, "routes/") && s.fault == nil {
					s.fault = fmt.Errorf("cluster %s removed while %s uses it", name, k)
				}
			}
		}
		delete(s.known[t], name)
		delete(s.warming, name)
	}
	message := ""
	for _, res := range r.Resources {
		if m := s.apply(t, res); m != "" {
			message += m + "; "
			if t != Cluster && t != Listener {
				break
			}
		}
	}
	reply := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce}
	if message != "" {
		reply.ErrorDetail = &status.Status{Code: int32(codes.Internal), Message: message}
	}
	if t == Cluster {
		s.owed = append(s.owed, r)
		s.askEndpoints(r)
		if reply.ErrorDetail != nil {
			s.owed = s.owed[:len(s.owed)-1]
			s.send(reply)
		}
	} else {
		s.send(reply)
	}
	s.look()
	if len(s.warming) == 0 {
		for _, r := range s.owed {
			s.ack(r)
		}
		s.owed = nil
	}
}

func (s *sim) unsubscribe(name string) {
	s.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: Endpoints.URL(), ResourceNamesUnsubscribe: []string{name}})
}

// askEndpoints subscribes to the endpoints of the clusters that came.
func (s *sim) askEndpoints(r *discoveryv3.DeltaDiscoveryResponse) {
	var names []string
	for _, res := range r.Resources {
		_, has := s.has["cluster/"+res.Name]
		if _, known := s.known[Endpoints][res.Name]; has && !known {
			s.known[Endpoints][res.Name] = ""
			names = append(names, res.Name)
		}
	}
	if len(names) > 0 {
		s.subscribe(Endpoints, names...)
	}
}

// apply takes one resource in, or says why not.
func (s *sim) apply(t Type, res *discoveryv3.Resource) string {
	if t == Routes {
		return s.applyRoutes(res)
	}
	if _, ok := s.known[t][res.Name]; !ok && (t == Endpoints || t == Secret) {
		return "" // nobody asks for it any more
	}
	version := versionOf(t, res.Resource.Value)
	if s.bad[t.String()+"/"+res.Name+"="+version] {
		return "bad " + t.String()
	}
	before, had := s.has[t.String()+"/"+res.Name]
	s.known[t][res.Name] = res.Version
	s.has[t.String()+"/"+res.Name] = version
	switch t {
	case Cluster:
		if !had || before != version {
			s.warming[res.Name] = !had || s.warming[res.Name]
		}
	case Endpoints:
		delete(s.warming, res.Name)
	case Listener:
		s.listen(res.Name, res.Resource.Value)
	case scopes:
		s.hear(res.Name)
	}
	return ""
}

func (s *sim) applyRoutes(res *discoveryv3.Resource) string {
	if _, ok := s.known[Routes][res.Name]; !ok {
		return "" // nobody asks for it any more
	}
	var rc routev3.RouteConfiguration
	if err := proto.Unmarshal(res.Resource.Value, &rc); err != nil {
		return err.Error()
	}
	if m := s.refuses(rc.VirtualHosts); m != "" {
		return m
	}
	prefix := "routes/" + res.Name + "/"
	before := map[string]string{}
	for k, v := range s.has {
		if strings.HasPrefix(k, prefix) && (rc.Vhds == nil || !s.virtual[res.Name]) {
			before[k] = v
			delete(s.has, k)
		}
	}
	s.has["routes/"+res.Name] = ""
	for _, h := range rc.ResponseHeadersToAdd {
		s.has["routes/"+res.Name] += h.Header.Value
	}
	for _, v := range rc.VirtualHosts {
		s.takeHost(prefix, v, before[prefix+v.Name])
	}
	if delete(s.virtual, res.Name); rc.Vhds != nil {
		s.virtual[res.Name] = true
	}
	s.known[Routes][res.Name] = res.Version
	if rc.Vhds == nil || len(before) > 0 {
		s.checkHosts(res.Name)
	}
	if rc.Vhds != nil && !s.asked {
		s.askHosts()
	}
	return ""
}

// refuses says why virtual hosts are not accepted, empty if they are.
func (s *sim) refuses(hosts []*routev3.VirtualHost) string {
	for _, v := range hosts {
		if s.bad["part/"+v.Domains[0]+"="+versionIn(v)] {
			return "bad virtual host"
		}
		if len(v.Domains) > 1 && v.Domains[0] == v.Domains[1] {
			return "duplicate entry of domain " + v.Name
		}
	}
	return ""
}

// takeHost takes in a virtual host in place of a version before.
func (s *sim) takeHost(prefix string, v *routev3.VirtualHost, before string) {
	version := versionIn(v)
	s.has[prefix+v.Domains[0]] = version
	// The version "3@c" of a part needs the cluster c.
	if _, need, ok := strings.Cut(version, "@"); ok && before != version {
		if _, ok := s.has["cluster/"+need]; (!ok || s.warming[need]) && s.fault == nil {
			s.fault = fmt.Errorf("%s uses cluster %s before it is warm", v.Domains[0], need)
		}
	}
}

// checkHosts checks what has to be true of a route configuration whenever it can be used, and of all its scopes.
func (s *sim) checkHosts(name string) {
	n := 0
	table, scope := unscoped(name)
	for k := range s.has {
		at := strings.Split(k, "/")
		if at[0] == "routes" && len(at) > 2 && (at[1] == name || scope >= 0 && strings.HasPrefix(at[1], table+"~")) {
			n++
		}
	}
	body, tied := s.has["routes/"+name], s.has["routes/"+name+"/"+s.tied]
	around, _, _ := strings.Cut(body, "/")
	switch {
	case s.fault != nil:
	case n < s.least:
		s.fault = fmt.Errorf("only %d virtual hosts left", n)
	case s.tied == "" || scope >= 0 && scopeOf(s.tied) != uint8(scope):
	case around != tied:
		s.fault = fmt.Errorf("%s is at %q beside %q", s.tied, tied, body)
	}
}

func tableOf(host string) string { return host[:strings.LastIndexByte(host, '/')] }

// handleHosts takes in virtual hosts that are resources of their own, all of them or none.
func (s *sim) handleHosts(r *discoveryv3.DeltaDiscoveryResponse) {
	s.deltas++
	reply := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce}
	var all []*routev3.VirtualHost
	for _, res := range r.Resources {
		v := &routev3.VirtualHost{}
		if err := proto.Unmarshal(res.Resource.Value, v); err != nil {
			s.t.Fatal(err)
		}
		if v.Name != res.Name {
			s.t.Fatalf("the virtual host %s is the resource %s", v.Name, res.Name)
		}
		all = append(all, v)
	}
	if m := s.refuses(all); m != "" {
		reply.ErrorDetail = &status.Status{Code: int32(codes.Internal), Message: m}
		s.send(reply)
		return
	}
	touched := map[string]bool{}
	for _, name := range r.RemovedResources {
		if _, ok := s.has["routes/"+name]; ok && s.virtual[tableOf(name)] {
			touched[tableOf(name)] = true
			delete(s.has, "routes/"+name)
		}
		delete(s.hosts, name)
	}
	for i, res := range r.Resources {
		if table := tableOf(res.Name); s.virtual[table] {
			touched[table] = true
			prefix := "routes/" + table + "/"
			s.takeHost(prefix, all[i], s.has[prefix+all[i].Domains[0]])
		}
		s.hosts[res.Name] = res.Version
	}
	for table := range touched {
		s.checkHosts(table)
	}
	s.send(reply)
}

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
	has   map[string]string
	known [numTypes]map[string]string // versions on the wire, for reconnects
	// warming are the clusters that have no endpoints since they came or changed: true if they never had any.
	warming map[string]bool
	owed    []*discoveryv3.DeltaDiscoveryResponse // withheld ACKs of clusters
	// least is the number of virtual hosts that a route configuration may never fall below.
	least int
	fault error
}

func newSim(h *harness) *sim {
	s := &sim{bad: map[string]bool{}, has: map[string]string{}, warming: map[string]bool{}}
	for t := range s.known {
		s.known[t] = map[string]string{}
	}
	s.reconnect(h)
	return s
}

// reconnect opens a new stream with what the Envoy has.
func (s *sim) reconnect(h *harness) {
	s.client = h.connect()
	s.owed = nil
	for t := range numTypes {
		names := slices.Sorted(maps.Keys(s.known[t]))
		if t == Cluster || t == Listener {
			names = nil
		} else if len(names) == 0 {
			continue
		}
		initial := maps.Clone(s.known[t])
		maps.DeleteFunc(initial, func(_, version string) bool { return version == "" })
		s.send(&discoveryv3.DeltaDiscoveryRequest{
			TypeUrl: t.URL(), ResourceNamesSubscribe: names, InitialResourceVersions: initial,
		})
	}
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
	t, _ := typeOf(r.TypeUrl)
	for _, name := range r.RemovedResources {
		delete(s.has, t.String()+"/"+name)
		if t == Cluster {
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
		s.ask(Endpoints, r)
		if reply.ErrorDetail != nil {
			s.owed = s.owed[:len(s.owed)-1]
			s.send(reply)
		}
	} else {
		s.send(reply)
	}
	if t == Listener {
		s.ask(Routes, r)
	}
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

// ask subscribes to the resources of the type that have the names of those that came.
func (s *sim) ask(t Type, r *discoveryv3.DeltaDiscoveryResponse) {
	var names []string
	for _, res := range r.Resources {
		of, _ := typeOf(r.TypeUrl)
		if _, ok := s.has[of.String()+"/"+res.Name]; !ok {
			continue
		}
		if _, ok := s.known[t][res.Name]; !ok {
			s.known[t][res.Name] = ""
			names = append(names, res.Name)
		}
	}
	if len(names) > 0 {
		s.subscribe(t, names...)
	}
}

// apply takes one resource in, or says why not.
func (s *sim) apply(t Type, res *discoveryv3.Resource) string {
	if t == Routes {
		return s.applyRoutes(res)
	}
	version := string(res.Resource.Value)
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
	}
	return ""
}

func (s *sim) applyRoutes(res *discoveryv3.Resource) string {
	var rc routev3.RouteConfiguration
	if err := proto.Unmarshal(res.Resource.Value, &rc); err != nil {
		return err.Error()
	}
	for _, v := range rc.VirtualHosts {
		if s.bad["part/"+v.Name+"="+v.Domains[1]] {
			return "bad virtual host"
		}
		if v.Domains[0] == v.Domains[1] {
			return "duplicate entry of domain " + v.Name
		}
	}
	prefix := "routes/" + res.Name + "/"
	before := map[string]string{}
	for k, v := range s.has {
		if strings.HasPrefix(k, prefix) {
			before[k] = v
			delete(s.has, k)
		}
	}
	s.has["routes/"+res.Name] = ""
	if len(rc.VirtualHosts) < s.least && s.fault == nil {
		s.fault = fmt.Errorf("only %d virtual hosts left", len(rc.VirtualHosts))
	}
	for _, v := range rc.VirtualHosts {
		s.has[prefix+v.Name] = v.Domains[1]
		// The version "3@c" of a part needs the cluster c.
		if _, need, ok := strings.Cut(v.Domains[1], "@"); ok && before[prefix+v.Name] != v.Domains[1] {
			if _, ok := s.has["cluster/"+need]; (!ok || s.warming[need]) && s.fault == nil {
				s.fault = fmt.Errorf("%s uses cluster %s before it is warm", v.Name, need)
			}
		}
	}
	s.known[Routes][res.Name] = res.Version
	return ""
}

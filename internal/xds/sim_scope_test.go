package xds

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// lookup is how a listener looks for its routes: by the name of their configuration, or in scopes.
type lookup struct {
	version, table string
	scoped         bool
	// heard are the scopes that came after the listener: those that came before it knows nothing of.
	heard map[string]bool
}

// managerOf is a listener, and its HTTP connection manager with where that is in it.
func managerOf(listener []byte) (*listenerv3.Listener, *anypb.Any, *hcmv3.HttpConnectionManager) {
	var l listenerv3.Listener
	var hcm hcmv3.HttpConnectionManager
	if err := proto.Unmarshal(listener, &l); err != nil {
		panic(err)
	}
	config := l.FilterChains[0].Filters[0].GetTypedConfig()
	if err := config.UnmarshalTo(&hcm); err != nil {
		panic(err)
	}
	return &l, config, &hcm
}

// versionOf is the version of a resource that is made by set.
func versionOf(t Type, body []byte) string {
	if t == Listener {
		_, _, hcm := managerOf(body)
		return hcm.ServerName
	}
	return string(body)
}

// listen takes in a listener. If it is another, that waits for its routes while the one before runs.
func (s *sim) listen(name string, body []byte) {
	_, _, hcm := managerOf(body)
	next := &lookup{version: hcm.ServerName, table: hcm.GetRds().GetRouteConfigName(), heard: map[string]bool{}}
	if hcm.GetScopedRoutes() != nil {
		next.table, next.scoped = hcm.GetScopedRoutes().GetName(), true
	}
	list := s.lookups[name]
	if n := len(list); n > 0 && list[n-1].version == next.version && list[n-1].scoped == next.scoped {
		return
	}
	if len(list) > 1 {
		list = list[:1]
	}
	s.lookups[name] = append(list, next)
}

// hear tells all listeners of a scope.
func (s *sim) hear(name string) {
	for _, list := range s.lookups {
		for _, l := range list {
			l.heard[name] = true
		}
	}
}

// unhear tells all listeners that a scope is gone.
func (s *sim) unhear(name string) {
	for _, list := range s.lookups {
		for _, l := range list {
			delete(l.heard, name)
		}
	}
}

// wants are the route configurations that a listener asks for.
func (l *lookup) wants() []string {
	if !l.scoped {
		return []string{l.table}
	}
	return slices.Sorted(maps.Keys(l.heard))
}

// ready reports whether a listener has all the routes that it waits for.
func (s *sim) ready(l *lookup) bool {
	for _, name := range l.wants() {
		if _, ok := s.has["routes/"+name]; !ok {
			return false
		}
	}
	return !l.scoped || len(l.heard) > 0
}

// look has listeners that have their routes run, and asks for what listeners want, and no more for what they do not.
func (s *sim) look() {
	wanted := map[string]bool{}
	for name, list := range s.lookups {
		if len(list) > 1 && s.ready(list[1]) {
			list = list[1:]
			s.lookups[name] = list
		}
		for _, l := range list {
			if l.scoped && !s.askedScopes {
				s.askedScopes = true
				s.send(&discoveryv3.DeltaDiscoveryRequest{
					TypeUrl: scopes.URL(), InitialResourceVersions: maps.Clone(s.known[scopes]),
				})
			}
			for _, table := range l.wants() {
				wanted[table] = true
			}
		}
	}
	for _, table := range slices.Sorted(maps.Keys(s.known[Routes])) {
		if !wanted[table] {
			s.leave(table)
		}
	}
	var names []string
	for _, table := range slices.Sorted(maps.Keys(wanted)) {
		if _, ok := s.known[Routes][table]; !ok {
			s.known[Routes][table] = ""
			names = append(names, table)
		}
	}
	if len(names) > 0 {
		s.subscribe(Routes, names...)
	}
}

// unscoped returns the route configuration that one is a scope of, and which: itself and -1 if it is none.
func unscoped(name string) (table string, scope int) {
	table, number, ok := strings.Cut(name, "~")
	if !ok {
		return name, -1
	}
	scope, err := strconv.Atoi(number)
	if err != nil {
		panic(err)
	}
	return table, scope
}

// whole is what it runs as if there were no scopes. It fails the test for a host that is not in its own, and for
// listeners that still wait.
func (s *sim) whole() map[string]string {
	s.t.Helper()
	out := map[string]string{}
	for key, version := range s.has {
		if strings.HasPrefix(key, "scopes/") {
			continue
		}
		at := strings.Split(key, "/")
		if at[0] == "routes" {
			table, scope := unscoped(at[1])
			if at[1] = table; len(at) > 2 && scope >= 0 && scopeOf(at[2]) != uint8(scope) {
				s.t.Errorf("%s is in scope %d of %s", at[2], scope, table)
			}
		}
		whole := strings.Join(at, "/")
		if other, ok := out[whole]; ok && other != version {
			version = fmt.Sprintf("%s or %s", other, version)
		}
		out[whole] = version
	}
	for name, list := range s.lookups {
		if len(list) > 1 || !s.ready(list[0]) {
			s.t.Errorf("listener %s waits for routes", name)
		}
	}
	return out
}

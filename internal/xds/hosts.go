package xds

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protowire"
)

// DefaultHostsFrom is [Options.HostsFrom] if that is 0.
const DefaultHostsFrom = 500

// hostsURL is the type of virtual hosts that are resources of their own.
const hostsURL = "type.googleapis.com/envoy.config.route.v3.VirtualHost"

// form is how an entry goes to Envoy.
type form int

const (
	// inline is the resource in one piece.
	inline form = iota
	// shell is a route configuration without its virtual hosts: Envoy is to ask for these by VHDS. It keeps those that it
	// has.
	shell
	// delta are the virtual hosts of a route configuration that differ from those that Envoy has.
	delta
)

// shellField is what a route configuration has in place of its virtual hosts (RouteConfiguration.vhds). Envoy waits for
// the first of them without a timeout, as it does for the rest of its configuration.
var shellField = mustMarshal(&routev3.RouteConfiguration{Vhds: &routev3.Vhds{ConfigSource: adsSource()}})

// shellVersion marks the version of a route configuration without its virtual hosts. Its generation and the hash of its
// body follow.
const shellVersion = "vhds-"

// generation is in the versions of a route configuration and of its virtual hosts, because an Envoy that asks for the
// configuration anew goes on counting as known the virtual hosts that it had, but uses none of them. family is of one
// time that it was told of the configuration, turn counts what it was told since of what surrounds the virtual hosts.
// One virtual host is sent after each: if an Envoy that connects anew has none of this turn, nobody knows whether it
// uses those that it has.
type generation struct{ family, turn uint32 }

const generationSize = 16

func newGeneration() generation { return generation{family: rand.Uint32()} } //nolint:gosec // it has to differ, no more

func (g generation) next() generation { return generation{g.family, g.turn + 1} }

// String returns both numbers, eight digits each.
func (g generation) String() string { return fmt.Sprintf("%08x%08x", g.family, g.turn) }

// splitVersion returns the generation in a version on the wire, and the hash. It reports false if there is none.
func splitVersion(version string) (g generation, hash uint64, ok bool) {
	if len(version) != 2*generationSize {
		return generation{}, 0, false
	}
	both, err := strconv.ParseUint(version[:generationSize], 16, 64)
	return generation{uint32(both >> 32), uint32(both)}, parseVersion(version[generationSize:]), err == nil
}

// hostName is the resource name of a virtual host. Envoy finds the route configuration that it belongs to by what is
// before the last slash.
func hostName(table, part string) string { return table + "/" + hostEscapes.Replace(part) }

var hostEscapes = strings.NewReplacer("/", "%2F", "%", "%25")

// dress decides in which form an entry can go to Envoy now.
func (s *stream) dress(e *entry, tab *table, it *item, m *mark) verdict {
	switch {
	case e.tail != nil || it.has && !tab.virtual:
		return push
	case !it.has:
		least := s.st.hostsFrom
		if e.res.of != nil {
			least = min(least, 1) // there are many in all
		}
		if least > 0 && e.parts.Len() >= least {
			e.form, e.parts, e.generation = shell, Parts{}, newGeneration()
			e.seal()
		}
		return push
	case s.hostsAt.IsZero():
		if until := tab.virtualAt.Add(stall); s.now.Before(until) {
			s.by(until)
			return wait
		}
		e.embrace() // this Envoy does not ask for virtual hosts
		return push
	}
	e.divide(tab, m)
	return push
}

// divide makes of an entry what can go next to an Envoy whose virtual hosts are resources of their own. The rest
// follows.
//
// A configuration in one piece is exchanged at once. Virtual hosts of their own are apart from what surrounds them (the
// filters that a policy of the Gateway asks for), and one comes before the other. That is right where the two are from
// different Updates, in their order. Where one Update changed both, nobody has said which states between are good, and
// the configuration goes back to one piece.
func (e *entry) divide(tab *table, m *mark) {
	has := tab.sent
	sameBody, sameParts := bytes.Equal(e.body, has.body), e.parts.Equal(has.parts)
	switch {
	case sameBody && (!sameParts || !tab.told):
		e.form = delta
	case sameParts:
		e.form = shell
	case len(m.order) != 2:
		e.embrace()
		return
	case m.order[0] == changedBody:
		e.form, e.parts = shell, has.parts
	default:
		e.form, e.body = delta, has.body
	}
	e.seal()
	if e.generation = has.generation; e.form == shell {
		e.generation = e.generation.next()
		return
	}
	e.differ(has.parts)
}

// embrace makes an entry one piece, without the versions of parts that are not known.
func (e *entry) embrace() {
	e.parts = e.parts.Map(func(p *Part) *Part {
		if p.Body == nil {
			return nil
		}
		return p
	})
	e.seal()
}

// differ works out what has to be sent to an Envoy that has other parts.
func (e *entry) differ(has Parts) {
	e.changed, e.gone = nil, nil
	for before, now := range Differences(has, e.parts) {
		if now == nil {
			e.gone = append(e.gone, hostName(e.name, before.Name))
		} else {
			e.changed = append(e.changed, now)
		}
	}
	if len(e.changed) > 0 {
		return
	}
	for p := range e.parts.All() {
		if p.Body != nil {
			e.changed = []*Part{p} // it tells that Envoy uses them all
			return
		}
	}
}

// hosts takes in a request about virtual hosts that are resources of their own. Envoy asks for none by name: it takes
// those that it is told of. The first request says which it has from before.
func (s *stream) hosts(req *discoveryv3.DeltaDiscoveryRequest) {
	s.answered(Routes, req)
	if !s.hostsAt.IsZero() {
		return
	}
	s.hostsAt = s.now
	s.brought = map[string]map[string]string{}
	for name, version := range req.GetInitialResourceVersions() {
		table := name[:max(0, strings.LastIndexByte(name, '/'))]
		if s.brought[table] == nil {
			s.brought[table] = map[string]string{}
		}
		s.brought[table][name] = version
	}
}

// remember works out what an Envoy has of a route configuration that it brought along without its virtual hosts. It
// reports false if it has not said yet which of these it has.
func (s *stream) remember(r *Resource, tab *table, it *item) bool {
	if until := s.types[Routes].started.Add(stall); s.hostsAt.IsZero() && s.now.Before(until) {
		s.by(until)
		return false
	}
	has := s.brought[r.Name]
	delete(s.brought, r.Name)
	e := &entry{name: r.Name, res: r, generation: *tab.brought}
	tab.told = e.generation.in(has)
	known := func(version string) (hash uint64, ok bool) {
		of, hash, ok := splitVersion(version)
		if !tab.told {
			hash = 0
		}
		return hash, ok && of.family == e.generation.family
	}
	if it.hash == xxhash.Sum64(r.Body) {
		e.body = r.Body
	}
	var parts []*Part
	for p := range r.Parts.All() {
		name := hostName(r.Name, p.Name)
		hash, ok := known(has[name])
		delete(has, name)
		switch {
		case ok && hash == p.Hash:
			parts = append(parts, p)
		case ok:
			parts = append(parts, &Part{Name: p.Name, Hash: hash})
		}
	}
	for name, version := range has {
		if hash, ok := known(version); ok {
			part, _ := strings.CutPrefix(name, r.Name+"/")
			parts = append(parts, &Part{Name: hostUnescapes.Replace(part), Hash: hash})
		}
	}
	e.parts = NewParts(parts)
	e.seal()
	tab.sent, tab.virtual, tab.virtualAt, it.hash = e, true, s.types[Routes].started, e.hash
	return true
}

// in reports whether one of the versions is of the generation.
func (g generation) in(versions map[string]string) bool {
	for _, version := range versions {
		if of, _, ok := splitVersion(version); ok && of == g {
			return true
		}
	}
	return false
}

var hostUnescapes = strings.NewReplacer("%2F", "/", "%25", "%")

// forsake takes in that Envoy has lost a route configuration.
func (s *stream) forsake(name string) {
	delete(s.tables, name)
	// What is under way is for what asked before. In one piece it is good for any.
	if f := s.types[Routes].flight; f != nil {
		f.entries = slices.DeleteFunc(f.entries, func(e entry) bool { return e.name == name && e.form != inline })
		f.trial = f.trial && len(f.entries) > 0
	}
}

// change is what an Update changed of a route configuration.
type change bool

const (
	changedBody  change = false
	changedParts change = true
)

// follow notes what an Update changed. What is in another order than body, parts or parts, body cannot be told apart.
func (m *mark) follow(body, parts bool) {
	switch {
	case body && parts:
		m.order = []change{changedBody, changedParts, changedBody}
	case body:
		m.then(changedBody)
	case parts:
		m.then(changedParts)
	}
}

func (m *mark) then(c change) {
	if n := len(m.order); n == 0 || m.order[n-1] != c {
		m.order = append(m.order, c)
	}
}

// host appends a virtual host as a resource. Its name has to be that of the resource, and of two names in a
// message the last counts.
func (w *writer) host(e *entry, p *Part) {
	name, version := hostName(e.name, p.Name), e.generation.String()+formatVersion(p.Hash)
	body := hostBody(p)
	size := len(body) + 1 + protowire.SizeBytes(len(name))
	anySize := 2 + protowire.SizeBytes(len(hostsURL)) + protowire.SizeBytes(size)
	w.open(fieldResources, 3+protowire.SizeBytes(len(version))+protowire.SizeBytes(anySize)+protowire.SizeBytes(len(name)))
	w.field(fieldVersion, version)
	w.field(fieldResourceName, name)
	w.open(fieldResource, anySize)
	w.field(fieldAnyURL, hostsURL)
	w.open(fieldAnyValue, size)
	w.bytes(body)
	w.field(fieldHostName, name)
}

const fieldHostName = 1 // VirtualHost.name

// hostBody is the virtual host in a part, without the tag and length of its field.
func hostBody(p *Part) []byte {
	_, _, n := protowire.ConsumeTag(p.Body)
	body, _ := protowire.ConsumeBytes(p.Body[n:])
	return body
}

// hostOverhead bounds the bytes around a virtual host.
func hostOverhead(table string, p *Part) int {
	return 2*(len(table)+3*len(p.Name)) + len(hostsURL) + 32 + 8*maxVarint
}

// deltaSize bounds the bytes of a delta.
func (e *entry) deltaSize() int {
	n := 0
	for _, p := range e.changed {
		n += len(p.Body) + hostOverhead(e.name, p)
	}
	for _, name := range e.gone {
		n += len(name) + 8
	}
	return n
}

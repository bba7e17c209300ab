package xds

import (
	"strings"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

const wildcard = "*"

func typeOf(url string) (Type, bool) {
	for t, u := range typeURLs {
		if u == url {
			return Type(t), true
		}
	}
	return 0, false
}

// request takes in one request: an ACK or NACK, a change of subscriptions, or both. Types that Sluice does not serve
// are left unanswered.
func (s *stream) request(req *discoveryv3.DeltaDiscoveryRequest) {
	if req.GetTypeUrl() == hostsURL {
		s.hosts(req)
		return
	}
	t, ok := typeOf(req.GetTypeUrl())
	if !ok {
		return
	}
	s.answered(t, req)
	first := s.types[t].started.IsZero()
	if first {
		s.start(t, req)
	}
	for _, name := range req.GetResourceNamesUnsubscribe() {
		s.unsubscribe(t, name)
	}
	for _, name := range req.GetResourceNamesSubscribe() {
		_, known := req.GetInitialResourceVersions()[name]
		s.subscribe(t, name, first, known)
	}
}

// answered takes in the ACK or NACK of the flight of the type, if the request is that.
func (s *stream) answered(t Type, req *discoveryv3.DeltaDiscoveryRequest) {
	ts := &s.types[t]
	f := ts.flight
	if f == nil || req.GetResponseNonce() != f.nonce {
		return
	}
	ts.flight = nil
	if req.GetErrorDetail() != nil {
		s.nacked(f, req.GetErrorDetail().GetMessage())
		return
	}
	s.acked(f)
}

// start handles what only the first request of a type can say: what Envoy has from before, and that it wants
// everything.
func (s *stream) start(t Type, req *discoveryv3.DeltaDiscoveryRequest) {
	ts := &s.types[t]
	ts.started = s.now
	for name, version := range req.GetInitialResourceVersions() {
		name = s.st.own(t, name)
		it := &item{has: true, hash: parseVersion(version)}
		s.warms(it, s.now)
		if rest, ok := strings.CutPrefix(version, shellVersion); ok {
			var brought generation
			if brought, it.hash, ok = splitVersion(rest); ok {
				s.table(name).brought = &brought
			}
		}
		ts.items[name] = it
	}
	if t != Cluster && t != Listener && t != scopes {
		return
	}
	ts.owed = true
	if len(req.GetResourceNamesSubscribe()) == 0 {
		s.everything(t)
	}
	switch t {
	case Cluster:
		s.settled = len(ts.items) > 0
		return
	case scopes:
		s.repeatScopes() // one of the listeners may be new
		return
	}
	for _, t := range []Type{Secret, Routes} {
		for name := range s.st.resources[t] {
			if !s.types[t].interested(name) && (t != Routes || !s.st.unasked(name)) {
				s.mark(t, name, s.st.version).all = true
			}
		}
	}
}

// everything subscribes to the wildcard.
func (s *stream) everything(t Type) {
	ts := &s.types[t]
	ts.wildcard = true
	for name := range s.st.resources[t] {
		s.mark(t, name, s.st.version).all = true
	}
	for name := range ts.items {
		s.mark(t, name, s.st.version).all = true
	}
}

// subscribe adds a name. Envoy expects an answer even to a name that it had subscribed to before, unless it has told
// which version it has (known) or the answer is on its way already.
func (s *stream) subscribe(t Type, name string, first, known bool) {
	ts := &s.types[t]
	if name == wildcard {
		s.everything(t)
		return
	}
	name = s.st.own(t, name)
	ts.names[name] = struct{}{}
	if it := s.types[Cluster].items[name]; first && !known && t == Endpoints && it != nil {
		it.cold, it.warm = true, false
	}
	if _, ok := ts.ahead[name]; ok {
		delete(ts.ahead, name)
		return
	}
	if it := ts.items[name]; it != nil && !known {
		it.force = true
		if tab := s.tables[name]; t == Routes && tab != nil && tab.virtual {
			s.forsake(name) // what asks now has none of the virtual hosts
			*it = item{}
		}
	}
	s.mark(t, name, s.st.version).all = true
}

func (s *stream) unsubscribe(t Type, name string) {
	ts := &s.types[t]
	if name == wildcard {
		ts.wildcard = false
		return
	}
	delete(ts.names, name)
	if ts.wildcard {
		return
	}
	delete(ts.ahead, name)
	delete(ts.items, name)
	delete(ts.dirty, name)
	if t == Routes {
		s.forsake(name)
	}
}

// acked takes in that Envoy has accepted a response.
func (s *stream) acked(f *flight) {
	s.st.events.add(Event{
		Kind: Acked, Proxy: s.st.proxy, Node: s.node.GetId(), Type: f.typ, Version: f.version,
		Bytes: f.bytes, Resources: f.count(), Took: s.now.Sub(f.sent),
	})
	for i := range f.entries {
		s.record(f.typ, &f.entries[i])
	}
	if f.trial {
		s.passed(&f.entries[0])
	}
	s.removed(f)
	switch f.typ {
	case Cluster:
		s.settled = true
	case Endpoints:
		if s.feeds < mostFeeds {
			s.fed, s.feeds = s.now, s.feeds+1
		}
	case Listener, scopes:
		s.listenersAt = s.now
	}
}

// removed notes that Envoy has no longer what the flight removed.
func (s *stream) removed(f *flight) {
	for _, name := range f.removed {
		switch f.typ {
		case Cluster:
			delete(s.gone[Cluster], name)
			delete(s.types[Endpoints].ahead, name)
		case scopes:
			delete(s.gone[scopes], name)
		default:
			delete(s.types[f.typ].items, name)
		}
	}
}

// record notes that Envoy has the entry.
func (s *stream) record(t Type, e *entry) {
	if !s.types[t].interested(e.name) {
		return
	}
	it := s.item(t, e.name)
	it.has, it.hash, it.acked = true, e.hash, nil
	if e.whole {
		it.acked = e.res
	}
	switch t {
	case Cluster:
		if !it.warm {
			s.warms(it, s.now.Add(e.res.Settle))
		}
	case Endpoints:
		if it.emptied {
			it.emptied = false
			s.mark(Endpoints, e.name, e.version).all = true
		}
		if it := s.types[Cluster].items[e.name]; it != nil && it.cold {
			it.cold = false
			s.warms(it, s.now)
		}
	case Routes:
		sent := *e
		sent.shared, sent.tried, sent.tail, sent.changed, sent.gone = nil, nil, nil, nil, nil
		tab := s.table(e.name)
		if tab.sent, tab.brought = &sent, nil; e.form == inline {
			tab.virtual = false
		} else if !tab.virtual {
			tab.virtual, tab.virtualAt = true, s.now
		}
		if tab.told = e.form == delta; e.form == shell || e.form == delta && !e.whole {
			s.mark(Routes, e.name, e.version).all = true // the rest comes now
		}
	}
	s.st.heal(t, e)
}

package xds

import (
	"slices"
	"time"
)

const (
	// holdoff is how long listeners and routes that need no cluster of the push under way wait for it all the same:
	// usually the ACK comes sooner, and one push is cheaper for Envoy than two.
	holdoff = 20 * time.Millisecond
	// stall is how long something that ought to come at once may be awaited: the ACK of clusters, an answer to Envoy's
	// first request, the listener's question for its routes.
	stall = time.Second
	// mostFeeds is how many responses with endpoints give clusters under way a new time: those that are for them are among
	// the first, and endpoints can change all the time.
	mostFeeds = 3
	// frozen is how long the first health checks of clusters may keep all others waiting.
	frozen = 2 * time.Second
)

// verdict is what is to be done about a dirty resource.
type verdict int

const (
	nothing verdict = iota
	push
	remove
	wait
)

// plan decides what can be sent now. The order is what keeps requests from being lost.
func (s *stream) plan() []*flight {
	if s.st.version == 0 {
		return nil
	}
	var out []*flight
	add := func(f *flight) {
		if f != nil {
			out = append(out, f)
		}
	}
	if f := s.next(Cluster, false); f != nil {
		add(f)
		s.fed, s.feeds = time.Time{}, 0
		s.sendEndpoints(f)
	}
	s.repeatEndpoints()
	s.thaw()
	add(s.next(Endpoints, false))
	// A cluster that is warming can need a secret, so these never wait for clusters.
	add(s.next(Secret, false))
	s.recheck()
	if !s.holding() {
		s.heldFrom = time.Time{}
		add(s.nextListeners(false))
		add(s.next(scopes, false))
		add(s.next(Routes, false))
		add(s.nextListeners(s.types[Routes].flight == nil && len(s.types[Routes].jobs) == 0))
	}
	s.advance()
	add(s.expire(Cluster))
	add(s.expire(scopes))
	return out
}

// holding reports whether listeners and routes wait because clusters are under way.
func (s *stream) holding() bool {
	f := s.types[Cluster].flight
	if f == nil || len(f.entries) == 0 || len(s.types[Listener].dirty)+len(s.types[Routes].dirty) == 0 {
		s.heldFrom = time.Time{}
		return false
	}
	if s.heldFrom.IsZero() {
		s.heldFrom = s.now
	}
	until := s.heldFrom.Add(holdoff)
	if !s.now.Before(until) {
		return false
	}
	s.by(until)
	return true
}

// nextListeners is next for listeners. One that changes hears of scopes only what is sent after it, though Envoy has
// them for the one before.
func (s *stream) nextListeners(removals bool) *flight {
	f := s.next(Listener, removals)
	if f != nil && len(f.entries) > 0 && !s.types[scopes].started.IsZero() {
		s.repeatScopes()
	}
	return f
}

// repeatScopes has all scopes sent, whether or not Envoy has them.
func (s *stream) repeatScopes() {
	for name := range s.st.resources[scopes] {
		s.item(scopes, name).force = true
		s.mark(scopes, name, s.st.version)
	}
}

// next starts the next flight of a type, if none is under way and there is something to send. Removals alone are sent
// only if they may be.
func (s *stream) next(t Type, removals bool) *flight {
	ts := &s.types[t]
	if ts.flight != nil || (ts.started.IsZero() && len(ts.ahead) == 0) {
		return nil
	}
	f := &flight{typ: t, version: s.st.version, since: s.st.version + 1, sent: s.now}
	ts.turn = !ts.turn
	ok := ts.turn && s.job(f)
	ok = ok || s.batch(f, removals)
	// The end of a trial makes its configuration dirty.
	ok = ok || (!ts.turn && (s.job(f) || s.batch(f, removals)))
	if !ok {
		return nil
	}
	f.first = ts.owed
	ts.owed = false
	f.nonce = s.nonce()
	for i := range f.entries {
		e := &f.entries[i]
		s.item(t, e.name).force = false // if it is set again before the ACK, that is about a later push
		s.st.share(e)
	}
	ts.flight = f
	return f
}

// batch puts everything that is dirty and can be sent into the flight.
func (s *stream) batch(f *flight, removals bool) bool {
	ts := &s.types[f.typ]
	defer ts.shrink(len(ts.dirty))
	names := make([]string, 0, len(ts.dirty))
	for name := range ts.dirty {
		names = append(names, name)
	}
	slices.Sort(names)
	var gone []string
	waiting := false
	for _, name := range names {
		if !ts.interested(name) || s.onTrial(f.typ, name) {
			continue
		}
		e, v := s.resolve(f.typ, name, ts.dirty[name])
		switch v {
		case wait:
			waiting = true
			continue
		case remove:
			gone = append(gone, name)
			continue
		case push:
			f.entries = append(f.entries, e)
			continue
		}
		delete(ts.dirty, name)
	}
	f.choose(ts)
	for i := range f.entries {
		delete(ts.dirty, f.entries[i].name)
	}
	if len(gone) > 0 && (removals || len(f.entries) > 0) {
		// Envoy removes before it adds, which lets a new listener take over the address of an old one.
		f.removed = gone
		for _, name := range gone {
			f.since = min(f.since, ts.dirty[name].version)
			delete(ts.dirty, name)
		}
	}
	return len(f.entries)+len(f.removed) > 0 || s.owes(ts, waiting || len(gone) > 0)
}

// shrink gives back the room of so many dirty resources once none is left: there are never again as many as at first.
func (ts *typeState) shrink(from int) {
	if from > few && len(ts.dirty) == 0 {
		ts.dirty = map[string]*mark{}
	}
}

// few dirty resources take no room that is worth giving back.
const few = 64

// choose leaves in the flight what can go in one response: virtual hosts of one route configuration, so that what is
// refused says which, or no virtual hosts. What has waited longest goes first.
func (f *flight) choose(ts *typeState) {
	isDelta := func(e entry) bool { return e.form == delta }
	if !slices.ContainsFunc(f.entries, isDelta) {
		return
	}
	first := slices.MinFunc(f.entries, func(a, b entry) int { return ts.dirty[a.name].at.Compare(ts.dirty[b.name].at) })
	if first.form == delta {
		f.entries = []entry{first}
		return
	}
	f.entries = slices.DeleteFunc(f.entries, isDelta)
}

// owes reports whether an empty answer to the first request is due. If resources wait for their clusters, the answer
// waits for a while, because Envoy starts to serve on it.
func (s *stream) owes(ts *typeState, waiting bool) bool {
	if !ts.owed || !waiting {
		return ts.owed
	}
	until := ts.started.Add(stall)
	if s.now.Before(until) {
		s.by(until)
		return false
	}
	return true
}

// resolve decides about one dirty resource.
func (s *stream) resolve(t Type, name string, m *mark) (entry, verdict) {
	it := s.types[t].items[name]
	if it == nil {
		it = &item{}
	}
	r := s.st.resources[t][name]
	switch {
	case t == Endpoints:
		return s.resolveEndpoints(name, r, it, m)
	case r == nil:
		return s.resolveGone(t, name, it, m)
	case t == Cluster || t == scopes:
		delete(s.gone[t], name)
	case !s.usable(r.Needs):
		return entry{}, wait
	}
	if t == Routes {
		return s.resolveRoutes(r, it, m)
	}
	if rej := s.st.refused(t, r); rej != nil {
		if it.has || rej.good == nil {
			return entry{}, nothing
		}
		r = rej.good
	}
	if it.has && it.hash == r.Hash && !it.force {
		it.acked = r
		return entry{}, nothing
	}
	return asIs(name, r, m.version), push
}

// resolveGone decides about a resource that is not in the store.
func (s *stream) resolveGone(t Type, name string, it *item, m *mark) (entry, verdict) {
	if tab := s.tables[name]; t == Routes && tab != nil {
		tab.held = nil
	}
	switch {
	case (t == Cluster || t == scopes) && it.has:
		// It may have come back since it was last seen to be gone, and be used again by now.
		s.gone[t][name] = departure{s.st.version, s.now}
	case t == Listener && it.has:
		return entry{}, remove
	case t == Routes && !it.has:
		// A listener that waits for routes that do not exist would hold up the start of Envoy for the whole of its
		// timeout, so after a while it gets none. Secrets have no such form; their timeout has to do.
		if until := m.at.Add(stall); s.now.Before(until) {
			s.by(until)
			return entry{}, wait
		}
		return asIs(name, empty(name), m.version), push
	}
	return entry{}, nothing
}

// resolveEndpoints makes sure that there is always an answer: a cluster that waits for its endpoints holds up the ACK
// of all clusters.
func (s *stream) resolveEndpoints(name string, r *Resource, it *item, m *mark) (entry, verdict) {
	switch {
	case r == nil && s.st.resources[Cluster][name] == nil && it.has:
		if !it.force {
			return entry{}, nothing // the cluster goes too, and keeps what it has until then
		}
		if r = it.acked; r == nil {
			r = empty(name)
		}
	case r == nil:
		r = empty(name)
	case it.emptied:
		r = empty(name)
	default:
		if rej := s.st.refused(Endpoints, r); rej != nil {
			r = firstOf(it.acked, rej.good)
			if r == nil {
				r = empty(name)
			}
			if it.has && !it.force {
				return entry{}, nothing
			}
		}
	}
	if it.has && it.hash == r.Hash && !it.force {
		it.acked = r
		return entry{}, nothing
	}
	return asIs(name, r, m.version), push
}

func firstOf(a, b *Resource) *Resource {
	if a != nil {
		return a
	}
	return b
}

// sendEndpoints makes the endpoints of the clusters of a flight go out with it. Envoy needs them again for a changed
// cluster too, and does not ask.
func (s *stream) sendEndpoints(f *flight) {
	ts := &s.types[Endpoints]
	for i := range f.entries {
		e := &f.entries[i]
		_, subscribed := ts.names[e.name]
		switch {
		case subscribed:
		case s.settled && s.st.resources[Endpoints][e.name] != nil:
			ts.ahead[e.name] = struct{}{}
		default:
			continue
		}
		s.item(Endpoints, e.name).force = true
		s.mark(Endpoints, e.name, e.version).all = true
	}
}

// repeatEndpoints sends the endpoints of clusters once more if their ACK does not come. When a stream is new, any of
// Envoy's clusters can be the one that waits, because the endpoints were lost with the stream before: then it withholds
// the ACK of the first response or even the first request.
func (s *stream) repeatEndpoints() {
	since, missing := s.awaiting()
	if !missing {
		return
	}
	endpoints, f := &s.types[Endpoints], s.types[Cluster].flight
	if until := since.Add(stall); s.now.Before(until) {
		s.by(until)
		return
	}
	if f != nil {
		f.repeated = true
		s.sendEndpoints(f)
	}
	if f == nil || f.first {
		s.repeated = true
		for name := range endpoints.names {
			s.item(Endpoints, name).force = true
			s.mark(Endpoints, name, s.st.version).all = true
		}
	}
}

// awaiting reports since when an ACK of clusters, or Envoy's first request for them, is missing for which all endpoints
// were sent. While endpoints are under way Envoy is at work: tens of thousands of clusters take it seconds.
func (s *stream) awaiting() (since time.Time, missing bool) {
	clusters, endpoints := &s.types[Cluster], &s.types[Endpoints]
	switch f := clusters.flight; {
	case endpoints.flight != nil:
	case f != nil && !f.repeated && (len(f.entries) > 0 || f.first):
		since = f.sent
	case f == nil && clusters.started.IsZero() && !s.repeated:
		since = endpoints.started
	}
	missing = !since.IsZero()
	if missing && s.fed.After(since) {
		since = s.fed
	}
	return since, missing
}

// thaw ends the wait for first health checks. While one cluster warms, Envoy ACKs no others, and when it starts it asks
// for no listeners: a check of a server that does not answer would keep everybody waiting for as long as its policy
// says. A cluster whose endpoints are taken away has nothing to check, and is warm. It gets them back at once, and
// they take requests when their checks say so.
func (s *stream) thaw() {
	clusters := &s.types[Cluster]
	var since time.Time
	switch {
	case clusters.flight != nil && len(clusters.flight.entries) > 0:
		since = clusters.flight.sent
	case s.starting():
		since = clusters.started
	default:
		return
	}
	if s.thawed.After(since) {
		since = s.thawed // it did not help: Envoy had not come to the checks yet
	}
	if until := since.Add(frozen); s.now.Before(until) {
		s.by(until)
		return
	}
	s.thawed = s.now
	if f := clusters.flight; f != nil {
		for i := range f.entries {
			s.drain(f.entries[i].res, f.entries[i].version)
		}
	}
	if !s.starting() {
		return
	}
	for name := range clusters.items {
		if r := s.st.resources[Cluster][name]; r != nil {
			s.drain(r, s.st.version)
		}
	}
}

// starting reports whether Envoy has not asked for listeners, for which it waits until its clusters are warm.
func (s *stream) starting() bool {
	ts := &s.types[Cluster]
	return !ts.started.IsZero() && (len(ts.items) > 0 || ts.flight != nil) && s.types[Listener].started.IsZero()
}

// drain takes the endpoints of a cluster away until that is ACKed, if they are checked.
func (s *stream) drain(r *Resource, version uint64) {
	if !r.Checked || !s.types[Endpoints].interested(r.Name) {
		return
	}
	it := s.item(Endpoints, r.Name)
	it.force, it.emptied = true, true
	s.mark(Endpoints, r.Name, version).all = true
}

package xds

import "bytes"

// resolveRoutes decides about one dirty route configuration.
func (s *stream) resolveRoutes(r *Resource, it *item, m *mark) (entry, verdict) {
	tab := s.table(r.Name)
	rej := s.st.refused(Routes, r)
	if rej != nil && rej.body == 0 {
		tab.held = nil
		return s.fallBack(rej, tab, it, m)
	}
	body, ok := bodyFor(r, it, tab, rej)
	if !ok {
		return entry{}, nothing
	}
	switch {
	case !it.has || tab.sent != nil:
	case tab.brought == nil:
		tab.sent = s.recognize(r, body, it.hash)
	case !s.remember(r, tab, it):
		return entry{}, wait
	}
	e := s.compose(r, tab, body, m)
	if it.has && it.hash == e.hash && !it.force && tab.settled(&e) {
		return entry{}, nothing
	}
	if it.has && tab.sent == nil && len(tab.held) > 0 {
		return entry{}, wait
	}
	return e, s.dress(&e, tab, it, m)
}

// fallBack gives an Envoy that has nothing of a route configuration the version before the one that is refused.
func (s *stream) fallBack(rej *rejection, tab *table, it *item, m *mark) (entry, verdict) {
	if it.has || rej.good == nil {
		return entry{}, nothing
	}
	e := asIs(rej.good.Name, rej.good, m.version)
	return e, s.dress(&e, tab, it, m)
}

// settled reports whether an Envoy that has the entry need not be sent anything.
func (tab *table) settled(e *entry) bool { return !tab.virtual || tab.told || e.parts.Len() == 0 }

// bodyFor returns the configuration around the parts that Envoy can have: its own unless it is refused, then the last
// that was not. It returns false if there is none.
func bodyFor(r *Resource, it *item, tab *table, rej *rejection) ([]byte, bool) {
	switch {
	case rej == nil:
		return r.Body, true
	case tab.sent != nil:
		return tab.sent.body, true
	case rej.good != nil && !it.has:
		return rej.good.Body, true
	}
	return nil, false
}

// recognize returns what Envoy brought along when it reconnected, if that is all that is in the store but what is
// refused. As long as it is not known, nothing can be held back from the configuration without taking it away.
func (s *stream) recognize(r *Resource, body []byte, hash uint64) *entry {
	e := entry{name: r.Name, res: r, body: body}
	e.parts = r.Parts.Map(func(p *Part) *Part {
		if rej := s.st.refusedPart(r, p); rej != nil {
			return rej.part
		}
		return p
	})
	if e.seal(); e.hash != hash {
		return nil
	}
	return &e
}

// compose makes the best mix of a route configuration that Envoy can have now: each part as it is in the store, but
// those that Envoy refuses and those whose clusters are not warm in the last version that it had, if it had one.
func (s *stream) compose(r *Resource, tab *table, body []byte, m *mark) entry {
	version := m.version
	if len(tab.held) > 0 {
		version = min(version, tab.heldSince)
	}
	refused := s.st.rejected[Routes][r.Name] != nil || len(s.st.rejectedParts[r.whole()]) > 0
	if !refused && len(tab.held) == 0 && s.allUsable(r, m) {
		return asIs(r.Name, r, version)
	}
	e := entry{name: r.Name, res: r, body: body, version: version}
	before := tab.parts()
	var held []*Part
	e.parts = r.Parts.mapFrom(before, func(p *Part) *Part {
		old := before.Find(p.Name)
		if old != nil && old.Hash == p.Hash {
			return p // Envoy has it, so neither question arises
		}
		if rej := s.st.refusedPart(r, p); rej != nil {
			if old == nil {
				return rej.part
			}
			return old
		}
		if !s.usable(p.Needs) {
			held = append(held, p)
			return old
		}
		return p
	})
	tab.held, tab.heldSince = held, version
	e.seal()
	return e
}

// seal gives the entry its version and says whether it is the resource as it is.
func (e *entry) seal() {
	e.whole = bytes.Equal(e.body, e.res.Body) && e.parts.Equal(e.res.Parts)
	if e.hash = e.res.Hash; !e.whole {
		e.hash = RoutesHash(e.body, e.parts)
	}
}

// parts are those that Envoy has.
func (tab *table) parts() Parts {
	if tab.sent == nil {
		return Parts{}
	}
	return tab.sent.parts
}

// known returns the part of the name that Envoy has, nil if there is none or nobody knows what is in it.
func (tab *table) known(name string) *Part {
	if p := tab.parts().Find(name); p != nil && p.Body != nil {
		return p
	}
	return nil
}

// allUsable reports whether the clusters of all changed parts are warm.
func (s *stream) allUsable(r *Resource, m *mark) bool {
	if !m.all && len(m.parts) == 0 {
		return true
	}
	if m.all {
		return !r.Parts.Any(func(p *Part) bool { return !s.usable(p.Needs) })
	}
	for name := range m.parts {
		if p := r.Part(name); p != nil && !s.usable(p.Needs) {
			return false
		}
	}
	return true
}

package xds

import "slices"

// usable reports whether all the clusters can take requests on this Envoy, as far as waiting would help. One that is
// not in the store, or that Envoy refuses and never had, would be waited for in vain: Envoy answers what is routed to
// it with 503, and nothing else suffers.
func (s *stream) usable(needs []string) bool {
	for _, name := range needs {
		r := s.st.resources[Cluster][name]
		if r == nil {
			continue
		}
		it := s.types[Cluster].items[name]
		if it == nil || !it.warm {
			if rej := s.st.refused(Cluster, r); rej != nil && rej.good == nil {
				continue
			}
			return false
		}
		if at := s.began.Add(it.warmAfter); s.now.Before(at) {
			s.by(at)
			return false
		}
	}
	return true
}

// recheck makes the route tables dirty that hold a part whose clusters have become usable.
func (s *stream) recheck() {
	for name, tab := range s.tables {
		for _, p := range tab.held {
			if !s.usable(p.Needs) {
				continue
			}
			m := s.mark(Routes, name, tab.heldSince)
			if m.parts == nil {
				m.parts = map[string]struct{}{}
			}
			m.parts[p.Name] = struct{}{}
			m.then(changedParts)
		}
	}
}

// advance works out which version is live on this stream: the one before the oldest Update of which anything is
// outstanding.
func (s *stream) advance() {
	if s.types[Cluster].started.IsZero() || s.types[Listener].started.IsZero() {
		return
	}
	low := s.st.version + 1
	for t := range s.types {
		ts := &s.types[t]
		if ts.owed {
			return
		}
		low = min(low, s.outstanding(Type(t), low))
	}
	for _, tab := range s.tables {
		if len(tab.held) > 0 {
			low = min(low, tab.heldSince)
		}
		if tab.trial != nil {
			low = min(low, tab.trial.version)
		}
	}
	s.live = max(s.live, low-1)
}

// outstanding returns the oldest Update of which something of the type is not ACKed, low if there is none.
func (s *stream) outstanding(t Type, low uint64) uint64 {
	ts := &s.types[t]
	if ts.flight != nil {
		low = min(low, ts.flight.oldest())
	}
	for _, j := range ts.jobs {
		low = min(low, j.version)
	}
	for name, m := range ts.dirty {
		if !ts.interested(name) && !s.expected(m) {
			delete(ts.dirty, name) // if Envoy ever asks for it, it will be told
			continue
		}
		low = min(low, m.version)
	}
	return low
}

// oldest returns the oldest Update that waits for the flight's ACK.
func (f *flight) oldest() uint64 {
	low := f.since
	for i := range f.entries {
		low = min(low, f.entries[i].version)
	}
	return low
}

// awaited reports whether Envoys that have not asked for what has changed may do so, for they ask for it only once they
// have the listener that uses it. A version is not live until they have had the time for that.
func (st *store) awaited(c *Change) bool {
	switch {
	case c.Resource == nil:
		return false
	case c.Type == Routes:
		return !st.unasked(c.Name)
	}
	return c.Type == Secret || c.Type == scopes
}

// expected reports whether Envoy may yet ask for a resource, because it has just been told of a listener.
func (s *stream) expected(m *mark) bool {
	from := m.at
	if s.listenersAt.After(from) {
		from = s.listenersAt
	}
	for _, t := range []Type{Listener, scopes} {
		if f := s.types[t].flight; f != nil && f.sent.After(from) {
			from = f.sent
		}
	}
	until := from.Add(stall)
	if !s.now.Before(until) {
		return false
	}
	s.by(until)
	return true
}

// expire starts the removal of clusters or scopes that left the store a while ago, once nothing that Envoy runs uses
// them: all changes up to their departure are live, and no older version that was kept in place of a newer one needs
// them. Listeners that are gone have their routes for that long, too.
func (s *stream) expire(t Type) *flight {
	ts := &s.types[t]
	if ts.flight != nil || len(s.gone[t]) == 0 {
		return nil
	}
	due := s.due(t)
	if t == Cluster && len(due) > 0 {
		needed := s.needed()
		due = slices.DeleteFunc(due, func(name string) bool { return needed[name] })
	}
	if len(due) == 0 {
		return nil
	}
	slices.Sort(due)
	for _, name := range due {
		delete(ts.items, name) // from now on it is not usable; if it comes back, it is new
	}
	ts.flight = &flight{
		typ: t, nonce: s.nonce(), version: s.st.version, since: s.st.version + 1, removed: due, sent: s.now,
	}
	return ts.flight
}

// due is what left the store long enough ago.
func (s *stream) due(t Type) (due []string) {
	for name, d := range s.gone[t] {
		if s.st.resources[t][name] != nil || s.live < d.version {
			continue
		}
		if until := d.at.Add(s.st.grace); s.now.Before(until) {
			s.by(until)
			continue
		}
		due = append(due, name)
	}
	return due
}

// needed are the clusters that Envoy needs for versions of listeners and parts that are not those in the store.
func (s *stream) needed() map[string]bool {
	needed := map[string]bool{}
	for name, it := range s.types[Listener].items {
		if it.acked == nil || it.acked == s.st.resources[Listener][name] {
			continue
		}
		for _, n := range it.acked.Needs {
			needed[n] = true
		}
	}
	for _, tab := range s.tables {
		if tab.sent == nil || tab.sent.whole {
			continue
		}
		for p := range tab.sent.parts.All() {
			for _, n := range p.Needs {
				needed[n] = true
			}
		}
	}
	return needed
}

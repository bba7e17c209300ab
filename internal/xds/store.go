package xds

import (
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/sluice-gateway/sluice/internal/model"
)

// store is the configuration of one proxy and what is common to its streams. Its mutex also guards the state of the
// streams; no I/O happens under it.
type store struct {
	proxy  model.ProxyName
	events *queue
	grace  time.Duration
	// hostsFrom and scopesFrom are as in Options, 0 for never.
	hostsFrom, scopesFrom int

	mu        sync.Mutex
	version   uint64
	stamps    []stamp
	resources [numTypes]map[string]*Resource
	// rejected is what Envoys refuse, by type and name. It outlives the streams, so that no other Envoy is sent it, nor
	// the same one when it reconnects.
	rejected [numTypes]map[string]*rejection
	// rejectedParts are the parts that Envoys refuse, by route configuration and name. The scopes of one have them in
	// common, with each other and with the whole.
	rejectedParts map[string]map[string]*rejection
	// before are the versions before those in resources of clusters and listeners that no Envoy has ACKed here yet: an
	// Envoy that is new has them, should it refuse what came after, as those have that ran them.
	before [numTypes]map[string]*Resource
	// listeners are as they came: in resources, those are as Envoys are told of them.
	listeners map[string]*Resource
	// divisions are the route configurations that are, or could be, divided among scopes.
	divisions  map[string]*division
	assemblies map[string]*assembly
	streams    map[*stream]struct{}
	live       uint64
}

// stamp is when an Update came.
type stamp struct {
	version uint64
	at      time.Time
}

// maxStamps bounds the memory for Updates that never go live, because no Envoy is connected.
const maxStamps = 4096

// rejection is a version of a resource or part that an Envoy refused, and the one that it ran and kept.
type rejection struct {
	hash uint64
	// body is the hash of a route table's body, if that is to blame: all versions with this body are refused.
	body uint64
	good *Resource
	part *Part
}

func newStore(proxy model.ProxyName, events *queue, o *Options) *store {
	st := &store{
		proxy: proxy, events: events, grace: o.Grace, hostsFrom: max(0, o.HostsFrom), scopesFrom: max(0, o.ScopesFrom),
		rejectedParts: map[string]map[string]*rejection{}, listeners: map[string]*Resource{},
		divisions: map[string]*division{}, assemblies: map[string]*assembly{}, streams: map[*stream]struct{}{},
	}
	for t := range numTypes {
		st.resources[t] = map[string]*Resource{}
		st.rejected[t] = map[string]*rejection{}
		st.before[t] = map[string]*Resource{}
	}
	return st
}

// update applies one transaction and tells the streams what it touched.
func (st *store) update(changes []Change) uint64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	now := time.Now()
	st.version++
	if len(st.stamps) >= maxStamps {
		st.stamps = append(st.stamps[:0], st.stamps[maxStamps/2:]...)
	}
	st.stamps = append(st.stamps, stamp{st.version, now})
	var more []Change
	resized := false
	if st.scopesFrom > 0 {
		more, resized = st.divide(changes)
	}
	for _, c := range changes {
		if c.Type == Listener && c.Resource != nil {
			c.Resource = st.scoped(c.Resource)
		}
		st.apply(&c, now)
	}
	if resized {
		more = append(more, st.rescope()...)
	}
	for i := range more {
		st.apply(&more[i], now)
	}
	for s := range st.streams {
		s.nudge()
	}
	return st.version
}

// apply sets one resource and tells the streams.
func (st *store) apply(c *Change, now time.Time) {
	old := st.resources[c.Type][c.Name]
	st.set(c)
	for s := range st.streams {
		s.changed(c, old, now)
	}
}

func (st *store) set(c *Change) {
	if c.Resource != nil {
		old := st.resources[c.Type][c.Name]
		keep := c.Type == Cluster || c.Type == Listener
		if keep && old != nil && old.Hash != c.Resource.Hash && st.refused(c.Type, old) == nil {
			st.before[c.Type][c.Name] = old
		}
		st.resources[c.Type][c.Name] = c.Resource
		st.forget(c)
		return
	}
	delete(st.resources[c.Type], c.Name)
	delete(st.rejected[c.Type], c.Name)
	if c.Type == Routes {
		delete(st.rejectedParts, c.Name)
	}
	delete(st.before[c.Type], c.Name)
	delete(st.assemblies, c.Name)
}

// forget drops the rejections of what is something else now, or gone. If it ever is that again, Envoy is asked again:
// whoever hears of rejections has gone on too, and would not know that it is refused.
func (st *store) forget(c *Change) {
	if st.refused(c.Type, c.Resource) == nil {
		delete(st.rejected[c.Type], c.Name)
	}
	if c.Type != Routes {
		return
	}
	for name := range st.rejectedParts[c.Name] {
		if p := c.Resource.Part(name); p == nil || st.refusedPart(c.Resource, p) == nil {
			st.forgive(c.Resource, name)
		}
	}
}

// forgive drops the rejection of a part.
func (st *store) forgive(r *Resource, part string) {
	byPart := st.rejectedParts[r.whole()]
	delete(byPart, part)
	if len(byPart) == 0 {
		delete(st.rejectedParts, r.whole())
	}
}

// refused returns the rejection of this very version of a resource, nil if there is none.
func (st *store) refused(t Type, r *Resource) *rejection {
	rej := st.rejected[t][r.Name]
	switch {
	case rej == nil:
		return nil
	case rej.body != 0 && rej.body == xxhash.Sum64(r.Body):
		return rej
	case rej.body == 0 && rej.hash == r.Hash:
		return rej
	}
	return nil
}

// refusedPart returns the rejection of this very version of a part, nil if there is none.
func (st *store) refusedPart(r *Resource, p *Part) *rejection {
	if rej := st.rejectedParts[r.whole()][p.Name]; rej != nil && rej.hash == p.Hash {
		return rej
	}
	return nil
}

// reject records a rejection of a resource or, if it has a name, its part. It reports whether it is new.
func (st *store) reject(t Type, r *Resource, part string, rej *rejection) bool {
	known, name := st.rejected[t], r.Name
	if part != bodyPart {
		table := r.whole()
		if st.rejectedParts[table] == nil {
			st.rejectedParts[table] = map[string]*rejection{}
		}
		known, name = st.rejectedParts[table], part
	}
	old := known[name]
	if old != nil && old.hash == rej.hash && old.body == rej.body {
		return false
	}
	if old != nil && rej.good == nil && rej.part == nil {
		rej.good, rej.part = old.good, old.part
	}
	known[name] = rej
	return true
}

// fallback is what an Envoy that has nothing gets in the place of a version that it refuses, nil if nothing is known:
// the version before it, unless that is what it refuses.
func (st *store) fallback(t Type, e *entry) *Resource {
	r := st.before[t][e.name]
	if r != nil && r.Hash == e.hash {
		delete(st.before[t], e.name)
		return nil
	}
	return r
}

// heal forgets what an ACK has made obsolete: rejections, if a newer version than the refused one is in use, and the
// version before one that is.
func (st *store) heal(t Type, e *entry) {
	current := st.resources[t][e.name]
	if current == nil {
		return
	}
	if e.whole && e.hash == current.Hash {
		delete(st.before[t], e.name)
	}
	if e.whole && e.res.Hash == current.Hash && st.refused(t, current) == nil {
		delete(st.rejected[t], e.name)
	}
	if t != Routes {
		return
	}
	for name, rej := range st.rejectedParts[current.whole()] {
		has, now := e.parts.Find(name), current.Part(name)
		if has != nil && now != nil && has.Hash == now.Hash && has.Hash != rej.hash {
			st.forgive(current, name)
		}
	}
}

// own returns a name as the store has it, so that it is not there once more for each Envoy that says it.
func (st *store) own(t Type, name string) string {
	if r := st.resources[t][name]; r != nil {
		return r.Name
	}
	return name
}

// share lets the streams use the same bytes for a big route table, if there are several.
func (st *store) share(e *entry) {
	if len(st.streams) < 2 || !e.whole || e.form != inline || e.tail != nil || e.size() < shareFrom {
		return
	}
	a := st.assemblies[e.name]
	if a == nil || a.hash != e.hash {
		a = &assembly{hash: e.hash}
		st.assemblies[e.name] = a
	}
	e.shared = a
}

// settle works out which version is live on all streams, and says so if it has advanced.
func (st *store) settle(now time.Time) {
	if len(st.streams) == 0 {
		return
	}
	live := st.lowest()
	if live <= st.live {
		return
	}
	st.live = live
	i := 0
	for i < len(st.stamps)-1 && st.stamps[i].version < live {
		i++
	}
	took := now.Sub(st.stamps[i].at)
	if st.stamps[i].version <= live {
		i++
	}
	st.stamps = append(st.stamps[:0], st.stamps[i:]...)
	st.events.add(Event{Kind: Live, Proxy: st.proxy, Version: live, Took: took})
}

// lowest is the newest version that is live on every connected stream.
func (st *store) lowest() uint64 {
	live := st.version
	for s := range st.streams {
		live = min(live, s.live)
	}
	return live
}

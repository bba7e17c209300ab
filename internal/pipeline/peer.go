package pipeline

import (
	"cmp"
	"strings"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/peer"
	"github.com/sluice-gateway/sluice/internal/resolve"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// Heard takes in what another replica says about the Envoys that are connected to it. What is refused there is refused
// here too, if it is the same here: as if Envoys had told this replica, so that it holds when the other one goes. The
// outcome is that of the commit that followed, if one did.
func (p *Pipeline) Heard(r peer.Report) Outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	review := map[model.ProxyName]bool{}
	commit := false
	subjects := p.book.Take(r)
	var routes []model.RouteKey
	for _, subject := range subjects {
		if k, ok := routeOf(subject); ok && subject.Kind == peer.Route {
			routes = append(routes, k)
		}
	}
	p.recall(routes)
	for _, k := range routes {
		commit = p.adoptRoute(k) || commit
	}
	for _, subject := range subjects {
		switch subject.Kind {
		case peer.Envoys, peer.Listener:
			review[subject.Proxy] = true
		case peer.Resource:
			p.adoptResource(subject)
			commit = p.heardOfPatch(subject) || commit
		case peer.Policy:
			commit = p.adoptPolicy(subject) || commit
		}
	}
	for name := range review {
		p.review(name)
	}
	if commit {
		return p.commit()
	}
	return Outcome{}
}

// say tells other replicas, if there can be any.
func (p *Pipeline) say(st peer.Statement) {
	if p.opts.Say != nil {
		p.opts.Say(st)
	}
}

// connect takes in that an Envoy came, or went if by is -1.
func (p *Pipeline) connect(name model.ProxyName, by int) {
	px := p.proxy(name)
	px.connected += by
	if px.connected == 0 || by > 0 && px.connected == 1 {
		p.say(peer.Statement{
			Subject: peer.Subject{Kind: peer.Envoys, Proxy: name}, Withdrawn: px.connected == 0,
		})
	}
	if px.connected == 0 {
		p.review(name) // nobody here has to be waited for any more
	} else {
		p.reviewPatches(px) // they have to be waited for now
	}
}

// wait notes that a listener waits for the version that was just handed over.
func (p *Pipeline) wait(name model.ProxyName, key model.ListenerKey) {
	px := p.proxy(name)
	w := waiting{version: px.version, early: p.first && p.settling}
	if p.opts.Say != nil {
		if seat, ok := p.resolved.Seats.Peek(key); ok {
			w.content = peer.Content(seat)
		}
	}
	if w = p.tell(name, key, w); w.state == peer.Programmed {
		delete(px.waiting, key)
		return
	}
	px.waiting[key] = w
}

// tell tells other replicas how far a listener is that waits, if they have not been told, and returns it with that
// noted.
func (p *Pipeline) tell(name model.ProxyName, key model.ListenerKey, w waiting) waiting {
	state := peer.Pending
	switch {
	case p.programmed(name, key, w):
		state = peer.Programmed
	case w.version <= p.proxy(name).live:
		state = peer.Live
	}
	if w.state != state {
		w.state = state
		p.say(peer.Statement{Subject: listenerSubject(name, key), Content: w.content, State: state})
	}
	return w
}

// programmed reports whether a listener that waits need not any more: Envoys of some replica have it, and those of no
// replica lack it.
func (p *Pipeline) programmed(name model.ProxyName, key model.ListenerKey, w waiting) bool {
	px := p.proxy(name)
	live := w.version <= px.live
	if !live && px.connected > 0 {
		return false
	}
	others := p.book.Listener(listenerSubject(name, key), w.content)
	return (live || others.Live) && !others.Behind
}

// review looks at what waits for Envoys of a proxy, and publishes the Gateways and ListenerSets whose listeners have
// become live. These stay programmed until they change, whatever becomes of the Envoys and replicas.
func (p *Pipeline) review(name model.ProxyName) {
	px := p.proxies[name]
	if px == nil {
		return // another replica serves what is not known here yet
	}
	p.reviewPatches(px)
	sources := map[model.Ref]bool{}
	for key, w := range px.waiting {
		w = p.tell(name, key, w)
		if w.state == peer.Programmed {
			sources[key.Source] = true
			delete(px.waiting, key)
			continue
		}
		px.waiting[key] = w
	}
	if p.opts.Publish != nil {
		p.putSources(sources)
	}
}

// Settled says that Envoys had the time to connect: what waits for them still is not programmed.
func (p *Pipeline) Settled() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settling = false
	if p.opts.Publish == nil {
		return
	}
	sources := map[model.Ref]bool{}
	for _, px := range p.proxies {
		for key, w := range px.waiting {
			if w.early {
				sources[key.Source] = true
			}
		}
	}
	p.putSources(sources)
}

// dropListeners forgets the listeners that the last commit took from their proxies.
func (p *Pipeline) dropListeners() {
	for key, c := range p.resolved.Seats.Changes() {
		if !c.HadOld || c.Has && c.New.Conflict == nil && c.New.Port.Proxy == c.Old.Port.Proxy {
			continue
		}
		delete(p.proxy(c.Old.Port.Proxy).waiting, key)
		p.say(peer.Statement{Subject: listenerSubject(c.Old.Port.Proxy, key), Withdrawn: true})
	}
}

// refuse notes that Envoy refuses a resource.
func (p *Pipeline) refuse(name model.ProxyName, id resourceID, why refusal) {
	p.proxy(name).refused[id] = why
	p.say(peer.Statement{Subject: resourceSubject(name, id), Content: why.hash, Message: why.message})
}

// heal forgets a refusal, because the resource is another one now.
func (p *Pipeline) heal(name model.ProxyName, id resourceID) {
	px := p.proxy(name)
	if _, ok := px.refused[id]; ok {
		delete(px.refused, id)
		p.say(peer.Statement{Subject: resourceSubject(name, id), Withdrawn: true})
	}
}

// adopt refuses a resource if Envoys of another replica refuse just this version of it. It reports whether they do.
func (p *Pipeline) adopt(name model.ProxyName, id resourceID, r *xds.Resource) bool {
	if _, ok := p.proxy(name).refused[id]; ok {
		return false
	}
	for _, st := range p.book.About(resourceSubject(name, id)) {
		if st.Content == r.Hash {
			p.refuse(name, id, refusal{r.Hash, st.Message, r.Owners})
			return true
		}
	}
	return false
}

// adoptResources adopts what others say about resources that have changed, and returns the owners of those refused.
func (p *Pipeline) adoptResources(name model.ProxyName, changes []xds.Change) (owners []model.Ref) {
	if p.book.Empty() {
		return nil
	}
	for _, c := range changes {
		if c.Resource != nil && c.Type != xds.Routes && p.adopt(name, resourceID{c.Type, c.Name}, c.Resource) {
			owners = append(owners, c.Resource.Owners...)
		}
	}
	return owners
}

// adoptResource adopts what others say about a resource, and publishes the statuses of its owners.
func (p *Pipeline) adoptResource(s peer.Subject) {
	for t := range xds.Types() {
		if t.String() != s.Type {
			continue
		}
		if r := p.resource(s.Proxy, t, s.Name); r != nil && p.adopt(s.Proxy, resourceID{t, s.Name}, r) {
			p.publishOwners(r.Owners)
		}
	}
}

// resource returns the resource with the name, nil if there is none. It is a search, for the rare case of a refusal.
func (p *Pipeline) resource(proxy model.ProxyName, typ xds.Type, name string) *xds.Resource {
	if t := p.translations[proxy]; t != nil {
		if r, ok := t.Served(typ, name); ok {
			return r
		}
	}
	switch typ {
	case xds.Cluster:
		return named(p.built.Clusters, ofBackend, proxy, name)
	case xds.Endpoints:
		return named(p.built.Endpoints, ofBackend, proxy, name)
	case xds.Secret:
		return cmp.Or(named(p.built.Secrets, ofSecret, proxy, name),
			named(p.built.Authorities, ofAuthority, proxy, name),
			named(p.built.Values, ofBackend, proxy, name))
	case xds.Listener:
		return named(p.built.Listeners, ofPort, proxy, name)
	}
	return nil
}

func named[K incr.Key[K]](
	table *incr.Table[K, *xds.Resource], of func(K) model.ProxyName, proxy model.ProxyName, name string,
) *xds.Resource {
	for k, r := range table.All() {
		if of(k) == proxy && r.Name == name {
			return r
		}
	}
	return nil
}

// adoptChanged adopts what others say about patches that the last commit changed, and about routes, which may be what
// they say now by a change of something else. It reports whether there is something to commit.
func (p *Pipeline) adoptChanged() bool {
	if p.book.Empty() {
		return false
	}
	patches := p.built.FreshPatches()
	var routes []model.RouteKey
	for _, subject := range p.book.Subjects(peer.Route) {
		if k, ok := routeOf(subject); ok {
			routes = append(routes, k)
		}
	}
	p.recall(routes)
	adopted := false
	for _, patch := range patches {
		adopted = p.adoptPatch(patch) || adopted
	}
	for _, k := range routes {
		adopted = p.adoptRoute(k) || adopted
	}
	for _, subject := range p.book.Subjects(peer.Policy) {
		adopted = p.adoptPolicy(subject) || adopted
	}
	return adopted
}

// adoptRoute has a route stand back if Envoys of another replica refuse just this version of it. It reports whether
// there is something to commit.
func (p *Pipeline) adoptRoute(k model.RouteKey) bool {
	said, version, ok := p.heardOf(k)
	if !ok {
		return false
	}
	good := p.blame.good(k, said)
	if old, _ := p.resolved.Refused.Peek(k); p.blame.holds(k) && (old.LastGood != nil || good.route == nil) {
		return false
	}
	refusal := resolve.Refusal{Version: version, LastGood: good.route, Message: said.Message}
	p.resolved.Refused.Set(k, refusal)
	p.blame.refuse(p, k, refusal)
	return true
}

// Subjects name things as they are named elsewhere. No part of a name that a user chose can contain a slash.

func listenerSubject(name model.ProxyName, key model.ListenerKey) peer.Subject {
	return peer.Subject{Kind: peer.Listener, Proxy: name, Name: key.String()}
}

func resourceSubject(name model.ProxyName, id resourceID) peer.Subject {
	return peer.Subject{Kind: peer.Resource, Proxy: name, Type: id.typ.String(), Name: id.name}
}

func routeSubject(k model.RouteKey) peer.Subject {
	return peer.Subject{Kind: peer.Route, Name: k.String()}
}

// routeOf returns the route that a subject names.
func routeOf(s peer.Subject) (model.RouteKey, bool) {
	parts := strings.Split(s.Name, "/")
	if len(parts) != 3 {
		return model.RouteKey{}, false
	}
	return model.RouteKey{Kind: parts[0], Name: model.Name{Namespace: parts[1], Name: parts[2]}}, true
}

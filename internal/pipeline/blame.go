package pipeline

import (
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/peer"
	"github.com/sluice-gateway/sluice/internal/resolve"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// blame finds the route to blame when Envoy refuses a virtual host, or a listener with filter chains of routes. Usually
// just one of the routes in it has changed
// since the host was last accepted. If there are several, they are tried by halves: those not on trial stand back as
// if they were refused, until each is known to be innocent or not.
type blame struct {
	// before has, for each route that changed since everything was last live, what it was then; nil if it is new.
	before map[model.RouteKey]*model.Route
	// recent has, while there are other replicas, what each route that changed was before its last changes, the oldest
	// first: where no Envoy is connected nothing is ever live, so that only others can tell which of these is good.
	recent map[model.RouteKey][]*model.Route
	// refused are the routes that Envoy refuses, with its words.
	refused map[model.RouteKey]string
	// trials are the searches that are under way, by virtual host.
	trials map[hostID]*trial
	// say tells other replicas of the routes that are refused, and keep whoever knows the version before of them.
	say  func(peer.Statement)
	keep func(model.Ref)
}

// hostID is a virtual host as the xDS server names it, or a listener: then host is empty.
type hostID struct {
	proxy       model.ProxyName
	table, host string
}

// trial is the search for the culprits among the routes of one virtual host.
type trial struct {
	// untried are the routes whose turn has not come, accused those that are on trial now.
	untried, accused []model.RouteKey
	// version is that of the push which decides: once it is live without a refusal, the accused are innocent.
	version uint64
	message string
	// hashes are the versions of the host that are known to be refused.
	hashes map[uint64]bool
}

// cannotBind is what Envoy says of a listener whose port it does not get.
const cannotBind = "cannot bind"

// maxRecent is how many versions of a route before the present one are kept for the word of others.
const maxRecent = 2

func (b *blame) init(say func(peer.Statement), keep func(model.Ref)) {
	b.say, b.keep = say, keep
	b.recent = map[model.RouteKey][]*model.Route{}
	b.before = map[model.RouteKey]*model.Route{}
	b.refused = map[model.RouteKey]string{}
	b.trials = map[hostID]*trial{}
}

// remember keeps what the routes changed by the last commit were before, until that is known to be live or refused.
// others says whether there are other replicas.
func (b *blame) remember(t *resolve.Tables, others bool) {
	for k, c := range t.Routes.Changes() {
		switch {
		case !c.Has:
			delete(b.recent, k)
		case c.HadOld && others:
			recent := append(b.recent[k], &c.Old.Route)
			b.recent[k] = slices.Clone(recent[max(0, len(recent)-maxRecent):])
		}
		if _, ok := b.before[k]; ok {
			continue
		}
		var old *model.Route
		if c.HadOld {
			old = &c.Old.Route
		}
		b.before[k] = old
	}
}

// accuse takes in that Envoy refused a virtual host. It reports whether there is something to commit.
func (b *blame) accuse(p *Pipeline, e xds.Event) bool {
	id := hostID{e.Proxy, e.Resource, e.Part}
	t, ok := b.trials[id]
	if e.Type == xds.Routes && p.distrust(e) {
		return true
	}
	if !ok {
		suspects, changed := b.suspects(p, e.Owners)
		if e.Type == xds.Listener && (!changed || strings.Contains(e.Message, cannotBind)) {
			return false // it is the Gateway's fault, or the machine's
		}
		t = &trial{accused: suspects, hashes: map[uint64]bool{}}
		if len(t.accused) == 0 {
			return false
		}
		b.trials[id] = t
	}
	t.message = e.Message
	t.hashes[e.Hash] = true
	b.convict(p, id, t)
	return true
}

// convict takes in that at least one of the accused is guilty.
func (b *blame) convict(p *Pipeline, id hostID, t *trial) {
	if len(t.accused) == 1 {
		b.refuse(t.accused[0], b.standBack(p, t.accused[0], t.message))
		b.next(p, id, t)
		return
	}
	// The first half stays on trial, the rest waits for its turn.
	half := len(t.accused) / 2
	t.untried = append(slices.Clone(t.accused[half:]), t.untried...)
	t.accused = t.accused[:half]
	for _, k := range t.untried {
		b.standBack(p, k, t.message)
	}
	t.version = p.proxy(id.proxy).version + 1
}

// next puts the next half of the untried routes on trial, or ends the search.
func (b *blame) next(p *Pipeline, id hostID, t *trial) {
	if len(t.untried) == 0 {
		delete(b.trials, id)
		return
	}
	half := (len(t.untried) + 1) / 2
	t.accused, t.untried = t.untried[:half], t.untried[half:]
	for _, k := range t.accused {
		p.resolved.Refused.Delete(k)
	}
	t.version = p.proxy(id.proxy).version + 1
}

// lived takes in that a version is live. It reports whether there is something to commit.
func (b *blame) lived(p *Pipeline, e xds.Event) bool {
	changed := false
	for id, t := range b.trials {
		if id.proxy != e.Proxy || t.version > e.Version {
			continue
		}
		changed = true
		// The server does not send again what it knows to be refused, and reports it once.
		if t.hashes[p.hostHash(id)] {
			b.convict(p, id, t)
		} else {
			b.next(p, id, t)
		}
	}
	if len(b.trials) == 0 && p.settled() {
		b.before = map[model.RouteKey]*model.Route{}
	}
	return changed
}

// settled reports whether all Envoys that are connected have everything.
func (p *Pipeline) settled() bool {
	for _, px := range p.proxies {
		if px.connected > 0 && px.live < px.version {
			return false
		}
	}
	return true
}

// refuse notes that Envoy refuses a route, which stands back already.
func (b *blame) refuse(k model.RouteKey, r resolve.Refusal) {
	b.refused[k] = r.Message
	st := peer.Statement{Subject: routeSubject(k), Message: r.Message}
	if r.Version != nil {
		st.Content = peer.Content(r.Version)
	}
	if r.LastGood != nil {
		st.Good = peer.Content(r.LastGood)
		if b.keep != nil {
			b.keep(k.Ref())
		}
	}
	b.say(st)
}

// version returns the version of a route before the present one that has the given content, nil if it is not known.
func (b *blame) version(k model.RouteKey, content uint64) *model.Route {
	for _, r := range append(slices.Clone(b.recent[k]), b.before[k]) {
		if content != 0 && r != nil && peer.Content(r) == content {
			return r
		}
	}
	return nil
}

// tried reports whether the route is on trial, or waits for its turn.
func (b *blame) tried(k model.RouteKey) bool {
	for _, t := range b.trials {
		if slices.Contains(t.accused, k) || slices.Contains(t.untried, k) {
			return true
		}
	}
	return false
}

// suspects are the routes among the owners that changed since everything was last live or, if none did, all of them.
func (b *blame) suspects(p *Pipeline, owners []model.Ref) (suspects []model.RouteKey, recent bool) {
	var changed, all []model.RouteKey
	for _, o := range owners {
		k := model.RouteKey{Kind: o.Kind, Name: o.Name}
		if _, ok := b.refused[k]; ok {
			continue
		}
		if _, ok := p.resolved.Routes.Peek(k); !ok {
			continue
		}
		all = append(all, k)
		if _, ok := b.before[k]; ok {
			changed = append(changed, k)
		}
	}
	if len(changed) > 0 {
		return changed, true
	}
	return all, false
}

// standBack takes what a route is now out of the configuration: its last good version stays, if there is one.
func (b *blame) standBack(p *Pipeline, k model.RouteKey, message string) resolve.Refusal {
	refusal, ok := p.resolved.Refused.Peek(k)
	if !ok {
		if route, found := p.resolved.Routes.Peek(k); found {
			refusal.Version = &route.Route
		}
		refusal.LastGood = b.before[k]
	}
	refusal.Message = message
	p.resolved.Refused.Set(k, refusal)
	return refusal
}

// forgive drops a refusal because the object has changed.
func (p *Pipeline) forgive(ref model.Ref) {
	k := model.RouteKey{Kind: ref.Kind, Name: ref.Name}
	if _, ok := p.blame.refused[k]; ok {
		delete(p.blame.refused, k)
		p.resolved.Refused.Delete(k)
		p.say(peer.Statement{Subject: routeSubject(k), Withdrawn: true})
	}
}

// forgivePoliced drops the refusals of the routes that policies hold for which changed in what they ask for: that may
// have been what Envoy refused.
func (p *Pipeline) forgivePoliced(changed func(policy model.Ref) bool) {
	for k := range p.blame.refused {
		if slices.ContainsFunc(p.resolved.PoliciesOf(k), changed) {
			p.forgive(k.Ref())
		}
	}
}

// hostHash is the hash of a virtual host or a listener as it is now, 0 if there is none.
func (p *Pipeline) hostHash(id hostID) uint64 {
	if id.host == "" {
		for port, r := range p.built.Listeners.All() {
			if port.Proxy == id.proxy && r.Name == id.table {
				return r.Hash
			}
		}
	}
	for table := range p.built.Routes.All() {
		if table.Port().Proxy == id.proxy && table.String() == id.table {
			if part := p.built.Part(model.HostKey{Table: table, Domain: id.host}); part != nil {
				return part.Hash
			}
		}
	}
	return 0
}

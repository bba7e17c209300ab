package pipeline

import (
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/peer"
	"github.com/sluice-gateway/sluice/internal/resolve"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// blame finds the route or the policy to blame when Envoy refuses a virtual host, what is around the hosts of a route
// table, or a listener. Usually just one of those that it is made of has changed since it was last accepted. If there
// are several, they are tried by halves: those not on trial stand back as if they were refused, until each is known to
// be innocent or not.
type blame struct {
	// commits counts them.
	commits uint64
	// before has, for each route whose last changes are not live yet, what it was before each of them, the oldest first.
	// That one is known to be good.
	before map[model.RouteKey][]past
	// recent has, while there are other replicas, what each route that changed was before its last changes, the oldest
	// first: where no Envoy is connected nothing is ever live, so that only others can tell which of these is good.
	recent map[model.RouteKey][]past
	// told are the versions of routes that stay live, made of what other replicas tell.
	told map[model.RouteKey]past
	// replaced are the objects of routes that the next commit replaces.
	replaced map[model.RouteKey]resource.Object
	// refused are the routes that Envoy refuses, and the version of each that stays live.
	refused map[model.RouteKey]past
	// forgiven are the routes that were refused until the next commit changes them.
	forgiven map[model.RouteKey]bool
	// policies and standIns are what before and refused are, for policies.
	policies map[model.Ref][]past
	standIns map[model.Ref]standIn
	// closed are the route tables that are closed for the policies around their hosts, closing are Envoy's words about
	// these policies.
	closed  map[hostID]closedTable
	closing map[model.Ref]string
	// verdicts are what is to be said of policies since the last commit.
	verdicts issues
	// trials are the searches that are under way, by virtual host.
	trials map[hostID]*trial
	// say tells other replicas of the routes that are refused, and keep whoever knows the version before of them.
	say  func(peer.Statement)
	keep func(model.Ref)
}

// hostID is a virtual host as the xDS server names it, or a listener, or what is around the hosts of a route table:
// then host is empty.
type hostID struct {
	proxy       model.ProxyName
	table, host string
}

// trial is the search for the culprits among the routes of one virtual host, and the policies that hold for them.
type trial struct {
	// untried are those whose turn has not come, accused those that are on trial now.
	untried, accused []model.Ref
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
	b.recent = map[model.RouteKey][]past{}
	b.before = map[model.RouteKey][]past{}
	b.told = map[model.RouteKey]past{}
	b.replaced = map[model.RouteKey]resource.Object{}
	b.refused = map[model.RouteKey]past{}
	b.forgiven = map[model.RouteKey]bool{}
	b.policies = map[model.Ref][]past{}
	b.standIns = map[model.Ref]standIn{}
	b.closed = map[hostID]closedTable{}
	b.closing = map[model.Ref]string{}
	b.trials = map[hostID]*trial{}
}

// remember keeps what the routes changed by the last commit were before, until that is known to be live or refused.
func (b *blame) remember(p *Pipeline) {
	b.commits++
	others := !p.book.Empty()
	for k, c := range p.resolved.Routes.Changes() {
		old := past{until: b.commits}
		if c.HadOld {
			old.route, old.object = &c.Old.Route, p.objectBefore(k)
		}
		switch {
		case !c.Has:
			delete(b.recent, k)
		case c.HadOld && others:
			recent := append(b.recent[k], old)
			b.recent[k] = slices.Clone(recent[max(0, len(recent)-maxRecent):])
		}
		if !b.forgiven[k] { // what it was then was never live
			b.before[k] = remembered(b.before[k], old)
		}
	}
	clear(b.replaced)
	clear(b.forgiven)
}

// maxBefore bounds the versions that are told apart of what changes faster than it is live.
const maxBefore = 8

// remembered adds the version before a change to those before it. If there are too many, the last one stands for it.
func remembered(list []past, old past) []past {
	if n := len(list); n == maxBefore {
		list[n-1].until = old.until
		return list
	}
	return append(list, old)
}

// doubt takes in that Envoy refused what routes are in: that everything is live will not say that they are good as
// they were then.
func (b *blame) doubt(p *Pipeline, e xds.Event) {
	until := b.commits
	if p.isNow(e) {
		until++
	}
	for _, o := range e.Owners {
		extend(b.before[routeKeyOf(o)], until)
	}
	if len(b.policies) > 0 {
		for _, ref := range p.policiesIn(e) {
			extend(b.policies[ref], until)
		}
	}
}

// extend has a commit be live before what came after the versions is known as good.
func extend(list []past, until uint64) {
	for i := range list {
		list[i].until = max(list[i].until, until)
	}
}

// trust drops what routes were before changes that are live by now and not refused.
func (b *blame) trust(p *Pipeline) {
	live := p.liveCommit()
	trustIn(b.before, live, func(k model.RouteKey) bool { return b.tried(k.Ref()) })
	trustIn(b.policies, live, b.tried)
}

func trustIn[K comparable](before map[K][]past, live uint64, tried func(K) bool) {
	for k, list := range before {
		if tried(k) {
			continue
		}
		rest := slices.DeleteFunc(list, func(v past) bool { return v.until <= live })
		if len(rest) == 0 {
			delete(before, k)
		} else {
			before[k] = rest
		}
	}
}

// lastGood is the version of a route that was live last, the zero value if there is none or it is what it is now.
func (b *blame) lastGood(k model.RouteKey) past {
	if list := b.before[k]; len(list) > 0 {
		return list[0]
	}
	return past{}
}

// accuse takes in that Envoy refused a virtual host. It reports whether there is something to commit.
func (b *blame) accuse(p *Pipeline, e xds.Event) bool {
	id := hostID{e.Proxy, e.Resource, e.Part}
	t, ok := b.trials[id]
	if e.Part != "" && p.distrust(e) {
		return true
	}
	// Another replica may have told who is to blame before the own Envoy refused it: who is left is innocent. What it is
	// instead is judged by itself. And the hash of the hosts is part of that of what is around them.
	around := e.Part == "" && e.Type == xds.Routes
	if (!ok || around) && !p.isNow(e) {
		return false
	}
	if !ok {
		suspects, changed := b.suspects(p, e)
		if e.Part == "" && (!changed || strings.Contains(e.Message, cannotBind)) {
			return false // it is the Gateway's fault, or the machine's
		}
		t = &trial{accused: suspects, hashes: map[uint64]bool{}}
		if len(t.accused) == 0 {
			return false
		}
		b.trials[id] = t
	}
	t.message = e.Message
	if around {
		t.hashes[p.hostHash(id)] = true
	} else {
		t.hashes[e.Hash] = true
	}
	b.convict(p, id, t)
	return true
}

// convict takes in that at least one of the accused is guilty.
func (b *blame) convict(p *Pipeline, id hostID, t *trial) {
	if len(t.accused) == 1 {
		b.sentence(p, t.accused[0], t.message)
		b.next(p, id, t)
		return
	}
	// The first half stays on trial, the rest waits for its turn.
	half := len(t.accused) / 2
	t.untried = append(slices.Clone(t.accused[half:]), t.untried...)
	t.accused = t.accused[:half]
	for _, ref := range t.untried {
		b.standAside(p, ref, t.message)
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
	for _, ref := range t.accused {
		b.comeBack(p, ref)
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
	b.trust(p)
	return changed
}

// refuse notes that Envoy refuses a route, which stands back already.
func (b *blame) refuse(p *Pipeline, k model.RouteKey, r resolve.Refusal) {
	good := b.find(k, r.LastGood)
	b.refused[k] = good
	st := peer.Statement{Subject: routeSubject(k), Message: r.Message}
	if r.Version != nil {
		st.Content = p.contentOf(k, r.Version)
	}
	if r.LastGood != nil {
		st.Good, st.Kept = peer.Content(r.LastGood), good.told()
		if b.keep != nil {
			b.keep(k.Ref())
		}
	}
	b.say(st)
}

// version returns the version of a route before the present one that has the given content, the zero value if it is not
// known.
func (b *blame) version(k model.RouteKey, content uint64) past {
	for _, v := range slices.Concat(b.recent[k], b.before[k]) {
		if content != 0 && v.route != nil && peer.Content(v.route) == content {
			return v
		}
	}
	return past{}
}

// holds reports whether Envoy refuses a route.
func (b *blame) holds(k model.RouteKey) bool {
	_, ok := b.refused[k]
	return ok
}

// tried reports whether a route or a policy is on trial, or waits for its turn.
func (b *blame) tried(ref model.Ref) bool {
	for _, t := range b.trials {
		if slices.Contains(t.accused, ref) || slices.Contains(t.untried, ref) {
			return true
		}
	}
	return false
}

// suspects are the routes among the owners of what Envoy refuses whose changes are not live yet, and such policies that
// are in it; if there are none, all of the routes.
func (b *blame) suspects(p *Pipeline, e xds.Event) (suspects []model.Ref, recent bool) {
	changed := b.suspectPolicies(p, e)
	var all []model.Ref
	for _, o := range e.Owners {
		k := routeKeyOf(o)
		if _, ok := b.refused[k]; ok {
			continue
		}
		if _, ok := p.resolved.Routes.Peek(k); !ok {
			continue
		}
		all = append(all, o)
		if _, ok := b.before[k]; ok {
			changed = append(changed, o)
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
		refusal.LastGood = b.lastGood(k).route
	}
	refusal.Message = message
	p.resolved.Refused.Set(k, refusal)
	return refusal
}

// forgive drops a refusal because the object has changed.
func (p *Pipeline) forgive(ref model.Ref) {
	k := routeKeyOf(ref)
	delete(p.blame.told, k)
	if good, ok := p.blame.refused[k]; ok {
		good.until = p.blame.commits + 1
		p.blame.before[k] = []past{good}
		p.blame.forgiven[k] = true
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

// isNow reports whether what Envoy refuses is what there is now.
func (p *Pipeline) isNow(e xds.Event) bool {
	if e.Type == xds.Routes && e.Part == "" {
		_, r := p.built.TableOf(e.Proxy, e.Resource)
		return r == nil || r.Is("", e.Hash)
	}
	now := p.hostHash(hostID{e.Proxy, e.Resource, e.Part})
	return now == 0 || now == e.Hash
}

// routeKeyOf is the key of a route, by its reference.
func routeKeyOf(ref model.Ref) model.RouteKey { return model.RouteKey{Kind: ref.Kind, Name: ref.Name} }

// hostHash is the hash of a virtual host, of what is around those of a table, or of a listener, as it is now; 0 if
// there is none.
func (p *Pipeline) hostHash(id hostID) uint64 {
	if hash, ok := p.servedHash(id); ok {
		return hash
	}
	if id.host == "" {
		if listener := named(p.built.Listeners, ofPort, id.proxy, id.table); listener != nil {
			return listener.Hash
		}
	}
	table, r := p.built.TableOf(id.proxy, id.table)
	if r == nil {
		return 0
	}
	if id.host == "" {
		return xxhash.Sum64(r.Body)
	}
	if part := p.built.Part(model.HostKey{Table: table, Domain: id.host}); part != nil {
		return part.Hash
	}
	return 0
}

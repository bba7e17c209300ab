package translation

import (
	"fmt"
	"maps"
	"slices"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// Proxy is a proxy about whose configuration extension servers decide. It is for one goroutine at a time.
type Proxy struct {
	name    model.ProxyName
	servers []*server
	want    func(call model.Call, wanted bool)
	// open says that all servers may be done without.
	open bool

	// base are the resources as the tables make them, served as Envoys get them. Of types that do not come by here there
	// are none.
	base, served set
	// alive says that the proxy has listeners: else nobody is asked, and everything is what it is.
	alive    bool
	policies []model.Extension

	// dirty says that there is something that the round does not know; nil is no round.
	dirty bool
	round *round
	// asked is what the last round that was complete was about, final what came of it; nil before the first. bad are the
	// resources that could not be used, failed why the round since then stands still.
	asked, final set
	bad          map[ID]string
	failed       string
	// fresh says that everything has to be looked at again.
	fresh bool

	// users counts the clusters that are served by the endpoints that they ask for.
	users map[string]int
	trust
}

// New returns a proxy that has nothing yet. want is told of each call that is to be made, or not any more; it must not
// call back. It returns nil if none of the servers decides about anything.
func New(name model.ProxyName, managers []model.ExtensionManager, want func(model.Call, bool)) *Proxy {
	p := &Proxy{name: name, want: want, open: true, base: set{}, served: set{}, users: map[string]int{}, trust: newTrust()}
	for i := range managers {
		m := &managers[i]
		if m.Takes(model.HookTranslation) && m.Translation != (model.TranslationScope{}) {
			p.servers = append(p.servers, &server{ExtensionManager: m})
			p.open = p.open && m.FailOpen
		}
	}
	if len(p.servers) == 0 {
		return nil
	}
	return p
}

// includes says whether some server decides about a type.
func (p *Proxy) includes(typ xds.Type) bool {
	return slices.ContainsFunc(p.servers, func(s *server) bool { return s.includes(typ) })
}

// takes says whether resources of a type come by here.
func (p *Proxy) takes(typ xds.Type) bool { return p.includes(typ) || p.includes(xds.Cluster) }

// Reach says whether the proxy has listeners, and which policies are attached to these.
func (p *Proxy) Reach(policies []model.Extension, alive bool) {
	p.policies, p.fresh, p.dirty, p.alive = policies, p.fresh || p.alive != alive, true, alive
	if alive {
		return
	}
	for _, s := range p.servers {
		if s.call != (model.Call{}) {
			p.want(s.call, false)
		}
		*s = server{ExtensionManager: s.ExtensionManager}
	}
	p.round, p.asked, p.final, p.bad, p.failed = nil, nil, nil, nil, ""
}

// Fresh reports whether what is served is something else than it was at the last [Proxy.Changes].
func (p *Proxy) Fresh() bool { return p.fresh }

// Gone reports whether nothing of the proxy is left.
func (p *Proxy) Gone() bool { return !p.alive && len(p.base)+len(p.served) == 0 }

// Learn takes in what the tables have changed. It has to be followed by [Proxy.Changes].
func (p *Proxy) Learn(changes []xds.Change) {
	for _, c := range changes {
		if !p.takes(c.Type) {
			continue
		}
		id := ID{c.Type, c.Name}
		p.dirty = p.dirty || p.includes(c.Type) && !same(p.base[id], c.Resource)
		if c.Resource == nil {
			delete(p.base, id)
		} else {
			p.base[id] = c.Resource
		}
	}
}

// Changes returns what Envoys are to be told instead of what the tables have changed.
func (p *Proxy) Changes(changes []xds.Change) []xds.Change {
	var out []xds.Change
	touched := map[ID]bool{}
	for _, c := range changes {
		if p.takes(c.Type) {
			touched[ID{c.Type, c.Name}] = true
		} else {
			out = append(out, c)
		}
	}
	if p.fresh {
		for _, resources := range []set{p.base, p.served, p.final} {
			for id := range resources {
				touched[id] = p.takes(id.Type)
			}
		}
		p.fresh = false
	}
	// Clusters come first, because others depend on which there are, and endpoints last.
	changed := p.serve(touched, func(typ xds.Type) bool { return typ == xds.Cluster }, &out)
	if changed {
		for _, resources := range []set{p.base, p.served} {
			for id := range resources {
				touched[id] = touched[id] || id.Type == xds.Listener || id.Type == xds.Routes
			}
		}
	}
	p.serve(touched, func(typ xds.Type) bool { return typ != xds.Cluster && typ != xds.Endpoints }, &out)
	p.serve(touched, func(typ xds.Type) bool { return typ == xds.Endpoints }, &out)
	slices.SortFunc(out, func(a, b xds.Change) int { return ID{a.Type, a.Name}.Compare(ID{b.Type, b.Name}) })
	return out
}

// serve serves those of the touched resources whose type is selected. It reports whether some changed.
func (p *Proxy) serve(touched map[ID]bool, selected func(xds.Type) bool, out *[]xds.Change) bool {
	changed := false
	for _, id := range slices.SortedFunc(maps.Keys(touched), ID.Compare) {
		if !touched[id] || !selected(id.Type) {
			continue
		}
		before, now := p.served[id], p.now(id)
		if same(before, now) && (now == nil || slices.Equal(before.Owners, now.Owners)) {
			continue
		}
		changed = true
		change := xds.Change{Type: id.Type, Name: id.Name, Resource: now}
		if id.Type == xds.Routes {
			change.Parts = changedParts(before, now)
		}
		*out = append(*out, change)
		p.set(id, now, touched)
	}
	return changed
}

// set notes what is served. It touches the endpoints that are asked for now, or not any more.
func (p *Proxy) set(id ID, now *xds.Resource, touched map[ID]bool) {
	before := p.served[id]
	if id.Type == xds.Cluster {
		for r, n := range map[*xds.Resource]int{before: -1, now: 1} {
			if r == nil {
				continue
			}
			if name := envoy.EndpointsOf(r); name != "" {
				if p.users[name] += n; p.users[name] == 0 {
					delete(p.users, name)
				}
				touched[ID{xds.Endpoints, name}] = true
			}
		}
	}
	if now == nil {
		delete(p.served, id)
	} else {
		p.served[id] = now
	}
	p.changed(id)
}

// now is a resource as it is to be served now, nil if it is not to be.
func (p *Proxy) now(id ID) *xds.Resource {
	base := p.base[id]
	switch {
	case !p.alive:
		return base
	case id.Type == xds.Endpoints:
		switch {
		case p.users[id.Name] == 0:
			return nil
		case base == nil: // those of a cluster that is to go, but is not gone yet
			return p.served[id]
		}
		return base
	case p.includes(id.Type):
		base = p.decided(id, base)
	}
	if id.Type == xds.Cluster || base == nil || !p.includes(xds.Cluster) {
		return base
	}
	return p.awaiting(id, base)
}

// decided is what servers have made of a resource: what they made of it before while they have not decided yet.
func (p *Proxy) decided(id ID, base *xds.Resource) *xds.Resource {
	if p.final == nil || !same(base, p.asked[id]) {
		return p.served[id]
	}
	out := p.final[id]
	switch {
	case out == nil:
		return nil
	case same(base, out):
		return base // it may be somebody else's by now
	}
	return p.trusted(id, out, base)
}

// awaiting holds back what needs a cluster that servers have not decided about: a listener, a route table, or a virtual
// host of it stays what it was.
func (p *Proxy) awaiting(id ID, r *xds.Resource) *xds.Resource {
	if slices.ContainsFunc(r.Needs, p.undecided) {
		return p.served[id]
	}
	if !r.Parts.Any(func(part *xds.Part) bool { return slices.ContainsFunc(part.Needs, p.undecided) }) {
		return r
	}
	return withParts(r, func(now *xds.Part) *xds.Part {
		if slices.ContainsFunc(now.Needs, p.undecided) {
			return p.served[id].Part(now.Name)
		}
		return now
	})
}

// undecided reports whether a cluster is not there because servers have not decided about it.
func (p *Proxy) undecided(cluster string) bool {
	id := ID{xds.Cluster, cluster}
	return p.base[id] != nil && p.served[id] == nil && (p.final == nil || !same(p.base[id], p.asked[id]))
}

// withParts returns a route table with other virtual hosts; nil is none.
func withParts(r *xds.Resource, f func(*xds.Part) *xds.Part) *xds.Resource {
	out := *r
	out.Parts = r.Parts.Map(f)
	out.Hash = xds.RoutesHash(out.Body, out.Parts)
	return &out
}

// Served returns a resource as Envoys get it, nil if there is none. It reports false for a type that does not come by
// here.
func (p *Proxy) Served(typ xds.Type, name string) (*xds.Resource, bool) {
	return p.served[ID{typ, name}], p.takes(typ)
}

// Overlay replaces the resources of a proxy, by type and then name, by those that Envoys get.
func (p *Proxy) Overlay(resources map[xds.Type][]*xds.Resource) {
	for t := range xds.Types() {
		if p.takes(t) {
			resources[t] = nil
		}
	}
	for _, id := range p.served.sorted() {
		resources[id.Type] = append(resources[id.Type], p.served[id])
	}
}

// Verdict is what is known of the cluster of a backend: whether routes to it can be served, or why they cannot.
type Verdict struct {
	Ready  bool
	Failed string
}

// Cluster says what has become of a cluster. One that a server has dropped is ready: its routes have no cluster.
func (p *Proxy) Cluster(name string) Verdict {
	id := ID{xds.Cluster, name}
	switch base := p.base[id]; {
	case p.now(id) != nil || !p.alive:
		return Verdict{Ready: true}
	case base != nil && p.final != nil && same(base, p.asked[id]):
		why := p.why(id)
		return Verdict{Ready: why == "", Failed: why}
	default:
		return Verdict{Failed: p.failed}
	}
}

// why says why a resource that servers have decided about is not what they say, empty if it is.
func (p *Proxy) why(id ID) string {
	if why := p.bad[id]; why != "" {
		return why
	}
	if words := p.refusals(id); len(words) > 0 {
		return words[0]
	}
	return ""
}

// maxWords is how many messages there are at most.
const maxWords = 5

// Words say what keeps the proxy from what the servers and the tables say; empty if nothing does.
func (p *Proxy) Words() []string {
	var out []string
	if p.failed != "" && !maps.EqualFunc(p.base.of(p.includes), p.asked, same) {
		out = append(out, p.failed+"; what it has not been asked about stays what it was")
	}
	var all []string
	for id := range p.refused {
		all = append(all, p.refusals(id.ID)...)
	}
	all = append(all, slices.Collect(maps.Values(p.bad))...)
	slices.Sort(all)
	all = slices.Compact(all)
	if n := len(all) - maxWords; n > 0 {
		all = append(all[:maxWords], fmt.Sprintf("and %d more", n))
	}
	return append(out, all...)
}

// Holds reports whether a listener waits for servers, so that it is not what it should be.
func (p *Proxy) Holds(listener string) bool {
	id := ID{xds.Listener, listener}
	return p.alive && p.takes(xds.Listener) && p.base[id] != nil &&
		(p.includes(xds.Listener) && (p.final == nil || !same(p.base[id], p.asked[id])) ||
			slices.ContainsFunc(p.base[id].Needs, p.undecided))
}

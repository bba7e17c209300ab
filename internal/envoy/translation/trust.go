package translation

import (
	"fmt"
	"slices"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// trust is what Envoys have said about what servers made.
type trust struct {
	// refused are the versions that they refuse, with their words.
	refused map[version]string
	// good are the resources as they were last live, unproven the pushes since which they are what they are, and pushing
	// those that are to be in the next one.
	good     set
	unproven map[ID]uint64
	pushing  []ID
}

// version is one of a resource, or of a virtual host in a route table.
type version struct {
	ID
	Part string
	Hash uint64
}

func newTrust() trust {
	return trust{refused: map[version]string{}, good: set{}, unproven: map[ID]uint64{}}
}

// changed notes that another version is served from the next push on.
func (t *trust) changed(id ID) {
	t.pushing = append(t.pushing, id)
}

// Pushed says which push the last changes are part of.
func (p *Proxy) Pushed(push uint64) {
	for _, id := range p.pushing {
		p.unproven[id] = push
		if p.served[id] == nil {
			delete(p.unproven, id)
			delete(p.good, id)
		}
	}
	p.pushing = nil
}

// Lived takes in that a push is live: what was part of it is good.
func (p *Proxy) Lived(push uint64) {
	for id, since := range p.unproven {
		if since <= push {
			p.good[id] = p.served[id]
			delete(p.unproven, id)
		}
	}
}

// Refused takes in that Envoy refuses a resource, or a virtual host in it. It reports whether that is for what servers
// have made of it: then it stays what it was, or, if all of them may be done without, what it is without them.
func (p *Proxy) Refused(e xds.Event) bool {
	id := ID{e.Type, e.Resource}
	if !p.alive || !p.includes(e.Type) {
		return false
	}
	now, base := p.served[id], p.base[id]
	switch {
	case now == nil:
		return false
	case e.Part == "" && (now.Hash != e.Hash || same(now, base)):
		return false
	case e.Part != "":
		own, theirs := base.Part(e.Part), now.Part(e.Part)
		if theirs == nil || theirs.Hash != e.Hash || own != nil && own.Hash == e.Hash {
			return false
		}
	}
	p.refused[version{id, e.Part, e.Hash}] = e.Message
	p.fresh = true
	return true
}

// trusted is what servers have made of a resource, without what Envoy refuses of it.
func (p *Proxy) trusted(id ID, made, base *xds.Resource) *xds.Resource {
	if _, refused := p.refused[version{id, "", made.Hash}]; refused {
		if good := p.good[id]; !p.open && good != nil && good.Hash != made.Hash {
			return good
		}
		if p.open {
			return base
		}
		return nil
	}
	bad := func(part *xds.Part) bool {
		_, refused := p.refused[version{id, part.Name, part.Hash}]
		return refused
	}
	if !made.Parts.Any(bad) {
		return made
	}
	return withParts(made, func(now *xds.Part) *xds.Part {
		if !bad(now) {
			return now
		}
		from := p.good[id]
		if p.open {
			from = base
		}
		if before := from.Part(now.Name); before != nil && !bad(before) {
			return before
		}
		return nil
	})
}

// refusals are Envoy's words about what servers have made of a resource.
func (p *Proxy) refusals(id ID) []string {
	var out []string
	for v, words := range p.refused {
		if v.ID != id {
			continue
		}
		what := id.noun()
		if v.Part != "" {
			what = fmt.Sprintf("the virtual host %q of %s", v.Part, what)
		}
		out = append(out, fmt.Sprintf("Envoy refuses what the extension server %q has made of %s: %s",
			p.maker(id), what, words))
	}
	slices.Sort(out)
	return out
}

// maker is the name of the last server that has changed a resource.
func (p *Proxy) maker(id ID) string {
	for _, s := range slices.Backward(p.servers) {
		if s.changes(id) {
			return s.Name
		}
	}
	return p.servers[len(p.servers)-1].Name
}

// withoutEndpoints takes clusters out of what a round has come to that ask for endpoints which there are not: Envoy
// would wait for them, and with these for all other clusters.
func (p *Proxy) withoutEndpoints(r *round) {
	for id, made := range r.now {
		if id.Type != xds.Cluster || same(made, r.begun[id]) {
			continue
		}
		name := envoy.EndpointsOf(made)
		endpoints := ID{xds.Endpoints, name}
		if name == "" || p.base[endpoints] != nil || p.served[endpoints] != nil {
			continue
		}
		p.bad[id] = fmt.Sprintf("What the extension server %q answers for %s cannot be used: it asks for the endpoints %q "+
			"by EDS, and there are none of this name", p.maker(id), id.noun(), name)
		switch before := p.served[id]; {
		case p.open && r.begun[id] != nil:
			r.now[id] = r.begun[id]
		case before != nil:
			r.now[id] = before
		default:
			delete(r.now, id)
		}
	}
}

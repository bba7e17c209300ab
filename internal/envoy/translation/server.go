package translation

import (
	"fmt"
	"slices"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// server is what an extension server has said about a proxy.
type server struct {
	*model.ExtensionManager
	// call is what it is asked, about the resources in input; zero before the first.
	call  model.Call
	input set
	// open says that it has not answered yet, failed why it has not.
	open   bool
	failed string
	// asked is what the last answer is about, made what it is, and bad what cannot be used of it.
	asked, made set
	bad         map[ID]string
}

func (s *server) includes(typ xds.Type) bool { return envoy.Includes(s.ExtensionManager, typ) }

// ask has the server asked about resources, unless that is what it is asked already.
func (s *server) ask(p *Proxy, resources set) {
	input := resources.of(s.includes)
	call := model.NewCall(model.CallSpec{
		Manager: s.Name, Hook: model.HookTranslation, About: string(p.name),
		Request: string(request(input, model.SelectExtensions(p.policies, s.Policies))),
	})
	s.input = input
	if call == s.call {
		return
	}
	before := s.call
	s.call, s.open = call, true
	p.want(call, true)
	if before != (model.Call{}) {
		p.want(before, false)
	}
}

// take takes in what became of the call. What cannot be used of an answer is what it was before, or, if the server may
// be done without, what it would be without it.
func (s *server) take(a *Answer) {
	s.open, s.failed = false, ""
	if a.Failed != "" {
		s.failed = fmt.Sprintf("The extension server %q was asked for the configuration of %s and has failed: %s",
			s.Name, s.call.Spec().About, a.Failed)
		return
	}
	a.adopt(s.input)
	s.bad = map[ID]string{}
	for id, why := range a.bad {
		if !s.includes(id.Type) {
			continue
		}
		s.bad[id] = fmt.Sprintf("What the extension server %q answers for %s cannot be used: %s", s.Name, id.noun(), why)
		before := s.made[id]
		if s.FailOpen {
			before = s.input[id]
		}
		if before != nil {
			a.made[id] = before
		}
	}
	s.asked, s.made = s.input, a.made
}

// apply returns resources as the server wants them. Those that it was not asked about as they are stay so; there are
// none unless it has failed and may be done without.
func (s *server) apply(resources set) set {
	out := make(set, len(resources))
	for id, r := range resources {
		switch asked := s.asked[id]; {
		case !s.includes(id.Type) || asked == nil || asked.Hash != r.Hash:
			out[id] = r
		case same(s.made[id], r):
			out[id] = r
		case s.made[id] != nil:
			out[id] = s.made[id]
		}
	}
	for id, r := range s.made {
		if s.includes(id.Type) && s.asked[id] == nil && resources[id] == nil {
			out[id] = r
		}
	}
	return out
}

// changes says whether the server has made something of its own of a resource.
func (s *server) changes(id ID) bool {
	return s.includes(id.Type) && !same(s.asked[id], s.made[id])
}

// round is one time that all servers are asked, one after the other.
type round struct {
	// begun are the resources that it is about, now what the servers before at have made of them.
	begun, now set
	at         int
}

// begin starts a round about what there is now.
func (p *Proxy) begin() {
	all := p.base.of(p.includes)
	p.round, p.dirty = &round{begun: all, now: all}, false
}

// Advance asks what is to be asked, unless an answer is awaited. It does nothing while nothing has changed.
func (p *Proxy) Advance() {
	if !p.alive {
		return
	}
	stuck := p.round != nil && !p.servers[p.round.at].open
	if p.dirty && (p.round == nil || stuck) {
		p.begin()
		p.advance()
	}
}

// Answered takes in an answer. It reports false if it is to nothing that is asked.
func (p *Proxy) Answered(call model.Call, a *Answer) bool {
	i := slices.IndexFunc(p.servers, func(s *server) bool { return s.call == call })
	if i < 0 {
		return false
	}
	p.servers[i].take(a)
	if p.round == nil || p.round.at != i {
		p.dirty = true // a new connection: it says something else now
	}
	if p.round == nil {
		p.begin()
	}
	p.advance()
	return true
}

// advance goes on with the round, as far as there are answers.
func (p *Proxy) advance() {
	for p.round != nil {
		r := p.round
		s := p.servers[r.at]
		s.ask(p, r.now)
		switch {
		case s.open:
			return
		case s.failed != "" && !s.FailOpen:
			p.failed, p.fresh = s.failed, true
			if !p.dirty {
				return
			}
			p.begin()
			continue
		}
		r.now = s.apply(r.now)
		if r.at++; r.at < len(p.servers) {
			continue
		}
		p.complete(r)
		p.round = nil
		if p.dirty {
			p.begin()
		}
	}
}

// complete takes in what a round has come to.
func (p *Proxy) complete(r *round) {
	p.asked, p.final, p.failed, p.fresh = r.begun, r.now, "", true
	p.bad = map[ID]string{}
	for _, s := range p.servers {
		for id, why := range s.bad {
			p.bad[id] = why
		}
	}
	p.withoutEndpoints(r)
	for id := range p.refused {
		if !p.final[id.ID].Is(id.Part, id.Hash) {
			delete(p.refused, id)
		}
	}
}

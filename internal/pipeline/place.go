package pipeline

import (
	"reflect"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
	"github.com/sluice-gateway/sluice/internal/status"
)

// Place says where a fleet is. The statuses of its Gateways and their ListenerSets follow.
func (p *Pipeline) Place(name model.ProxyName, placed resolve.Placement) {
	p.mu.Lock()
	defer p.mu.Unlock()
	px := p.proxy(name)
	if reflect.DeepEqual(px.placed, placed) {
		return
	}
	px.placed = placed
	if p.opts.Publish == nil {
		return
	}
	if fleet, ok := p.resolved.Fleets.Peek(name); ok {
		for _, gw := range fleet.Gateways {
			p.putGateway(gw)
		}
	}
	for set, st := range p.resolved.ListenerSets.All() {
		if st.Proxy == name {
			p.putListenerSet(set)
		}
	}
}

// orderFleets tells of the fleets that the last commit changed.
func (p *Pipeline) orderFleets() {
	if p.opts.Fleet == nil {
		return
	}
	for name, c := range p.resolved.Fleets.Changes() {
		if !c.Has {
			p.proxy(name).placed = resolve.Placement{}
			p.opts.Fleet(name, nil)
			continue
		}
		p.opts.Fleet(name, c.New)
	}
}

// progress is what the Envoys of a Gateway, and where they are, say about it.
func (p *Pipeline) progress(name model.ProxyName) status.Progress {
	if p.opts.Fleets == nil {
		return status.Progress{Addresses: p.opts.Addresses}
	}
	placed := p.proxy(name).placed
	return status.Progress{Addresses: placed.Addresses, Reason: placed.Reason, Message: placed.Message}
}

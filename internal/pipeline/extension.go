package pipeline

import (
	"bytes"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// ExtensionOptions say which extension servers there are.
type ExtensionOptions struct {
	// Managers are the servers in the order in which they are asked, Kinds what they understand.
	Managers []model.ExtensionManager
	Kinds    resource.Extensions
	// Call is told of every call that is to be made from now on, or not any more: see [Pipeline.Answered]. It must not
	// call back, nor block. nil if nobody makes calls: then what depends on them is never there.
	Call func(call model.Call, wanted bool)
}

// Answered takes in what became of a call. The outcome is that of the commit that followed; nothing follows if nobody
// wants it any more.
func (p *Pipeline) Answered(call model.Call, answer model.Answer) Outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.built.Calls == nil {
		return Outcome{}
	}
	if _, wanted := p.built.Calls.Peek(call); !wanted {
		return Outcome{}
	}
	if refused, ok := p.distrusted[call]; ok && bytes.Equal(refused, answer.Data) {
		return Outcome{}
	}
	delete(p.distrusted, call)
	p.built.Answers.Set(call, answer)
	return p.commit()
}

// Secret returns what a Secret holds, nil if there is none.
func (p *Pipeline) Secret(name model.Name) map[string][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	obj, ok := p.store.Get(model.Ref{Kind: model.KindSecret, Name: name})
	if !ok {
		return nil
	}
	secret := obj.(*corev1.Secret)
	out := make(map[string][]byte, len(secret.Data)+len(secret.StringData))
	for key, data := range secret.Data {
		out[key] = data
	}
	for key, text := range secret.StringData {
		out[key] = []byte(text)
	}
	return out
}

// orderCalls tells of the calls that are wanted since the last commit, and of those that are not any more.
func (p *Pipeline) orderCalls() {
	if p.built.Calls == nil {
		return
	}
	for call, c := range p.built.Calls.Changes() {
		if c.Has == c.HadOld {
			continue
		}
		if !c.Has {
			p.built.Answers.Delete(call)
			delete(p.distrusted, call)
		}
		if p.opts.Extensions.Call != nil {
			p.opts.Extensions.Call(call, c.Has)
		}
	}
}

// keep has what the last commit made complete stay while extension servers are asked for the next version, and routes
// say what has not been done for them. It reports whether there is something to commit.
func (p *Pipeline) keep() bool {
	if p.built.Calls == nil {
		return false
	}
	staged := p.built.Keep()
	for route, c := range p.built.Withheld.Changes() {
		staged = true
		if c.Has {
			p.resolved.Withheld.Set(route, c.New)
		} else {
			p.resolved.Withheld.Delete(route)
		}
	}
	return staged
}

// distrust takes in that Envoy refuses what extension servers have made of a route or, if it is empty, of a virtual
// host. It reports whether they have made anything of it: then it is not the route that is to blame.
func (p *Pipeline) distrust(e hostID, route model.RouteKey, message string) bool {
	if p.built.Calls == nil {
		return false
	}
	calls := p.built.RouteCalls(route)
	if route == (model.RouteKey{}) {
		calls = p.built.HostCalls(e.proxy, e.table, e.host)
	}
	found := false
	for _, call := range calls {
		answer, ok := p.built.Answers.Peek(call)
		if !ok || answer.Data == nil {
			continue
		}
		found = true
		p.distrusted[call] = answer.Data
		p.built.Answers.Set(call, model.Answer{Error: "Envoy refuses what it has made of it: " + message})
		p.built.Distrust(call)
	}
	return found
}

// heldSources adds the Gateways and ListenerSets of listeners about which an extension server has failed, or not any
// more.
func (p *Pipeline) heldSources(sources map[model.Ref]bool) {
	if p.built.Calls == nil {
		return
	}
	for _, key := range p.built.HeldListeners() {
		port, _ := p.resolved.Ports.Peek(key)
		for i := range port.Listeners {
			sources[port.Listeners[i].Key.Source] = true
		}
	}
}

// extensionsLive takes in that an event says that everything is live: what extension servers have made is good.
func (p *Pipeline) extensionsLive(e xds.Event) {
	if p.built.Calls != nil && e.Kind == xds.Live && p.settled() {
		p.built.Settle()
	}
}

// heldBy says what an extension server has failed with that was asked about the listener of a port; empty for nothing.
func (p *Pipeline) heldBy(key model.PortKey) string {
	if p.built.Calls == nil {
		return ""
	}
	return p.built.HeldListener(key)
}

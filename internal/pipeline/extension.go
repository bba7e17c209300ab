package pipeline

import (
	"bytes"
	"cmp"
	"slices"

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
	if call.Spec().Hook == model.HookTranslation {
		return p.answeredTranslation(call, answer)
	}
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
	p.doubt.waiting = slices.DeleteFunc(p.doubt.waiting, func(d doubted) bool { return d.call == call })
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
	staged := p.built.Keep(func(proxy model.ProxyName) uint64 { return p.proxy(proxy).version })
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

// doubt is about the answers of extension servers from which something was made that Envoy refuses. If there are
// several that were never live, all are taken back, and tried again one after the other.
type doubt struct {
	// waiting are those that are taken back, tried is the one that is being tried.
	waiting []doubted
	tried   doubted
	// push is the one that decides about the one that is tried, or takes all back, and proxy whose it is.
	push  uint64
	proxy model.ProxyName
	// refused are Envoy's words about versions of virtual hosts: it is not asked again about any of them.
	refused map[hostID]map[uint64]string
}

type doubted struct {
	call model.Call
	data []byte
}

// distrust takes in that Envoy refuses a virtual host. It reports whether that may be because of what extension servers
// have made of it or of its routes: then no route is to blame, as long as that is not known.
func (p *Pipeline) distrust(e xds.Event) bool {
	if p.built.Calls == nil {
		return false
	}
	var unproven []doubted
	for _, call := range p.built.Unproven(e.Proxy, e.Resource, e.Part, e.Owners) {
		answer, ok := p.built.Answers.Peek(call)
		if ok && answer.Data != nil {
			unproven = append(unproven, doubted{call, answer.Data})
		}
	}
	d, id := &p.doubt, hostID{e.Proxy, e.Resource, e.Part}
	hashes, doubted := d.refused[id]
	stale := doubted && p.hostHash(id) != e.Hash
	if len(unproven) == 0 && !stale {
		return false
	}
	if !doubted {
		hashes = map[uint64]string{}
		d.refused[id] = hashes
	}
	hashes[e.Hash] = e.Message
	if stale {
		return true // it is about what was taken back already
	}
	d.weigh(p, unproven, e.Message)
	d.proxy, d.push = e.Proxy, p.proxy(e.Proxy).version+1
	return true
}

// weigh takes back what may be to blame.
func (d *doubt) weigh(p *Pipeline, unproven []doubted, message string) {
	for _, one := range unproven {
		if one.call == d.tried.call {
			d.tried = doubted{}
			p.refuseAnswer(one, message)
			return
		}
	}
	if len(unproven) == 1 {
		p.refuseAnswer(unproven[0], message)
		return
	}
	for _, one := range unproven {
		p.takeBack(one, "it waits to be tried again, because Envoy refuses something beside it: "+message)
	}
	d.waiting = append(d.waiting, unproven...)
}

// words are Envoy's about what virtual hosts are now, empty if it has not refused that. It does not say it twice.
func (d *doubt) words(p *Pipeline) string {
	for id, hashes := range d.refused {
		if message, ok := hashes[p.hostHash(id)]; ok {
			return message
		}
	}
	return ""
}

// refuseAnswer takes back an answer for good: until it is another one.
func (p *Pipeline) refuseAnswer(one doubted, message string) {
	p.distrusted[one.call] = one.data
	p.takeBack(one, "Envoy refuses what it has made of it: "+message)
}

// takeBack stages that an answer counts as failed.
func (p *Pipeline) takeBack(one doubted, why string) {
	p.built.Answers.Set(one.call, model.Answer{Error: why})
	p.built.Distrust(one.call)
}

// extensionsLived takes in what is live. It reports whether there is something to commit: the next answer is tried.
func (p *Pipeline) extensionsLived(e xds.Event) bool {
	if p.built.Calls == nil {
		return false
	}
	if t := p.translations[e.Proxy]; t != nil {
		t.Lived(e.Version)
	}
	d := &p.doubt
	if len(d.refused) == 0 || e.Proxy != d.proxy || e.Version < d.push {
		if len(d.refused) == 0 {
			p.built.Lived(e.Proxy, e.Version)
		}
		return false
	}
	tried := d.tried
	d.tried = doubted{}
	if why := d.words(p); why != "" && tried.call != (model.Call{}) {
		p.refuseAnswer(tried, why)
		d.push = p.proxy(d.proxy).version + 1
		return true
	}
	p.built.Lived(e.Proxy, e.Version)
	for len(d.waiting) > 0 {
		one := d.waiting[0]
		d.waiting = d.waiting[1:]
		if _, wanted := p.built.Calls.Peek(one.call); wanted {
			d.tried, d.push = one, p.proxy(d.proxy).version+1
			p.built.Answers.Set(one.call, model.Answer{Data: one.data})
			return true
		}
	}
	clear(d.refused)
	return false
}

// heldSources adds the Gateways and ListenerSets of listeners about which an extension server has failed, or not any
// more.
func (p *Pipeline) heldSources(sources map[model.Ref]bool) {
	if p.built.Calls == nil {
		return
	}
	p.translatedSources(sources)
	for _, key := range p.built.HeldListeners() {
		port, _ := p.resolved.Ports.Peek(key)
		for i := range port.Listeners {
			sources[port.Listeners[i].Key.Source] = true
		}
	}
}

// heldBy says what an extension server has failed with that was asked about the listener of a port; empty for nothing.
func (p *Pipeline) heldBy(key model.PortKey) string {
	if p.built.Calls == nil {
		return ""
	}
	words, _ := p.translatedBy(key)
	return cmp.Or(p.built.HeldListener(key), words)
}

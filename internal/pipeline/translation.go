package pipeline

import (
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/envoy/translation"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// translated is a proxy about whose whole configuration extension servers are asked.
type translated struct {
	*translation.Proxy
	// backends are those of its clusters, by name, and decided what the tables have been told of them.
	backends map[string]envoy.BackendKey
	decided  map[string]envoy.Decision
	// words are what its Gateways say, and holds the listeners that wait.
	words string
	holds map[model.PortKey]bool
}

// translation returns what is known of the hook for everything about a proxy, nil if no extension server takes part in
// it.
func (p *Pipeline) translation(name model.ProxyName) *translated {
	if p.built.Translated == nil {
		return nil
	}
	t, ok := p.translations[name]
	if !ok {
		proxy := translation.New(name, p.opts.Extensions.Managers, p.wantTranslation)
		if proxy == nil {
			return nil
		}
		t = &translated{
			Proxy: proxy, backends: map[string]envoy.BackendKey{}, decided: map[string]envoy.Decision{},
			holds: map[model.PortKey]bool{},
		}
		p.translations[name] = t
	}
	return t
}

func (p *Pipeline) wantTranslation(call model.Call, wanted bool) {
	if p.opts.Extensions.Call != nil {
		p.opts.Extensions.Call(call, wanted)
	}
}

// translate puts what Envoys are to get in the place of what the last commit changed.
func (p *Pipeline) translate(changes map[model.ProxyName][]xds.Change) {
	if p.built.Translated == nil {
		return
	}
	for name, list := range changes {
		if t := p.translation(name); t != nil {
			t.Learn(list)
		}
	}
	for name, c := range p.built.Translated.Changes() {
		if t := p.translation(name); t != nil {
			t.Reach(c.New, c.Has)
		}
	}
	for key, c := range p.built.Clusters.Changes() {
		t := p.translation(key.Proxy)
		switch {
		case t == nil:
		case c.Has:
			t.backends[c.New.Name] = key
		default:
			delete(t.backends, c.Old.Name)
			if _, ok := t.decided[c.Old.Name]; ok && p.built.Decided != nil {
				delete(t.decided, c.Old.Name)
				p.built.Decided.Delete(key)
			}
		}
	}
	for name, t := range p.translations {
		if list := t.Changes(changes[name]); len(list) > 0 {
			changes[name] = list
		} else {
			delete(changes, name)
		}
	}
}

// askTranslations has asked what is to be asked about whole proxies, and tells the tables what has been decided. It
// reports whether there is something to commit.
func (p *Pipeline) askTranslations() bool {
	staged := false
	for name, t := range p.translations {
		t.Advance()
		staged = p.decide(t) || staged
		if t.Gone() {
			delete(p.translations, name)
		}
	}
	return staged
}

// decide tells the tables what has become of clusters since they were told last.
func (p *Pipeline) decide(t *translated) bool {
	if !t.Fresh() {
		return false
	}
	if p.built.Decided == nil {
		return true
	}
	for name, key := range t.backends {
		verdict := t.Cluster(name)
		decision := envoy.Decision{Failed: verdict.Failed}
		known, told := t.decided[name]
		if !verdict.Ready && verdict.Failed == "" || told && known == decision {
			continue
		}
		t.decided[name] = decision
		p.built.Decided.Set(key, decision)
	}
	return true
}

// answeredTranslation takes in what became of a call about a whole proxy.
func (p *Pipeline) answeredTranslation(call model.Call, answer model.Answer) Outcome {
	read := translation.Read(answer)
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.translations[model.ProxyName(call.Spec().About)]
	if t == nil || !t.Answered(call, read) {
		return Outcome{}
	}
	if !p.decide(t) {
		return Outcome{}
	}
	return p.commit()
}

// mistranslated takes in that Envoy refuses something. It reports whether that is the doing of an extension server, and
// there is something to commit.
func (p *Pipeline) mistranslated(e xds.Event) bool {
	t := p.translations[e.Proxy]
	return t != nil && t.Refused(e) && p.decide(t)
}

// translatedSources adds the Gateways and ListenerSets of proxies of which extension servers say something else since
// the last commit.
func (p *Pipeline) translatedSources(sources map[model.Ref]bool) {
	if len(p.translations) == 0 {
		return
	}
	changed := map[model.ProxyName]bool{}
	for name, t := range p.translations {
		words := strings.Join(t.Words(), ". ")
		changed[name] = words != t.words
		t.words = words
	}
	for key, port := range p.resolved.Ports.All() {
		t := p.translations[key.Proxy]
		if t == nil {
			continue
		}
		holds := t.Holds(ListenerName(key))
		if !changed[key.Proxy] && holds == t.holds[key] {
			continue
		}
		t.holds[key] = holds
		for i := range port.Listeners {
			sources[port.Listeners[i].Key.Source] = true
		}
	}
}

// released notes the ports whose listeners have waited for extension servers until the changes that are handed over.
func (p *Pipeline) released(name model.ProxyName, changes []xds.Change, ports map[model.PortKey]bool) {
	t := p.translations[name]
	if t == nil {
		return
	}
	for key, held := range t.holds {
		ports[key] = ports[key] || held && slices.ContainsFunc(changes, func(c xds.Change) bool {
			return c.Type == xds.Listener && c.Resource != nil && c.Name == ListenerName(key)
		})
	}
}

// translatedBy says what keeps the configuration of a proxy from what it should be, empty for nothing, and whether a
// listener waits for an extension server.
func (p *Pipeline) translatedBy(key model.PortKey) (words string, waits bool) {
	t := p.translations[key.Proxy]
	if t == nil {
		return "", false
	}
	return t.words, t.holds[key]
}

// overlay replaces the resources of a proxy by those that its Envoys get.
func (p *Pipeline) overlay(proxy model.ProxyName, resources map[xds.Type][]*xds.Resource) {
	if t := p.translations[proxy]; t != nil {
		t.Overlay(resources)
	}
}

// servedHash is the hash of a virtual host or a listener as Envoys get it, if extension servers may have changed it.
func (p *Pipeline) servedHash(id hostID) (hash uint64, ok bool) {
	t := p.translations[id.proxy]
	if t == nil {
		return 0, false
	}
	if id.host == "" {
		r, ok := t.Served(xds.Listener, id.table)
		if !ok || r == nil {
			return 0, ok
		}
		return r.Hash, true
	}
	r, ok := t.Served(xds.Routes, id.table)
	part := r.Part(id.host)
	if part == nil {
		return 0, ok
	}
	return part.Hash, ok
}

package pipeline

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// push hands what the last commit changed to the xDS server, proxy by proxy. It returns their versions, and the owners
// of what was refused before and is something else now, or somebody else's, or is known to be refused by what other
// replicas say.
func (p *Pipeline) push() (versions map[model.ProxyName]uint64, healed []model.Ref) {
	changes := p.changes()
	p.first = !p.started
	for _, name := range p.newProxies() {
		if _, ok := changes[name]; !ok {
			changes[name] = nil
		}
	}
	mended := map[model.PortKey]bool{}
	for key, c := range p.built.Listeners.Changes() {
		why, refused := p.proxy(key.Proxy).refused[resourceID{xds.Listener, ListenerName(key)}]
		mended[key] = refused && c.Has && c.New.Hash != why.hash
	}
	versions = make(map[model.ProxyName]uint64, len(changes))
	for name, list := range changes {
		px := p.proxy(name)
		p.released(name, list, mended)
		for _, c := range list {
			id := resourceID{c.Type, c.Name}
			why, ok := px.refused[id]
			healed = append(healed, why.owners...)
			if ok && c.Resource != nil {
				healed = append(healed, c.Resource.Owners...)
				if c.Resource.Hash == why.hash {
					why.owners = c.Resource.Owners
					px.refused[id] = why
					continue // others own it now, and Envoy refuses it as before
				}
			}
			p.heal(name, id)
		}
		if p.opts.Serve != nil {
			px.hand(p.opts.Serve(name, list), p.blame.commits)
		}
		if t := p.translations[name]; t != nil {
			t.Pushed(px.version)
		}
		versions[name] = px.version
		healed = append(healed, p.adoptResources(name, list)...)
	}
	p.awaitPatches()
	p.dropListeners()
	for listener, port := range p.fresh() {
		p.wait(port.Proxy, listener)
	}
	p.await(mended)
	return versions, healed
}

// newProxies returns the proxies that have to be handed a configuration though it may be empty: an Envoy is not ready
// before it has one, and that of a Gateway without a valid listener has nothing in it.
func (p *Pipeline) newProxies() []model.ProxyName {
	var out []model.ProxyName
	if !p.started {
		p.started = true
		out = append(out, p.opts.Proxies...)
	}
	for name, c := range p.resolved.Fleets.Changes() {
		if c.Has && p.proxy(name).version == 0 {
			out = append(out, name)
		}
	}
	return out
}

// await notes that all listeners of the ports that were refused before wait for the version that was just handed over.
func (p *Pipeline) await(mended map[model.PortKey]bool) {
	for key, refused := range mended {
		if !refused {
			continue
		}
		port, _ := p.resolved.Ports.Peek(key)
		for i := range port.Listeners {
			p.wait(key.Proxy, port.Listeners[i].Key)
		}
	}
}

// changes collects the changes of the last commit, by proxy and in a fixed order.
func (p *Pipeline) changes() map[model.ProxyName][]xds.Change {
	parts := map[model.RouteTableKey][]string{}
	for k := range p.built.Hosts.Changes() {
		parts[k.Table] = append(parts[k.Table], k.Domain)
	}
	out := map[model.ProxyName][]xds.Change{}
	addChanges(out, xds.Cluster, p.built.Clusters, ofBackend, nil)
	addChanges(out, xds.Endpoints, p.built.Endpoints, ofBackend, nil)
	addChanges(out, xds.Secret, p.built.Secrets, ofSecret, nil)
	addChanges(out, xds.Secret, p.built.Authorities, ofAuthority, nil)
	addChanges(out, xds.Secret, p.built.Values, ofBackend, nil)
	addChanges(out, xds.Listener, p.built.Listeners, ofPort, nil)
	addChanges(out, xds.Routes, p.built.Routes, ofTable,
		func(k model.RouteTableKey, c incr.Change[*xds.Resource]) []string {
			if changed, patched := p.built.PatchedParts(k, c); patched {
				return changed
			}
			slices.Sort(parts[k])
			return parts[k]
		})
	for k, c := range p.built.Added.Changes() {
		out[k.Proxy] = append(out[k.Proxy], xds.Change{Type: k.Type, Name: k.Name, Resource: c.New})
	}
	p.translate(out)
	for _, list := range out {
		slices.SortFunc(list, func(a, b xds.Change) int {
			return cmp.Or(cmp.Compare(a.Type, b.Type), strings.Compare(a.Name, b.Name))
		})
	}
	return out
}

// addChanges adds what the last commit changed in a table. parts says which parts of a resource changed; nil for types
// that have none.
func addChanges[K incr.Key[K]](
	out map[model.ProxyName][]xds.Change, typ xds.Type, table *incr.Table[K, *xds.Resource],
	proxy func(K) model.ProxyName, parts func(K, incr.Change[*xds.Resource]) []string,
) {
	for k, c := range table.Changes() {
		change := xds.Change{Type: typ}
		if c.Has {
			change.Name, change.Resource = c.New.Name, c.New
		} else {
			change.Name = c.Old.Name
		}
		if parts != nil {
			change.Parts = parts(k, c)
		}
		out[proxy(k)] = append(out[proxy(k)], change)
	}
}

// Resources returns every resource of a proxy, by type and then name.
func (p *Pipeline) Resources(proxy model.ProxyName) map[xds.Type][]*xds.Resource {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[xds.Type][]*xds.Resource{
		xds.Cluster:   resourcesOf(p.built.Clusters, ofBackend, proxy),
		xds.Endpoints: resourcesOf(p.built.Endpoints, ofBackend, proxy),
		xds.Secret: byName(resourcesOf(p.built.Secrets, ofSecret, proxy),
			resourcesOf(p.built.Authorities, ofAuthority, proxy), resourcesOf(p.built.Values, ofBackend, proxy)),
		xds.Listener: resourcesOf(p.built.Listeners, ofPort, proxy),
		xds.Routes:   resourcesOf(p.built.Routes, ofTable, proxy),
	}
	for k, r := range p.built.Added.All() {
		if k.Proxy == proxy {
			out[k.Type] = byName(out[k.Type], []*xds.Resource{r})
		}
	}
	p.overlay(proxy, out)
	return out
}

// resourcesOf returns the resources of a table that are for a proxy, by name.
func resourcesOf[K incr.Key[K]](
	table *incr.Table[K, *xds.Resource], of func(K) model.ProxyName, proxy model.ProxyName,
) []*xds.Resource {
	var out []*xds.Resource
	for k, r := range table.All() {
		if of(k) == proxy {
			out = append(out, r)
		}
	}
	return byName(out)
}

// byName puts lists of resources together and sorts them by name.
func byName(lists ...[]*xds.Resource) []*xds.Resource {
	out := slices.Concat(lists...)
	slices.SortFunc(out, func(a, b *xds.Resource) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Which proxy a resource is for, by its key.
func ofBackend(k envoy.BackendKey) model.ProxyName     { return k.Proxy }
func ofAuthority(k envoy.AuthorityKey) model.ProxyName { return k.Proxy }
func ofSecret(k envoy.SecretKey) model.ProxyName       { return k.Proxy }
func ofPort(k model.PortKey) model.ProxyName           { return k.Proxy }
func ofTable(k model.RouteTableKey) model.ProxyName    { return k.Port().Proxy }

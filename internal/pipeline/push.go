package pipeline

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// push hands what the last commit changed to the xDS server, proxy by proxy. It returns their versions, and the owners
// of what was refused before and is something else now.
func (p *Pipeline) push() (versions map[model.ProxyName]uint64, healed []model.Ref) {
	changes := p.changes()
	if !p.started {
		p.started = true
		for _, name := range p.opts.Proxies {
			if _, ok := changes[name]; !ok {
				changes[name] = nil
			}
		}
	}
	versions = make(map[model.ProxyName]uint64, len(changes))
	for name, list := range changes {
		px := p.proxy(name)
		for _, c := range list {
			id := resourceID{c.Type, c.Name}
			if _, ok := px.refused[id]; ok && c.Resource != nil {
				healed = append(healed, c.Resource.Owners...)
			}
			delete(px.refused, id)
		}
		if p.opts.Serve != nil {
			px.version = p.opts.Serve(name, list)
		}
		versions[name] = px.version
	}
	for port := range p.built.Listeners.Changes() {
		px := p.proxy(port.Proxy)
		px.ports[port] = px.version
	}
	return versions, healed
}

// changes collects the changes of the last commit, by proxy and in a fixed order.
func (p *Pipeline) changes() map[model.ProxyName][]xds.Change {
	out := map[model.ProxyName][]xds.Change{}
	add := func(proxy model.ProxyName, c xds.Change, r *xds.Resource, has bool) {
		if has {
			c.Resource = r
		}
		out[proxy] = append(out[proxy], c)
	}
	for k, c := range p.built.Clusters.Changes() {
		add(k.Proxy, xds.Change{Type: xds.Cluster, Name: k.Backend.String()}, c.New, c.Has)
	}
	for k, c := range p.built.Endpoints.Changes() {
		add(k.Proxy, xds.Change{Type: xds.Endpoints, Name: k.Backend.String()}, c.New, c.Has)
	}
	for k, c := range p.built.Secrets.Changes() {
		add(k.Proxy, xds.Change{Type: xds.Secret, Name: k.Secret.String()}, c.New, c.Has)
	}
	for k, c := range p.built.Listeners.Changes() {
		name := ""
		if c.Has {
			name = c.New.Name
		} else {
			name = c.Old.Name
		}
		add(k.Proxy, xds.Change{Type: xds.Listener, Name: name}, c.New, c.Has)
	}
	parts := map[model.RouteTableKey][]string{}
	for k := range p.built.Hosts.Changes() {
		parts[k.Table] = append(parts[k.Table], k.Domain)
	}
	for k, c := range p.built.Routes.Changes() {
		slices.Sort(parts[k])
		add(k.Port().Proxy, xds.Change{Type: xds.Routes, Name: k.String(), Parts: parts[k]}, c.New, c.Has)
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b xds.Change) int {
			return cmp.Or(cmp.Compare(a.Type, b.Type), strings.Compare(a.Name, b.Name))
		})
	}
	return out
}

// Resources returns every resource of a proxy, by type and then name.
func (p *Pipeline) Resources(proxy model.ProxyName) map[xds.Type][]*xds.Resource {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[xds.Type][]*xds.Resource{}
	for k, r := range p.built.Clusters.All() {
		if k.Proxy == proxy {
			out[xds.Cluster] = append(out[xds.Cluster], r)
		}
	}
	for k, r := range p.built.Endpoints.All() {
		if k.Proxy == proxy {
			out[xds.Endpoints] = append(out[xds.Endpoints], r)
		}
	}
	for k, r := range p.built.Secrets.All() {
		if k.Proxy == proxy {
			out[xds.Secret] = append(out[xds.Secret], r)
		}
	}
	for k, r := range p.built.Listeners.All() {
		if k.Proxy == proxy {
			out[xds.Listener] = append(out[xds.Listener], r)
		}
	}
	for k, r := range p.built.Routes.All() {
		if k.Port().Proxy == proxy {
			out[xds.Routes] = append(out[xds.Routes], r)
		}
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b *xds.Resource) int { return strings.Compare(a.Name, b.Name) })
	}
	return out
}

package envoy

import (
	"iter"
	"slices"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// patchedResource is what is known of a resource that policies change, whatever its type.
type patchedResource struct {
	key resourceKey
	now *patched
	// before is what it was before the last commit, if that changed it.
	before *patched
}

// all are the resources that policies change.
func (s *stage[K]) all(typ func(K) xds.Type) iter.Seq[patchedResource] {
	return func(yield func(patchedResource) bool) {
		for k, p := range s.done.All() {
			if p.Resource == nil {
				continue
			}
			if !yield(patchedResource{key: resourceKey{s.proxy(k), typ(k), p.Resource.Name}, now: p}) {
				return
			}
		}
	}
}

// changed are those of them that the last commit changed.
func (s *stage[K]) changed(typ func(K) xds.Type) iter.Seq[patchedResource] {
	return func(yield func(patchedResource) bool) {
		for k, c := range s.done.Changes() {
			if !c.Has || c.New.Resource == nil {
				continue
			}
			key := resourceKey{s.proxy(k), typ(k), c.New.Resource.Name}
			if !yield(patchedResource{key: key, now: c.New, before: c.Old}) {
				return
			}
		}
	}
}

// each calls f for what a stage of each type has.
func (p *patches) each(f func(seq iter.Seq[patchedResource]), changed bool) {
	collect(p.listenerStage, changed, f)
	collect(p.tableStage, changed, f)
	collect(p.clusterStage, changed, f)
	collect(p.endpointStage, changed, f)
	collect(p.secretStage, changed, f)
	collect(p.addedStage, changed, f)
}

func collect[K incr.Key[K]](s *stage[K], changed bool, f func(iter.Seq[patchedResource])) {
	typ := func(k K) xds.Type {
		if added, ok := any(k).(AddedKey); ok {
			return added.Type
		}
		return s.typ
	}
	if changed {
		f(s.changed(typ))
	} else {
		f(s.all(typ))
	}
}

// Patch is what one policy makes of one resource of a proxy.
type Patch struct {
	Proxy  model.ProxyName
	Type   xds.Type
	Name   string
	Policy model.Name
	// Sum identifies what the policy asks for, in all replicas alike.
	Sum uint64
}

func (p *patchedResource) patch(a refusedPatch) Patch {
	return Patch{Proxy: p.key.Proxy, Type: p.key.Type, Name: p.key.Name, Policy: a.Policy, Sum: a.Sum}
}

// FreshPatches returns the patches that the last commit put into effect.
func (t *Tables) FreshPatches() []Patch {
	var out []Patch
	t.each(func(seq iter.Seq[patchedResource]) {
		for p := range seq {
			for _, a := range p.now.Applied {
				if p.before == nil || !slices.Contains(p.before.Applied, a) {
					out = append(out, p.patch(a))
				}
			}
		}
	}, true)
	return out
}

// PatchesOf returns the patches in a resource of a proxy, and the resource as they make it; nil if there are none.
func (t *Tables) PatchesOf(proxy model.ProxyName, typ xds.Type, name string) (patches []Patch, r *xds.Resource) {
	t.each(func(seq iter.Seq[patchedResource]) {
		for p := range seq {
			if p.key != (resourceKey{proxy, typ, name}) || len(p.now.Applied) == 0 {
				continue
			}
			r = p.now.Resource
			for _, a := range p.now.Applied {
				patches = append(patches, p.patch(a))
			}
		}
	}, false)
	return patches, r
}

// Unpatch takes in that Envoy refuses what a policy makes of a resource, with its words. Until the policy asks for
// something else the resource does without it. It has to be committed.
func (t *Tables) Unpatch(p Patch, message string) {
	key := resourceKey{p.Proxy, p.Type, p.Name}
	refused := t.refusals[key]
	refused = slices.DeleteFunc(slices.Clone(refused), func(r refusedPatch) bool { return r.Policy == p.Policy })
	refused = append(refused, refusedPatch{Policy: p.Policy, Sum: p.Sum, Message: message})
	t.refusals[key] = refused
	t.unpatched.Set(key, refused)
}

// Part returns a virtual host as Envoys get it; nil if there is none.
func (t *Tables) Part(k model.HostKey) *xds.Part {
	if p, ok := t.tableStage.done.Peek(k.Table); ok && p.Resource != nil {
		return p.Resource.Part(k.Domain)
	}
	part, _ := t.Hosts.Peek(k)
	return part
}

// Patched reports whether policies change a virtual host, or it is theirs.
func (t *Tables) Patched(k model.HostKey) bool {
	own, ok := t.Hosts.Peek(k)
	now := t.Part(k)
	return !ok || now == nil || now.Hash != own.Hash
}

// PatchedParts returns the names of the parts of a route table that the last commit changed, if it is one that policies
// change, or was: then they are not those that [Tables.Hosts] says.
func (t *Tables) PatchedParts(k model.RouteTableKey, c incr.Change[*xds.Resource]) (names []string, patched bool) {
	if _, patched = t.tableStage.done.Peek(k); !patched {
		for changed := range t.tableStage.done.Changes() {
			patched = patched || changed == k
		}
	}
	if !patched || !c.Has || !c.HadOld {
		return nil, patched
	}
	return xds.Changed(c.Old.Parts, c.New.Parts), true
}

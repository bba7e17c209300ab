package pipeline

import (
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/peer"
	"github.com/sluice-gateway/sluice/internal/status"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// programPatches adds to the status of an EnvoyPatchPolicy that is in force whether its patches are applied and live.
func (p *Pipeline) programPatches(ref model.Ref, st *gwv1.PolicyStatus) {
	report, ok := p.built.PatchReports.Peek(ref.Name)
	if !ok {
		return
	}
	const typ = string(egv1a1.PolicyConditionProgrammed)
	condition := status.Judge(typ, report, string(egv1a1.PolicyReasonProgrammed),
		"Patches have been successfully applied.", p.generation(ref))
	if len(report) == 0 && p.patchPending(ref.Name) {
		condition = status.False(typ, status.ReasonPending, "Waiting for Envoy to take the patches", p.generation(ref))
	}
	for i := range st.Ancestors {
		st.Ancestors[i].Conditions = append(st.Ancestors[i].Conditions, condition)
	}
}

// patchPending reports whether Envoys that are connected here, or are to be where there is no other replica, have not
// said yet that they have the patches of a policy.
func (p *Pipeline) patchPending(policy model.Name) bool {
	for _, px := range p.proxies {
		_, pending := px.patching[policy]
		if pending && (px.connected > 0 || p.opts.Say == nil && p.opts.Serve != nil) {
			return true
		}
	}
	return false
}

// awaitPatches notes the policies whose patches are in the versions that were just handed over.
func (p *Pipeline) awaitPatches() {
	for _, patch := range p.built.FreshPatches() {
		px := p.proxy(patch.Proxy)
		px.patching[patch.Policy] = px.version
		p.republish(patch.Policy)
	}
	for policy, c := range p.built.PatchReports.Changes() {
		if c.Has {
			continue
		}
		for _, px := range p.proxies {
			delete(px.patching, policy)
		}
	}
}

func (p *Pipeline) republish(policy model.Name) {
	if p.opts.Publish != nil {
		p.putPolicy(patchRef(policy))
	}
}

// reviewPatches publishes the policies whose patches Envoys of a proxy have by now, or have to be asked for.
func (p *Pipeline) reviewPatches(px *proxy) {
	for policy, version := range px.patching {
		if version <= px.live {
			delete(px.patching, policy)
		}
		p.republish(policy)
	}
}

// unpatch takes in that Envoy refuses a resource that an extension server or policies change. It reports whether it was
// laid to some of them, and there is something to commit: to policies whose patches have never been live. Else a route
// that has changed is to blame, and if none has, all policies are.
func (p *Pipeline) unpatch(e xds.Event) bool {
	if p.mistranslated(e) {
		return true
	}
	patches, r := p.built.PatchesOf(e.Proxy, e.Type, e.Resource)
	if r == nil || !r.Is(e.Part, e.Hash) || e.Part != "" && !p.patched(e) {
		return false
	}
	fresh := slices.DeleteFunc(slices.Clone(patches), func(patch envoy.Patch) bool {
		_, pending := p.proxy(e.Proxy).patching[patch.Policy]
		return !pending
	})
	if len(fresh) > 0 {
		patches = fresh
	} else if _, changed := p.blame.suspects(p, e); changed {
		return false
	}
	for _, patch := range patches {
		p.built.Unpatch(patch, e.Message)
		p.say(peer.Statement{Subject: patchSubject(patch), Content: patch.Sum, Message: e.Message})
	}
	return true
}

// patched reports whether policies change the virtual host that Envoy refuses: else it is none of their doing.
func (p *Pipeline) patched(e xds.Event) bool {
	table, r := p.built.TableOf(e.Proxy, e.Resource)
	return r != nil && p.built.Patched(model.HostKey{Table: table, Domain: e.Part})
}

// patchMark comes before the type of the resource in a subject that is a patch of it.
const patchMark = "patched "

// patchSubject names a patch as it is named elsewhere: namespace/name@resource. No policy's name has an "@".
func patchSubject(patch envoy.Patch) peer.Subject {
	return peer.Subject{
		Kind: peer.Resource, Proxy: patch.Proxy, Type: patchMark + patch.Type.String(),
		Name: patch.Policy.String() + "@" + patch.Name,
	}
}

// adoptPatch takes a patch back if Envoys of another replica refuse it.
func (p *Pipeline) adoptPatch(patch envoy.Patch) bool {
	for _, st := range p.book.About(patchSubject(patch)) {
		if st.Content == patch.Sum {
			p.built.Unpatch(patch, st.Message)
			return true
		}
	}
	return false
}

// heardOfPatch takes in what another replica says about a patch. It reports whether there is something to commit.
func (p *Pipeline) heardOfPatch(s peer.Subject) bool {
	name, ok := strings.CutPrefix(s.Type, patchMark)
	_, resource, found := strings.Cut(s.Name, "@")
	if !ok || !found {
		return false
	}
	for t := range xds.Types() {
		if t.String() != name {
			continue
		}
		patches, _ := p.built.PatchesOf(s.Proxy, t, resource)
		for _, patch := range patches {
			if patchSubject(patch) == s && p.adoptPatch(patch) {
				return true
			}
		}
	}
	return false
}

package pipeline

import (
	"slices"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
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

// patchPending reports whether Envoys that are connected here, or are to be on one machine, have not said yet that they
// have the patches of a policy.
func (p *Pipeline) patchPending(policy model.Name) bool {
	for _, px := range p.proxies {
		_, pending := px.patching[policy]
		if pending && (px.connected > 0 || p.opts.Fleets == nil && p.opts.Serve != nil) {
			return true
		}
	}
	return false
}

// awaitPatches notes the policies whose patches are in the versions that were just handed over.
func (p *Pipeline) awaitPatches() {
	p.built.FreshPatches(func(name model.ProxyName, policy model.Name) {
		px := p.proxy(name)
		px.patching[policy] = px.version
		p.republish(policy)
	})
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

// unpatch takes in that Envoy refuses a resource that policies change. It reports whether it was laid to some of them,
// and there is something to commit: to those whose patches have never been live. Else a route that has changed is to
// blame, and if none has, all policies are.
func (p *Pipeline) unpatch(e xds.Event) bool {
	policies, r := p.built.PatchesOf(e.Proxy, e.Type, e.Resource)
	if r == nil || !isCurrent(r, e) {
		return false
	}
	fresh := slices.DeleteFunc(slices.Clone(policies), func(policy model.Name) bool {
		_, pending := p.proxy(e.Proxy).patching[policy]
		return !pending
	})
	if len(fresh) > 0 {
		policies = fresh
	} else if _, changed := p.blame.suspects(p, e.Owners); changed {
		return false
	}
	p.built.Unpatch(e.Proxy, e.Type, e.Resource, policies, e.Message)
	return true
}

// isCurrent reports whether what Envoy refuses is what there is now.
func isCurrent(r *xds.Resource, e xds.Event) bool {
	if e.Part == "" {
		return r.Hash == e.Hash
	}
	return slices.ContainsFunc(r.Parts, func(part *xds.Part) bool {
		return part.Name == e.Part && part.Hash == e.Hash
	})
}

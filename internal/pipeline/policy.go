package pipeline

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1a1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// putPolicy publishes the status of a policy, with Envoy's words if it refuses the CA certificates, or a cluster with
// the settings. A policy that is for no traffic of ours has none.
func (p *Pipeline) putPolicy(ref model.Ref) {
	policy, ok := p.resolved.Policies.Peek(ref)
	if !ok || len(policy.Status.Ancestors) == 0 {
		p.put(ref, nil, false)
		return
	}
	out := policy.Status.DeepCopy()
	if why := cmp.Or(p.blame.words(ref), p.refusedPolicy(ref, policy.Trust)); why != "" {
		for i := range out.Ancestors {
			conditions := out.Ancestors[i].Conditions
			at := slices.IndexFunc(conditions, func(c metav1.Condition) bool { return c.Type == status.Accepted })
			conditions[at] = status.False(status.Accepted, string(gwv1.PolicyReasonInvalid), why, p.generation(ref))
			for j := range conditions {
				conditions[j].ObservedGeneration = p.generation(ref) // what stands in for it has another one
			}
		}
	}
	if ref.Kind == model.KindEnvoyPatchPolicy {
		p.programPatches(ref, out)
	}
	p.put(ref, policyStatus(ref, out), true)
}

// refusedPolicy says what Envoy refuses of a policy, "" if nothing. Of several the first by their words is said, which
// does not depend on which proxy was first.
func (p *Pipeline) refusedPolicy(ref model.Ref, trust model.Trust) string {
	var refusals []string
	for _, px := range p.proxies {
		for id, why := range px.refused {
			switch {
			case id == resourceID{xds.Secret, trust.String()}:
				refusals = append(refusals, "Envoy refused the CA certificates: "+why.message)
			case id.typ == xds.Cluster && slices.Contains(why.owners, ref):
				refusals = append(refusals, fmt.Sprintf("Envoy refused %s with these settings: %s", id.name, why.message))
			}
		}
	}
	if len(refusals) == 0 {
		return ""
	}
	return slices.Min(refusals)
}

// putTrusting publishes the statuses of the policies and listeners that trust the CA certificates in an object, or
// those that it does not revoke.
func (p *Pipeline) putTrusting(bundle model.Ref) {
	trusts := func(t model.Trust) bool {
		return slices.Contains(t.Bundles(), bundle) || slices.Contains(t.Revoked(), bundle)
	}
	for ref, policy := range p.resolved.Policies.All() {
		if trusts(policy.Trust) {
			p.putPolicy(ref)
		}
	}
	sources := map[model.Ref]bool{}
	for key, seat := range p.resolved.Seats.All() {
		if c := seat.Listener.Clients; c != nil && trusts(c.Trust) {
			sources[key.Source] = true
		}
	}
	p.putSources(sources)
}

// policyStatus returns the status of a policy in the type that its kind has.
func policyStatus(ref model.Ref, st *gwv1.PolicyStatus) any {
	if ref.Kind == model.KindXTelemetryPolicy {
		return &gwxv1a1.TelemetryPolicyStatus{Ancestors: st.Ancestors}
	}
	return st
}

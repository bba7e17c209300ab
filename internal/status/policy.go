package status

import (
	"cmp"
	"slices"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// maxAncestors is how many ancestors the API server lets the status of a policy have.
const maxAncestors = 16

// Policy is what is known of a policy when its status is made.
type Policy struct {
	// Generation of the policy that was resolved.
	Generation int64
	// Report holds the issues of the policy.
	Report Report
	// Ancestors are the Gateways whose traffic the policy is for, sorted.
	Ancestors []Ancestor
	// Attached says that the policy is one of Envoy Gateway: what its references come to is part of Accepted, and other
	// policies can be merged with it or take its place.
	Attached bool
}

// Ancestor is a Gateway or ListenerSet whose traffic a policy is for.
type Ancestor struct {
	Ref        gwv1.ParentReference
	Controller gwv1.GatewayController
	// Report holds the issues that the policy has there alone. Overridden says where more specific policies hold
	// instead, Merged what it is merged with; empty for nothing.
	Report             Report
	Overridden, Merged string
}

// Build returns the status of the policy: for each ancestor the conditions Accepted and ResolvedRefs, or Accepted,
// Merged, Overridden and Warning for one of Envoy Gateway. Of more ancestors than a status can hold those with
// something to say are kept.
func (p Policy) Build() gwv1.PolicyStatus {
	out := gwv1.PolicyStatus{Ancestors: []gwv1.PolicyAncestorStatus{}}
	for _, a := range p.Ancestors {
		out.Ancestors = append(out.Ancestors, gwv1.PolicyAncestorStatus{
			AncestorRef: a.Ref, ControllerName: a.Controller, Conditions: p.conditions(a),
		})
	}
	if len(out.Ancestors) <= maxAncestors {
		return out
	}
	if p.Attached {
		slices.SortStableFunc(out.Ancestors, func(a, b gwv1.PolicyAncestorStatus) int {
			return cmp.Compare(urgency(a.Conditions), urgency(b.Conditions))
		})
	}
	out.Ancestors = out.Ancestors[:maxAncestors]
	if last := &out.Ancestors[maxAncestors-1]; p.Attached {
		last.Conditions = append(last.Conditions, True(string(egv1a1.PolicyConditionAggregated),
			string(egv1a1.PolicyReasonAggregated),
			"Ancestors have been truncated because the number of policy ancestors exceeds 16.", p.Generation))
	}
	return out
}

func (p Policy) conditions(a Ancestor) []metav1.Condition {
	report := slices.Concat(p.Report, a.Report)
	accepted := Judge(Accepted, report.Of(Accepted, Section{}), string(gwv1.PolicyReasonAccepted),
		"The policy is accepted", p.Generation)
	if !p.Attached {
		return []metav1.Condition{accepted, Judge(ResolvedRefs, report.Of(ResolvedRefs, Section{}),
			string(gwv1.BackendTLSPolicyReasonResolvedRefs), "All references are resolved", p.Generation)}
	}
	out := []metav1.Condition{accepted}
	if a.Merged != "" {
		out = append(out, True(string(egv1a1.PolicyConditionMerged), string(egv1a1.PolicyReasonMerged), a.Merged,
			p.Generation))
	}
	if a.Overridden != "" {
		out = append(out, True(string(egv1a1.PolicyConditionOverridden), string(egv1a1.PolicyReasonOverridden),
			a.Overridden, p.Generation))
	}
	if warnings := report.Of(Warning, Section{}); len(warnings) > 0 {
		out = append(out, True(Warning, warnings.Reason(), warnings.Message(), p.Generation))
	}
	return out
}

// urgency orders ancestors: those that do not accept the policy come first, then those where others take its place.
func urgency(conditions []metav1.Condition) int {
	switch {
	case !Holds(conditions, Accepted):
		return 0
	case Holds(conditions, string(egv1a1.PolicyConditionOverridden)):
		return 1
	default:
		return 2
	}
}

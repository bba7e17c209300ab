package status

import (
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
}

// Ancestor is a Gateway whose traffic a policy is for.
type Ancestor struct {
	Ref        gwv1.ParentReference
	Controller gwv1.GatewayController
}

// Build returns the status of the policy: for each ancestor the conditions Accepted and ResolvedRefs. Ancestors beyond
// what a status can hold are left out.
func (p Policy) Build() gwv1.PolicyStatus {
	accepted := Judge(Accepted, p.Report.Of(Accepted, Section{}), string(gwv1.PolicyReasonAccepted),
		"The policy is accepted", p.Generation)
	resolved := Judge(ResolvedRefs, p.Report.Of(ResolvedRefs, Section{}), string(gwv1.BackendTLSPolicyReasonResolvedRefs),
		"All references are resolved", p.Generation)
	out := gwv1.PolicyStatus{Ancestors: []gwv1.PolicyAncestorStatus{}}
	for _, a := range p.Ancestors[:min(len(p.Ancestors), maxAncestors)] {
		st := gwv1.PolicyAncestorStatus{AncestorRef: a.Ref, ControllerName: a.Controller}
		st.Conditions = append(st.Conditions, accepted, resolved)
		out.Ancestors = append(out.Ancestors, st)
	}
	return out
}

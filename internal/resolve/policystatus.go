package resolve

import (
	"fmt"
	"slices"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// Policy is a policy of any kind as its status has it.
type Policy struct {
	// Report holds the policy's issues.
	Report status.Report
	// Trust is that of a policy for TLS, the zero value for others.
	Trust model.Trust
	// Status has an ancestor for each Gateway whose traffic the policy is for.
	Status gwv1.PolicyStatus
}

// addPolicies adds the statuses of the policies of all kinds.
func (t *Tables) addPolicies(e *incr.Engine) {
	tlsKeys := incr.NewIndex(e, "backendtlspolicy keys", t.in.backendTLS,
		func(name model.Name, _ *gwv1.BackendTLSPolicy) []model.Ref { return []model.Ref{tlsPolicyRef(name)} })
	t.Policies = incr.NewTable(e, "policy status", func(r *incr.Reader, key model.Ref) (Policy, bool) {
		var in status.Policy
		var trust model.Trust
		ok := false
		if key.Kind == model.KindBackendTLSPolicy {
			in, trust, ok = t.tlsPolicyStatus(r, key.Name)
		}
		if !ok {
			return Policy{}, false
		}
		every := func(status.Issue) bool { return true }
		return Policy{Report: in.Report.Select(every), Trust: trust, Status: in.Build()}, true
	}, tlsKeys)
}

func (t *Tables) tlsPolicyStatus(r *incr.Reader, key model.Name) (_ status.Policy, trust model.Trust, ok bool) {
	resolved, ok := incr.Get(r, t.tlsPolicies, key)
	if !ok {
		return status.Policy{}, trust, false
	}
	if resolved.TLS != nil {
		trust = resolved.TLS.Trust
	}
	p, _ := incr.Get(r, t.in.backendTLS, key)
	out := status.Policy{Generation: p.Generation, Report: slices.Clone(resolved.Report)}
	var gateways []model.Name
	for i, target := range tlsTargets(key, p) {
		held, _ := incr.Get(r, t.tlsHolders, target.Ref)
		if winner, ok := held.at(target.Section); ok && winner != key {
			out.Report = append(out.Report, status.Issue{
				Object: tlsPolicyRef(key), Condition: status.Accepted, Reason: string(gwv1.PolicyReasonConflicted),
				Path: fmt.Sprintf("spec.targetRefs[%d]", i),
				Message: fmt.Sprintf("%s is attached to the same target and comes first: it is older, or its name is before",
					tlsPolicyRef(winner)),
			})
		}
		gateways = append(gateways, t.gatewaysOf(r, target)...)
	}
	out.Ancestors = t.ancestors(r, gateways)
	return out, trust, true
}

// gatewaysOf returns the Gateways with routes to a backend that is the target of a policy.
func (t *Tables) gatewaysOf(r *incr.Reader, target policyTarget) []model.Name {
	var out []model.Name
	for _, use := range t.uses.Keys(r, target.Ref) {
		key := model.BackendKey{Kind: use.Backend.Kind, Name: use.Backend.Name, Port: use.Port}
		if target.Section == "" || t.portName(r, key) == target.Section {
			out = append(out, use.Gateway)
		}
	}
	return out
}

// ancestors returns Gateways as ancestors of a policy, sorted, each once.
func (t *Tables) ancestors(r *incr.Reader, gateways []model.Name) []status.Ancestor {
	slices.SortFunc(gateways, model.Name.Compare)
	var out []status.Ancestor
	for _, gw := range slices.Compact(gateways) {
		controller, ok := incr.Get(r, t.controllers, gw)
		if !ok {
			continue
		}
		out = append(out, status.Ancestor{Ref: gatewayParent(gw), Controller: gwv1.GatewayController(controller)})
	}
	return out
}

// gatewayParent is a Gateway as statuses refer to it.
func gatewayParent(name model.Name) gwv1.ParentReference {
	group, kind, namespace := gwv1.Group(model.GroupGateway), gwv1.Kind(model.KindGateway), gwv1.Namespace(name.Namespace)
	return gwv1.ParentReference{
		Group: &group, Kind: &kind, Namespace: &namespace, Name: gwv1.ObjectName(name.Name),
	}
}

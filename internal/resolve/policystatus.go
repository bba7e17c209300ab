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
	// Trust is that of a policy for TLS or with CA certificates of clients, the zero value for others.
	Trust model.Trust
	// Status has an ancestor for each Gateway whose traffic the policy is for.
	Status gwv1.PolicyStatus
}

// addPolicies adds the statuses of the policies of all kinds.
func (t *Tables) addPolicies(e *incr.Engine) {
	keys := []incr.KeySource[model.Ref]{
		policyKeys(e, "backendtlspolicy keys", t.in.backendTLS, tlsPolicyRef),
		policyKeys(e, "xbackendtrafficpolicy keys", t.in.backendTraffic, trafficPolicyRef),
		policyKeys(e, "xtelemetrypolicy keys", t.in.telemetry, telemetryRef),
		policyKeys(e, "envoypatchpolicy keys", t.in.patches, patchPolicyRef),
	}
	if t.extensionPolicies != nil {
		keys = append(keys, t.extensionPolicies.keys)
	}
	kinds := map[string]func(*incr.Reader, model.Name) (status.Policy, model.Trust, bool){
		model.KindBackendTLSPolicy:      t.tlsPolicyStatus,
		model.KindXBackendTrafficPolicy: trustless(t.trafficPolicyStatus),
		model.KindXTelemetryPolicy:      trustless(t.telemetryStatus),
		model.KindEnvoyPatchPolicy:      trustless(t.patchPolicyStatus),
	}
	for _, kind := range append([]string{model.KindClientTrafficPolicy}, routePolicyKinds...) {
		kinds[kind] = func(r *incr.Reader, name model.Name) (status.Policy, model.Trust, bool) {
			ref := envoyPolicyRef(kind, name)
			in, ok := t.envoyPolicyStatus(r, ref)
			return in, t.trustOf(r, ref), ok
		}
	}
	t.Policies = incr.NewTable(e, "policy status", func(r *incr.Reader, key model.Ref) (Policy, bool) {
		if t.extendsPolicies(key.Group, key.Kind) {
			in, ok := t.extensionPolicyStatus(r, key)
			return policyOf(in, model.Trust{}), ok
		}
		in, trust, ok := kinds[key.Kind](r, key.Name)
		if !ok {
			return Policy{}, false
		}
		return policyOf(in, trust), true
	}, append(keys, t.envoyPolicies...)...)
}

func policyOf(in status.Policy, trust model.Trust) Policy {
	every := func(status.Issue) bool { return true }
	return Policy{Report: in.Report.Select(every), Trust: trust, Status: in.Build()}
}

// trustOf returns the trust of a policy of Envoy Gateway: it has one at most.
func (t *Tables) trustOf(r *incr.Reader, policy model.Ref) model.Trust {
	fields, ok := incr.Get(r, t.policyFields, policy)
	if !ok {
		return model.Trust{}
	}
	for _, a := range fields.Attached {
		if a.Trust != (model.Trust{}) {
			return a.Trust
		}
	}
	return model.Trust{}
}

// trustless is for policies without certificates.
func trustless(
	f func(*incr.Reader, model.Name) (status.Policy, bool),
) func(*incr.Reader, model.Name) (status.Policy, model.Trust, bool) {
	return func(r *incr.Reader, key model.Name) (in status.Policy, trust model.Trust, ok bool) {
		in, ok = f(r, key)
		return in, trust, ok
	}
}

// policyKeys are the policies of a kind as keys of those of all kinds.
func policyKeys[P any](
	e *incr.Engine, name string, in *incr.Input[model.Name, P], ref func(model.Name) model.Ref,
) incr.KeySource[model.Ref] {
	return incr.NewIndex(e, name, in, func(key model.Name, _ P) []model.Ref { return []model.Ref{ref(key)} })
}

// conflicts returns an issue for each target of a policy that another policy holds for.
func (t *Tables) conflicts(
	r *incr.Reader, held *incr.Table[model.Ref, holders], policy model.Ref, targets []policyTarget,
) status.Report {
	var out status.Report
	for i, target := range targets {
		all, _ := incr.Get(r, held, target.Ref)
		winner, ok := all.at(target.Section)
		if !ok || winner == policy.Name {
			continue
		}
		out = append(out, status.Issue{
			Object: policy, Condition: status.Accepted, Reason: string(gwv1.PolicyReasonConflicted),
			Path: fmt.Sprintf("spec.targetRefs[%d]", i),
			Message: fmt.Sprintf("%s/%s is attached to the same target and comes first: it is older, or its name is before",
				policy.Kind, winner),
		})
	}
	return out
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
	targets := tlsTargets(key, p)
	out := status.Policy{Generation: p.Generation}
	out.Report = append(out.Report, resolved.Report...)
	out.Report = append(out.Report, t.conflicts(r, t.tlsHolders, tlsPolicyRef(key), targets)...)
	var gateways []model.Name
	for _, target := range targets {
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
		if t.concerns(r, target, key) {
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

package resolve

import (
	"fmt"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1a1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// trafficPolicy is what backends and routes need to know of an XBackendTrafficPolicy (Gateway API: GEP-3388).
type trafficPolicy struct {
	// Report is what is wrong with it. Only the targets that it misses do not keep it from the others.
	Report status.Report
	// Cluster is what it asks of features for the clusters of its targets, Route for every route that leads to them.
	Cluster, Route []model.Attached
}

func trafficPolicyRef(name model.Name) model.Ref {
	return model.Ref{Group: model.GroupGatewayX, Kind: model.KindXBackendTrafficPolicy, Name: name}
}

func trafficTargets(key model.Name, p *gwxv1a1.XBackendTrafficPolicy) []policyTarget {
	out := make([]policyTarget, len(p.Spec.TargetRefs))
	for i, ref := range p.Spec.TargetRefs {
		out[i] = localTarget(gwv1.LocalPolicyTargetReferenceWithSectionName{LocalPolicyTargetReference: ref}, key.Namespace)
	}
	return out
}

// addTrafficPolicies adds the policies, and what routes need to know of them apart from the rest: a new retry budget
// reaches no route.
func (t *Tables) addTrafficPolicies(e *incr.Engine) {
	t.trafficHolders = attachPolicies(e, "xbackendtrafficpolicy", t.in.backendTraffic, trafficTargets).holders
	t.trafficPolicies = incr.NewTable(e, "xbackendtrafficpolicies", t.trafficPolicy, t.in.backendTraffic)
	t.onRoutes = incr.NewTable(e, "attached by backends", func(r *incr.Reader, key model.Ref) ([]model.Attached, bool) {
		p := t.trafficPolicyOf(r, key)
		return p.Route, len(p.Route) > 0
	}, t.trafficHolders)
}

// trafficPolicyOf returns the policy that holds for a backend, an empty one if none does.
func (t *Tables) trafficPolicyOf(r *incr.Reader, backend model.Ref) *trafficPolicy {
	held, _ := incr.Get(r, t.trafficHolders, backend)
	if name, ok := held.at(""); ok {
		if p, ok := incr.Get(r, t.trafficPolicies, name); ok {
			return p
		}
	}
	return &trafficPolicy{}
}

func (t *Tables) trafficPolicy(r *incr.Reader, key model.Name) (*trafficPolicy, bool) {
	p, ok := incr.Get(r, t.in.backendTraffic, key)
	if !ok {
		return nil, false
	}
	out := &trafficPolicy{}
	issue := func(reason, path, message string) {
		out.Report = append(out.Report, status.Issue{
			Object: trafficPolicyRef(key), Condition: status.Accepted, Reason: reason, Path: path, Message: message,
		})
	}
	attached := func(feature, path string, spec any) []model.Attached {
		list := []model.Attached{{Feature: feature, Spec: spec, Path: path, Source: trafficPolicyRef(key)}}
		if t.opts.CheckAttached == nil {
			return list
		}
		problems := t.opts.CheckAttached(list)
		for _, p := range problems {
			issue(string(gwv1.PolicyReasonInvalid), p.Path, p.Message)
		}
		if len(problems) > 0 {
			return nil
		}
		return list
	}
	if p.Spec.RetryConstraint != nil {
		out.Cluster = attached("RetryConstraint", "spec.retryConstraint", p.Spec.RetryConstraint)
	}
	//lint:ignore SA1019 deprecated in favour of XBackend, but part of the API as long as that is
	if session := p.Spec.SessionPersistence; session != nil {
		out.Route = attached("SessionPersistence", "spec.sessionPersistence", session)
	}
	for i, target := range trafficTargets(key, p) {
		if message := t.missing(r, target.Ref); message != "" {
			issue(string(gwv1.PolicyReasonTargetNotFound), fmt.Sprintf("spec.targetRefs[%d]", i), message)
		}
	}
	return out, true
}

// missing says why an object cannot be the target of a policy of backends, "" if it can.
func (t *Tables) missing(r *incr.Reader, target model.Ref) string {
	found := false
	switch {
	case target.Group == model.GroupCore && target.Kind == model.KindService:
		_, found = incr.Get(r, t.services, target.Name)
	case target.Group == model.GroupEnvoyGateway && target.Kind == model.KindBackend:
		_, found = incr.Get(r, t.externals, target.Name)
	case target.Group == model.GroupGatewayX && target.Kind == model.KindXBackend:
		_, found = incr.Get(r, t.xbackends, target.Name)
	default:
		return fmt.Sprintf("%s of group %q is no backend: use a Service, a Backend of group %s, or an XBackend of group %s",
			target.Kind, target.Group, model.GroupEnvoyGateway, model.GroupGatewayX)
	}
	if !found {
		return fmt.Sprintf("%s does not exist", target)
	}
	return ""
}

// attachedTo returns what a backend, or a policy of it, asks of features for every route that leads there. What an
// XBackend says itself is nearer.
func (t *Tables) attachedTo(r *incr.Reader, key model.BackendKey) []model.Attached {
	if key == (model.BackendKey{}) {
		return nil
	}
	if key.Kind == model.KindXBackend {
		if b, ok := incr.Get(r, t.xbackends, key.Name); ok && len(b.Attached) > 0 {
			return b.Attached
		}
	}
	list, _ := incr.Get(r, t.onRoutes, key.Ref())
	return list
}

func (t *Tables) trafficPolicyStatus(r *incr.Reader, key model.Name) (status.Policy, bool) {
	resolved, ok := incr.Get(r, t.trafficPolicies, key)
	if !ok {
		return status.Policy{}, false
	}
	p, _ := incr.Get(r, t.in.backendTraffic, key)
	targets := trafficTargets(key, p)
	out := status.Policy{Generation: p.Generation}
	out.Report = append(out.Report, resolved.Report...)
	out.Report = append(out.Report, t.conflicts(r, t.trafficHolders, trafficPolicyRef(key), targets)...)
	var gateways []model.Name
	for _, target := range targets {
		gateways = append(gateways, t.gatewaysOf(r, target)...)
	}
	out.Ancestors = t.ancestors(r, gateways)
	return out, true
}

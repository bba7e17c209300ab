package resolve

import (
	"slices"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// Some of what policies ask for the operator has to have registered for the Gateway, in its EnvoyProxy. Listeners
// whose EnvoyProxy registers something say so in their stack of policies, by its name: what it registers is read only
// where a policy asks for some of it.

// addRegistries adds the EnvoyProxies of Gateways that register something.
func (t *Tables) addRegistries(e *incr.Engine) {
	t.registries = incr.NewTable(e, "registries of gateways", func(r *incr.Reader, k model.Name) (mergedKey, bool) {
		gw, _ := incr.Get(r, t.Gateways, k)
		return gw.infra.Key, gw.infra.Spec != nil && len(gw.infra.Spec.DynamicModules) > 0
	}, t.Gateways)
}

// registry returns the EnvoyProxy of a Gateway that registers something, merged as the Gateway has it; nil if it cannot
// be used.
func (t *Tables) registry(r *incr.Reader, own, parent model.Name) *egv1a1.EnvoyProxySpec {
	spec := func(name model.Name) *egv1a1.EnvoyProxySpec {
		if name == (model.Name{}) {
			return nil
		}
		out, _ := t.envoyProxy(r, name)
		return out
	}
	var defaults *egv1a1.EnvoyProxySpec
	if t.opts.Fleets != nil {
		defaults = t.opts.Fleets.Defaults
	}
	out, err := mergeEnvoyProxies(defaults, spec(parent), spec(own))
	if err != nil {
		return nil
	}
	return out
}

// permitted returns what policies ask for without what is not registered for the Gateway of a listener with these
// policies, and why requests are denied if that guards.
func (t *Tables) permitted(
	r *incr.Reader, above model.PolicyStack, list []model.Attached,
) (out []model.Attached, denied string) {
	asks := func(a model.Attached) bool { return t.opts.UsesProxy != nil && t.opts.UsesProxy(a.Feature) }
	if !slices.ContainsFunc(list, asks) {
		return list, ""
	}
	var proxy *egv1a1.EnvoyProxySpec
	if own, parent, ok := above.Registry(); ok {
		proxy = t.registry(r, own, parent)
	}
	for _, a := range list {
		if asks(a) {
			a.Proxy = proxy
			if len(t.opts.CheckProxy(a)) > 0 {
				denied = "Invalid" + a.Source.Kind
				continue
			}
		}
		out = append(out, a)
	}
	return out, denied
}

// unregistered returns an issue for each thing that a policy asks for and that is not registered for the Gateway.
func (t *Tables) unregistered(r *incr.Reader, use policyUse) status.Report {
	if t.opts.UsesProxy == nil {
		return nil
	}
	key := mergedKey{Kind: use.Policy.Kind, Own: use.Policy.Name, Parent: use.Parent}
	var out status.Report
	for _, a := range t.fieldsOf(r, key).Attached {
		if !t.opts.UsesProxy(a.Feature) {
			continue
		}
		var proxy *egv1a1.EnvoyProxySpec
		if from, ok := incr.Get(r, t.registries, use.Gateway); ok {
			proxy = t.registry(r, from.Own, from.Parent)
		}
		a.Proxy = proxy
		for _, issue := range t.opts.CheckProxy(a) {
			issue.Object, issue.Condition, issue.Reason = use.Policy, status.Accepted, string(gwv1.PolicyReasonInvalid)
			out = append(out, issue)
		}
	}
	return out
}

package resolve

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/status"
)

// extensionClaim is a policy for an extension server that is attached to an object or a section of it. Unlike those of
// Envoy Gateway all of them count: the server decides what that means.
type extensionClaim struct {
	Policy  model.Ref
	Section string
	Created time.Time
}

// compare orders claims: those of sections come first, as with Envoy Gateway, then the older ones.
func (c extensionClaim) compare(o extensionClaim) int {
	return cmp.Or(compareSections(c.Section, o.Section), c.Created.Compare(o.Created), c.Policy.Compare(o.Policy))
}

func compareSections(a, b string) int {
	if (a == "") != (b == "") {
		return strings.Compare(b, a)
	}
	return strings.Compare(a, b)
}

// extensionPolicies are the tables about policies for extension servers.
type extensionPolicies struct {
	keys      incr.KeySource[model.Ref]
	targeting *incr.Table[model.Ref, *targeting]
	selectors *incr.Table[selectorScope, []boundSelector]
	byRoute   *incr.Index[model.RouteKey, model.Ref, *targeting]
	bySource  *incr.Index[model.Ref, model.Ref, *targeting]
	// ofRoutes and ofSources are the claims on routes, and on Gateways and ListenerSets.
	ofRoutes  *incr.Table[model.RouteKey, []extensionClaim]
	ofSources *incr.Table[model.Ref, []extensionClaim]
	uses      *incr.Index[model.Ref, policyUse, struct{}]
}

// addExtensionPolicies adds the policies for extension servers, if any server has some: a route costs a small row then.
func (t *Tables) addExtensionPolicies(e *incr.Engine) {
	if !slices.ContainsFunc(t.opts.Extensions, func(m model.ExtensionManager) bool { return len(m.Policies) > 0 }) {
		return
	}
	p := &extensionPolicies{}
	t.extensionPolicies = p
	keys := incr.NewIndex(e, "extension policy keys", t.in.extensionObjects,
		func(ref model.Ref, _ *resource.Extension) []model.Ref {
			if !t.extendsPolicies(ref.Group, ref.Kind) {
				return nil
			}
			return []model.Ref{ref}
		})
	p.keys = keys
	p.targeting = incr.NewTable(e, "extension policy targets", t.extensionTargeting, keys)
	p.byRoute = incr.NewIndex(e, "extension policies by route", p.targeting,
		func(_ model.Ref, of *targeting) []model.RouteKey { return of.routes(isHTTPRoute) })
	p.bySource = incr.NewIndex(e, "extension policies by listener source", p.targeting,
		func(_ model.Ref, of *targeting) []model.Ref { return of.sources() })
	p.selectors = boundSelectors(e, "extension policy", p.targeting)
	p.ofRoutes = incr.NewTable(e, "extension policies of routes", t.extensionsOfRoute, p.byRoute, t.Routes)
	p.ofSources = incr.NewTable(e, "extension policies of listener sources", t.extensionsOfSource, t.sourceKeys...)
	usesOfRoutes := incr.NewTable(e, "extension policy uses of routes", t.extensionUsesOfRoute, p.ofRoutes)
	usesOfSources := incr.NewTable(e, "extension policy uses of listener sources", t.extensionUsesOfSource, p.ofSources)
	distinct := incr.NewTable(e, "extension policy uses", func(*incr.Reader, policyUse) (struct{}, bool) {
		return struct{}{}, true
	}, incr.NewIndex(e, "extension policy uses by route", usesOfRoutes,
		func(_ model.RouteKey, list []policyUse) []policyUse { return list }),
		incr.NewIndex(e, "extension policy uses by listener source", usesOfSources,
			func(_ model.Ref, list []policyUse) []policyUse { return list }))
	p.uses = incr.NewIndex(e, "uses of extension policy", distinct, func(u policyUse, _ struct{}) []model.Ref {
		return []model.Ref{u.Policy}
	})
}

// isHTTPRoute says whether an object is a route that an extension server is asked about.
func isHTTPRoute(ref model.Ref) bool { return isRoute(ref) && !isStream(ref.Kind) }

// extensionTargeting returns what a policy says about its targets. The rest of it is for the extension server.
func (t *Tables) extensionTargeting(r *incr.Reader, ref model.Ref) (*targeting, bool) {
	o, ok := incr.Get(r, t.in.extensionObjects, ref)
	if !ok {
		return nil, false
	}
	out := &targeting{Created: o.CreationTimestamp.UTC()}
	var spec egv1a1.PolicyTargetReferences
	if err := json.Unmarshal(o.Fields["spec"], &spec); err != nil {
		return out, true // it has no targets that could be understood
	}
	for _, target := range spec.GetTargetRefs() {
		out.Targets = append(out.Targets, localTarget(target, ref.Namespace))
	}
	for i := range spec.TargetSelectors {
		out.Selectors = append(out.Selectors, readSelector(i, &spec.TargetSelectors[i]))
	}
	return out, true
}

// extensionsOfRoute returns the policies for extension servers that are attached to a route or its rules.
func (t *Tables) extensionsOfRoute(r *incr.Reader, key model.RouteKey) ([]extensionClaim, bool) {
	if isStream(key.Kind) {
		return nil, false
	}
	o, ok := t.routeObject(r, key)
	if !ok {
		return nil, false
	}
	selected := t.selectedBy(r, t.extensionPolicies.selectors, key.Ref(), func() map[string]string {
		return o.Meta.Labels
	})
	return extensionClaims(t.extensionPolicies.byRoute.Values(r, key), selected, key.Ref())
}

// extensionsOfSource returns those that are attached to a Gateway or ListenerSet or its listeners.
func (t *Tables) extensionsOfSource(r *incr.Reader, source model.Ref) ([]extensionClaim, bool) {
	selected := t.selectedBy(r, t.extensionPolicies.selectors, source, func() map[string]string {
		return t.sourceLabels(r, source)
	})
	return extensionClaims(t.extensionPolicies.bySource.Values(r, source), selected, source)
}

func extensionClaims(
	named func(func(model.Ref, *targeting) bool), selected []boundSelector, target model.Ref,
) ([]extensionClaim, bool) {
	var out []extensionClaim
	for policy, p := range named {
		for _, at := range p.Targets {
			if at.Ref == target {
				out = append(out, extensionClaim{policy, at.Section, p.Created})
			}
		}
	}
	for _, s := range selected {
		out = append(out, extensionClaim{s.Policy, "", s.Created})
	}
	slices.SortFunc(out, extensionClaim.compare)
	return slices.Compact(out), len(out) > 0
}

// ExtensionPolicies returns the policies for extension servers that are attached to a rule or its route, in the order
// in which they are given to the servers. rule is the name of the rule, which may be empty.
func (t *Tables) ExtensionPolicies(r *incr.Reader, route model.RouteKey, rule string) []model.Extension {
	if t.extensionPolicies == nil {
		return nil
	}
	claims, _ := incr.Get(r, t.extensionPolicies.ofRoutes, route)
	return t.extensionObjects(r, nil, claims, func(section string) bool { return section == rule })
}

// ListenerExtensionPolicies returns those that are attached to a listener, its ListenerSet or its Gateway.
func (t *Tables) ListenerExtensionPolicies(r *incr.Reader, listener model.ListenerKey) []model.Extension {
	if t.extensionPolicies == nil {
		return nil
	}
	claims, _ := incr.Get(r, t.extensionPolicies.ofSources, listener.Source)
	own := func(section string) bool { return section == listener.Name }
	out := t.extensionObjects(r, nil, claims, own)
	if gateway, ok := t.gatewayOf(r, listener.Source); ok && listener.Source.Kind == model.KindListenerSet {
		claims, _ = incr.Get(r, t.extensionPolicies.ofSources, gatewayRef(gateway))
		out = t.extensionObjects(r, out, claims, func(string) bool { return false })
	}
	return out
}

// extensionObjects adds the objects of claims on the whole, and on the sections that fit, each once.
func (t *Tables) extensionObjects(
	r *incr.Reader, list []model.Extension, claims []extensionClaim, fits func(section string) bool,
) []model.Extension {
	for _, c := range claims {
		if c.Section != "" && !fits(c.Section) {
			continue
		}
		if e, ok := incr.Get(r, t.extensions, c.Policy); ok && !slices.Contains(list, e) {
			list = append(list, e)
		}
	}
	return list
}

// extensionUsesOfRoute returns what the policies of a route come to.
func (t *Tables) extensionUsesOfRoute(r *incr.Reader, key model.RouteKey) ([]policyUse, bool) {
	claims, _ := incr.Get(r, t.extensionPolicies.ofRoutes, key)
	bindings, _ := incr.Get(r, t.Bindings, key)
	rules := t.ruleNames(r, key)
	var out []policyUse
	for _, p := range bindings.Parents {
		at := ancestorKey{Source: p.Source, Section: string(deref(p.Ref.SectionName, ""))}
		for _, c := range claims {
			use := policyUse{Policy: c.Policy, Ancestor: at, Gateway: p.Gateway}
			if c.Section != "" && !slices.Contains(rules, c.Section) {
				use.Target = policyTarget{Ref: key.Ref(), Section: c.Section}
			}
			out = append(out, use)
		}
	}
	return out, len(out) > 0
}

// extensionUsesOfSource returns what the policies of a Gateway or ListenerSet come to.
func (t *Tables) extensionUsesOfSource(r *incr.Reader, source model.Ref) ([]policyUse, bool) {
	gateway, ok := t.gatewayOf(r, source)
	if !ok {
		return nil, false
	}
	claims, _ := incr.Get(r, t.extensionPolicies.ofSources, source)
	sections, _ := incr.Get(r, t.sections, source)
	var out []policyUse
	for _, c := range claims {
		use := policyUse{
			Policy: c.Policy, Gateway: gateway, Ancestor: ancestorKey{Source: source, Section: c.Section},
		}
		exists := slices.ContainsFunc(sections, func(s section) bool { return s.Name == c.Section })
		if c.Section != "" && !exists {
			use.Target = policyTarget{Ref: source, Section: c.Section}
		}
		out = append(out, use)
	}
	return out, len(out) > 0
}

// extensionPolicyStatus is the status of a policy for an extension server.
func (t *Tables) extensionPolicyStatus(r *incr.Reader, ref model.Ref) (status.Policy, bool) {
	o, ok := incr.Get(r, t.in.extensionObjects, ref)
	if !ok {
		return status.Policy{}, false
	}
	out := status.Policy{Generation: o.Generation, Attached: true, Report: t.extensionUnattached(r, ref)}
	for uses := range byAncestor(t.extensionPolicies.uses.Keys(r, ref)) {
		if a, ok := t.policyAncestor(r, uses); ok {
			out.Ancestors = append(out.Ancestors, a)
		}
	}
	return out, true
}

// extensionUnattached returns an issue for each target that cannot be one, or does not exist.
func (t *Tables) extensionUnattached(r *incr.Reader, ref model.Ref) status.Report {
	targets, _ := incr.Get(r, t.extensionPolicies.targeting, ref)
	out := t.misses(r, ref, targets, func(target model.Ref) string {
		if isHTTPRoute(target) || isListenerSource(target) {
			return ""
		}
		return fmt.Sprintf("A policy of an extension server cannot be attached to a %s of group %q: use a Gateway, a "+
			"ListenerSet, an HTTPRoute or a GRPCRoute", target.Kind, target.Group)
	})
	if len(targets.Targets)+len(targets.Selectors) == 0 {
		out = append(out, status.Issue{
			Object: ref, Condition: status.Accepted, Reason: string(gwv1.PolicyReasonInvalid), Path: "spec.targetRefs",
			Message: "The policy is attached to nothing: add a targetRef",
		})
	}
	return out
}

package resolve

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// targeting is what a policy of Envoy Gateway says about where it is attached, apart from what it asks for: an edit
// of that reaches nobody who only needs to know which policy holds.
type targeting struct {
	Created time.Time
	Merge   egv1a1.MergeType
	// Targets are those that are named.
	Targets []policyTarget
	// Selectors select others by their labels.
	Selectors []targetSelector
}

// routes are the routes among the named targets, of those objects that fit.
func (p *targeting) routes(fits func(model.Ref) bool) []model.RouteKey {
	var out []model.RouteKey
	for _, target := range p.Targets {
		if fits(target.Ref) {
			out = append(out, model.RouteKey{Kind: target.Kind, Name: target.Name})
		}
	}
	return out
}

// sources are the Gateways and ListenerSets among the named targets.
func (p *targeting) sources() []model.Ref {
	var out []model.Ref
	for _, target := range p.Targets {
		if isListenerSource(target.Ref) {
			out = append(out, target.Ref)
		}
	}
	return out
}

// targetSelector selects targets by their labels.
type targetSelector struct {
	// Index is the place in spec.targetSelectors.
	Index int
	Group string
	Kind  string
	// From says from which namespaces; Namespaces selects them if it is Selector.
	From       egv1a1.TargetNamespaceFrom
	Namespaces labels.Selector
	Labels     labels.Selector
	// Problem is why it selects nothing, empty if it may.
	Problem string
}

// selectorScope is a kind of target in a namespace, or in all of them if that is empty.
type selectorScope struct {
	Kind, Namespace string
}

// Compare orders scopes by kind, then namespace.
func (s selectorScope) Compare(o selectorScope) int {
	return cmp.Or(strings.Compare(s.Kind, o.Kind), strings.Compare(s.Namespace, o.Namespace))
}

// scope is where a selector of a policy in a namespace selects.
func (s *targetSelector) scope(namespace string) selectorScope {
	if s.From != egv1a1.TargetNamespaceFromSame {
		namespace = ""
	}
	return selectorScope{Kind: s.Kind, Namespace: namespace}
}

// boundSelector is a selector with the policy that it is of.
type boundSelector struct {
	Policy  model.Ref
	Created time.Time
	targetSelector
}

// heldPolicy says that a policy holds for a section of an object; Section is empty for the whole object.
type heldPolicy struct {
	Kind, Section string
	Policy        model.Name
}

// heldPolicies are the policies that hold for an object and its sections, sorted by kind and section.
type heldPolicies []heldPolicy

// at returns the policy of a kind that holds for exactly a section.
func (h heldPolicies) at(kind, section string) (model.Name, bool) {
	for _, p := range h {
		if p.Kind == kind && p.Section == section {
			return p.Policy, true
		}
	}
	return model.Name{}, false
}

// nearest returns the policy of a kind that holds for a section: its own, or that of the whole object.
func (h heldPolicies) nearest(kind, section string) (model.Name, bool) {
	if p, ok := h.at(kind, section); ok {
		return p, true
	}
	return h.at(kind, "")
}

// addPolicyFields adds what policies of Envoy Gateway ask for, and which of them hold for listeners.
func (t *Tables) addPolicyFields(e *incr.Engine) {
	keys := t.envoyPolicyKeys(e)
	t.targeting = incr.NewTable(e, "policy targets", t.readTargeting, keys...)
	t.policyFields = incr.NewTable(e, "policy fields", func(r *incr.Reader, ref model.Ref) (*policyFields, bool) {
		return t.resolveFields(r, mergedKey{Kind: ref.Kind, Own: ref.Name}), true
	}, keys...).OnFault(deniedFields)
	t.policiesOfRoute = incr.NewIndex(e, "policies by route", t.targeting,
		func(policy model.Ref, p *targeting) []model.RouteKey {
			return p.routes(func(ref model.Ref) bool { return isRoute(ref) && fitsRoutes(policy.Kind) })
		})
	t.policiesOfSource = incr.NewIndex(e, "policies by listener source", t.targeting,
		func(_ model.Ref, p *targeting) []model.Ref { return p.sources() })
	t.selectors = boundSelectors(e, "policy", t.targeting)
	t.sourcePolicies = incr.NewTable(e, "policies of listener sources", t.policiesOfListeners, t.sourceKeys...)
	t.stacks = incr.NewTable(e, "listener policies", t.stack, t.listenerKeys...)
}

// boundSelectors adds the selectors of policies, by what they can select. name is what the policies are called.
func boundSelectors(
	e *incr.Engine, name string, targets *incr.Table[model.Ref, *targeting],
) *incr.Table[selectorScope, []boundSelector] {
	scopes := incr.NewIndex(e, name+" by selected kind", targets, func(policy model.Ref, p *targeting) []selectorScope {
		var out []selectorScope
		for i := range p.Selectors {
			out = append(out, p.Selectors[i].scope(policy.Namespace))
		}
		return out
	})
	return incr.NewTable(e, name+" selectors", func(r *incr.Reader, key selectorScope) ([]boundSelector, bool) {
		var out []boundSelector
		for policy, p := range scopes.Values(r, key) {
			for _, s := range p.Selectors {
				if s.scope(policy.Namespace) == key && s.Problem == "" {
					out = append(out, boundSelector{Policy: policy, Created: p.Created, targetSelector: s})
				}
			}
		}
		return out, len(out) > 0
	}, scopes)
}

// envoyPolicyKeys are the policies of Envoy Gateway of all kinds.
func (t *Tables) envoyPolicyKeys(e *incr.Engine) []incr.KeySource[model.Ref] {
	ref := func(kind string) func(model.Name) model.Ref {
		return func(name model.Name) model.Ref { return envoyPolicyRef(kind, name) }
	}
	t.envoyPolicies = []incr.KeySource[model.Ref]{
		policyKeys(e, "clienttrafficpolicy keys", t.in.clientTraffic, ref(model.KindClientTrafficPolicy)),
		policyKeys(e, "backendtrafficpolicy keys", t.in.envoyTraffic, ref(model.KindBackendTrafficPolicy)),
		policyKeys(e, "securitypolicy keys", t.in.security, ref(model.KindSecurityPolicy)),
		policyKeys(e, "envoyextensionpolicy keys", t.in.extensions, ref(model.KindEnvoyExtensionPolicy)),
	}
	return t.envoyPolicies
}

// addRoutePolicies adds which policies hold for routes. A route without one costs a small row: that it is selected by
// none.
func (t *Tables) addRoutePolicies(e *incr.Engine) {
	t.selectedRoutes = incr.NewTable(e, "selecting policies", t.selectingRoute, t.Routes)
	t.routePolicies = incr.NewTable(e, "route policies", func(r *incr.Reader, key model.RouteKey) (heldPolicies, bool) {
		out := settle(t.routeClaims(r, key))
		return out, len(out) > 0
	}, t.policiesOfRoute, t.selectedRoutes)
}

// routeClaims returns the policies that are attached to a route or its rules, whether or not they hold.
func (t *Tables) routeClaims(r *incr.Reader, key model.RouteKey) []policyClaim {
	var out []policyClaim
	for policy, p := range t.policiesOfRoute.Values(r, key) {
		out = appendClaims(out, policy, p, key.Ref())
	}
	selecting, _ := incr.Get(r, t.selectedRoutes, key)
	for _, policy := range selecting {
		p, _ := incr.Get(r, t.targeting, policy)
		out = append(out, policyClaim{heldPolicy{policy.Kind, "", policy.Name}, p.Created})
	}
	return out
}

// stack returns the policies that hold for a listener.
func (t *Tables) stack(r *incr.Reader, key model.ListenerKey) (model.PolicyStack, bool) {
	named := func(kind string) model.Name {
		name, _, _ := t.holdingPolicy(r, key, kind)
		return name
	}
	out := model.Stack(named(model.KindBackendTrafficPolicy), named(model.KindSecurityPolicy),
		named(model.KindEnvoyExtensionPolicy))
	if gateway, ok := t.gatewayOf(r, key.Source); ok {
		if from, ok := incr.Get(r, t.registries, gateway); ok {
			out = out.WithRegistry(from.Own, from.Parent)
		}
	}
	if d, ok := incr.Get(r, t.doors, key); ok {
		out = out.With(d.Gear)
	}
	return out, out != (model.PolicyStack{})
}

// selectingRoute returns the policies that select a route.
func (t *Tables) selectingRoute(r *incr.Reader, key model.RouteKey) ([]model.Ref, bool) {
	found := t.selecting(r, key.Ref(), func() map[string]string {
		o, _ := t.routeObject(r, key)
		return o.Meta.Labels
	})
	var out []model.Ref
	for _, s := range found {
		if fitsRoutes(s.Policy.Kind) {
			out = append(out, s.Policy)
		}
	}
	return out, len(out) > 0
}

// readTargeting returns what a policy says about its targets.
func (t *Tables) readTargeting(r *incr.Reader, ref model.Ref) (*targeting, bool) {
	p, ok := t.envoyPolicy(r, ref)
	if !ok {
		return nil, false
	}
	out := &targeting{Created: p.Meta.CreationTimestamp.UTC(), Merge: p.Merge}
	for _, target := range p.Targets.GetTargetRefs() {
		out.Targets = append(out.Targets, localTarget(target, ref.Namespace))
	}
	for i := range p.Targets.TargetSelectors {
		out.Selectors = append(out.Selectors, readSelector(i, &p.Targets.TargetSelectors[i]))
	}
	return out, true
}

func readSelector(index int, spec *egv1a1.TargetSelector) targetSelector {
	out := targetSelector{
		Index: index, Group: string(deref(spec.Group, model.GroupGateway)), Kind: string(spec.Kind),
		From: egv1a1.TargetNamespaceFromSame,
	}
	refuse := func(field string, err error) {
		if out.Problem == "" {
			out.Problem = fmt.Sprintf("%s is not valid: %v", field, err)
		}
	}
	var err error
	out.Labels, err = metav1.LabelSelectorAsSelector(&metav1.LabelSelector{
		MatchLabels: spec.MatchLabels, MatchExpressions: spec.MatchExpressions,
	})
	if err != nil {
		refuse("The selector", err)
	}
	if spec.Namespaces == nil {
		return out
	}
	out.From = spec.Namespaces.From
	if out.From == egv1a1.TargetNamespaceFromSelector {
		out.Namespaces, err = metav1.LabelSelectorAsSelector(spec.Namespaces.Selector)
		if err != nil {
			refuse("The selector of namespaces", err)
		}
	}
	return out
}

// isRoute says whether a policy can be attached to an object as a route.
func isRoute(ref model.Ref) bool {
	if ref.Group != model.GroupGateway {
		return false
	}
	return ref.Kind == model.KindHTTPRoute || ref.Kind == model.KindGRPCRoute || isStream(ref.Kind)
}

// fitsRoutes says whether policies of a kind can be attached to routes.
func fitsRoutes(kind string) bool { return slices.Contains(routePolicyKinds, kind) }

// isListenerSource says whether a policy can be attached to an object as one with listeners.
func isListenerSource(ref model.Ref) bool {
	return ref.Group == model.GroupGateway && (ref.Kind == model.KindGateway || ref.Kind == model.KindListenerSet)
}

// policyClaim is a policy that wants a section of an object.
type policyClaim struct {
	heldPolicy
	created time.Time
}

func appendClaims(claims []policyClaim, policy model.Ref, p *targeting, target model.Ref) []policyClaim {
	for _, named := range p.Targets {
		if named.Ref == target {
			claims = append(claims, policyClaim{heldPolicy{policy.Kind, named.Section, policy.Name}, p.Created})
		}
	}
	return claims
}

// settle returns which policies hold: of those of one kind that want the same section the oldest, then the one whose
// name comes first.
func settle(claims []policyClaim) heldPolicies {
	slices.SortFunc(claims, func(a, b policyClaim) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Section, b.Section),
			a.created.Compare(b.created), a.Policy.Compare(b.Policy))
	})
	var out heldPolicies
	for _, c := range claims {
		if n := len(out); n == 0 || out[n-1].Kind != c.Kind || out[n-1].Section != c.Section {
			out = append(out, c.heldPolicy)
		}
	}
	return out
}

// selecting returns the selectors of policies of Envoy Gateway that select an object.
func (t *Tables) selecting(r *incr.Reader, target model.Ref, labelsOf func() map[string]string) []boundSelector {
	return t.selectedBy(r, t.selectors, target, labelsOf)
}

// selectedBy returns those of some selectors that select an object. Its labels are read only if there is one of its
// kind.
func (t *Tables) selectedBy(
	r *incr.Reader, selectors *incr.Table[selectorScope, []boundSelector], target model.Ref,
	labelsOf func() map[string]string,
) []boundSelector {
	near, _ := incr.Get(r, selectors, selectorScope{Kind: target.Kind, Namespace: target.Namespace})
	wide, _ := incr.Get(r, selectors, selectorScope{Kind: target.Kind})
	if len(near)+len(wide) == 0 {
		return nil
	}
	own := labels.Set(labelsOf())
	var out []boundSelector
	for _, s := range slices.Concat(near, wide) {
		if s.Group == target.Group && s.Labels.Matches(own) && t.reaches(r, s, target) {
			out = append(out, s)
		}
	}
	return out
}

// reaches says whether a policy may select an object of its namespace, or of another that grants it that.
func (t *Tables) reaches(r *incr.Reader, s boundSelector, target model.Ref) bool {
	if s.Namespaces != nil && !s.Namespaces.Matches(labels.Set(t.labelsOf(r, target.Namespace))) {
		return false
	}
	return t.granted(r, s.Policy, target)
}

// policiesOfListeners returns the policies that hold for a Gateway or ListenerSet, and for its listeners.
func (t *Tables) policiesOfListeners(r *incr.Reader, source model.Ref) (heldPolicies, bool) {
	out := settle(t.sourceClaims(r, source))
	return out, len(out) > 0
}

// sourceClaims returns the policies that are attached to a Gateway or ListenerSet or to its listeners, whether or not
// they hold.
func (t *Tables) sourceClaims(r *incr.Reader, source model.Ref) []policyClaim {
	var out []policyClaim
	for policy, p := range t.policiesOfSource.Values(r, source) {
		out = appendClaims(out, policy, p, source)
	}
	for _, s := range t.selecting(r, source, func() map[string]string { return t.sourceLabels(r, source) }) {
		out = append(out, policyClaim{heldPolicy{s.Policy.Kind, "", s.Policy.Name}, s.Created})
	}
	return out
}

// sourceLabels returns the labels of a Gateway or ListenerSet.
func (t *Tables) sourceLabels(r *incr.Reader, source model.Ref) map[string]string {
	if source.Kind == model.KindListenerSet {
		if set, ok := incr.Get(r, t.in.sets, source.Name); ok {
			return set.Labels
		}
		return nil
	}
	if own, ok := incr.Get(r, t.ours, source.Name); ok {
		return own.Gateway.Labels
	}
	return nil
}

// holdingPolicy returns the policy of a kind that holds for a listener: its own, that of its ListenerSet, or that of
// its Gateway; and which of them it is attached to.
func (t *Tables) holdingPolicy(
	r *incr.Reader, listener model.ListenerKey, kind string,
) (policy model.Name, at ancestorKey, ok bool) {
	held, _ := incr.Get(r, t.sourcePolicies, listener.Source)
	if name, ok := held.at(kind, listener.Name); ok {
		return name, ancestorKey{Source: listener.Source, Section: listener.Name}, true
	}
	if name, ok := held.at(kind, ""); ok || listener.Source.Kind == model.KindGateway {
		return name, ancestorKey{Source: listener.Source}, ok
	}
	gateway, ok := t.gatewayOf(r, listener.Source)
	if !ok {
		return model.Name{}, ancestorKey{}, false
	}
	whole := gatewayRef(gateway)
	held, _ = incr.Get(r, t.sourcePolicies, whole)
	policy, ok = held.at(kind, "")
	return policy, ancestorKey{Source: whole}, ok
}

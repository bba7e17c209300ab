package resolve

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// ancestorKey is what a status reports a policy to: a Gateway or ListenerSet, or one listener of it.
type ancestorKey struct {
	Source  model.Ref
	Section string
}

// policyUse is what became of a policy at an ancestor. What it comes to is the same for most of its targets, so the
// status of a policy for thousands of routes depends on a handful of these.
type policyUse struct {
	Policy   model.Ref
	Ancestor ancestorKey
	// Gateway is the ancestor, or the Gateway of the ListenerSet that is.
	Gateway model.Name
	// Parent is the policy of the listener that it is merged with there, empty for none.
	Parent model.Name
	// Target is what the policy is attached to, if that is what something is wrong with; else the zero value.
	Target policyTarget
	// Stream is the kind of the route, if it carries connections or packets; else empty.
	Stream string
	// Winner is the policy that holds for Target instead. Without one, Target has no such section.
	Winner model.Name
}

// Compare orders uses by policy and ancestor, then by what is wrong.
func (u policyUse) Compare(o policyUse) int {
	return cmp.Or(u.Policy.Compare(o.Policy), u.Ancestor.Source.Compare(o.Ancestor.Source),
		strings.Compare(u.Ancestor.Section, o.Ancestor.Section), u.Gateway.Compare(o.Gateway),
		u.Parent.Compare(o.Parent), u.Target.Ref.Compare(o.Target.Ref),
		strings.Compare(u.Target.Section, o.Target.Section), strings.Compare(u.Stream, o.Stream), u.Winner.Compare(o.Winner))
}

// displaced says that a more specific policy holds for a part of what a policy is attached to.
type displaced struct {
	Policy   model.Ref
	Ancestor ancestorKey
	// By is that part, Merged whether its policy is merged with the displaced one.
	By     string
	Merged bool
}

func (d displaced) compare(o displaced) int {
	return cmp.Or(d.Policy.Compare(o.Policy), d.Ancestor.Source.Compare(o.Ancestor.Source),
		strings.Compare(d.Ancestor.Section, o.Ancestor.Section), strings.Compare(d.By, o.By))
}

// policyUses are the uses of all policies that are attached to one object, and what they displace.
type policyUses struct {
	Uses      []policyUse
	Displaced []displaced
}

// finish sorts what was found, each once.
func (u *policyUses) finish() *policyUses {
	slices.SortFunc(u.Uses, policyUse.Compare)
	u.Uses = slices.Compact(u.Uses)
	slices.SortFunc(u.Displaced, displaced.compare)
	u.Displaced = slices.Compact(u.Displaced)
	return u
}

// displacedPolicies are the policies that are displaced, for an index.
func (u *policyUses) displacedPolicies() []model.Ref {
	out := make([]model.Ref, 0, len(u.Displaced))
	for _, d := range u.Displaced {
		out = append(out, d.Policy)
	}
	return out
}

// addPolicyUses adds what becomes of policies where they are attached. Objects without policies have no rows.
func (t *Tables) addPolicyUses(e *incr.Engine) {
	ofRoutes := incr.NewTable(e, "policy uses of routes", t.usesOfRoute, t.routePolicies)
	ofSources := incr.NewTable(e, "policy uses of listener sources", t.usesOfSource, t.sourcePolicies)
	byRoute := incr.NewIndex(e, "policy uses by route", ofRoutes,
		func(_ model.RouteKey, u *policyUses) []policyUse { return u.Uses })
	bySource := incr.NewIndex(e, "policy uses by listener source", ofSources,
		func(_ model.Ref, u *policyUses) []policyUse { return u.Uses })
	distinct := incr.NewTable(e, "policy uses", func(*incr.Reader, policyUse) (struct{}, bool) {
		return struct{}{}, true
	}, byRoute, bySource)
	t.addFetches(e, distinct)
	t.usesOfPolicy = incr.NewIndex(e, "uses of policy", distinct, func(u policyUse, _ struct{}) []model.Ref {
		return []model.Ref{u.Policy}
	})
	t.displacedByRoutes = incr.NewIndex(e, "policies displaced by routes", ofRoutes,
		func(_ model.RouteKey, u *policyUses) []model.Ref { return u.displacedPolicies() })
	t.displacedBySources = incr.NewIndex(e, "policies displaced by listeners", ofSources,
		func(_ model.Ref, u *policyUses) []model.Ref { return u.displacedPolicies() })
	t.policyBackends = incr.NewTable(e, "backends of policies", func(r *incr.Reader, ref model.Ref) ([]useKey, bool) {
		fields, ok := incr.Get(r, t.policyFields, ref)
		if !ok || len(fields.Mentions) == 0 {
			return nil, false
		}
		var out []useKey
		for _, use := range t.usesOfPolicy.Keys(r, ref) {
			for _, b := range fields.Mentions {
				out = append(out, useKey{Backend: b.Ref(), Port: b.Port, Gateway: use.Gateway})
			}
		}
		slices.SortFunc(out, useKey.Compare)
		return slices.Compact(out), len(out) > 0
	}, t.envoyPolicies...)
}

// usesOfRoute returns the uses of the policies of a route.
func (t *Tables) usesOfRoute(r *incr.Reader, key model.RouteKey) (*policyUses, bool) {
	held, _ := incr.Get(r, t.routePolicies, key)
	bindings, ok := incr.Get(r, t.Bindings, key)
	if !ok {
		return nil, false
	}
	rules := t.ruleNames(r, key)
	out := &policyUses{}
	claims := t.routeClaims(r, key)
	for _, p := range bindings.Parents {
		at := ancestorKey{Source: p.Source, Section: string(deref(p.Ref.SectionName, ""))}
		for _, claim := range claims {
			use := policyUse{
				Policy: envoyPolicyRef(claim.Kind, claim.Policy), Ancestor: at, Gateway: p.Gateway,
			}
			if isStream(key.Kind) {
				use.Stream = key.Kind
			}
			target := policyTarget{Ref: key.Ref(), Section: claim.Section}
			winner, _ := held.at(claim.Kind, claim.Section)
			switch {
			case winner != claim.Policy:
				use.Target, use.Winner = target, winner
			case claim.Section != "" && !slices.Contains(rules, claim.Section):
				use.Target = target
			default:
				out.place(t, r, use, target, p.Listeners)
				continue
			}
			out.Uses = append(out.Uses, use)
		}
	}
	return out.finish(), len(out.Uses) > 0
}

// place notes the use of a policy that holds for a route or a rule, and what it displaces on the listeners of a parent
// and on the route.
func (u *policyUses) place(
	t *Tables, r *incr.Reader, use policyUse, target policyTarget, listeners []model.ListenerKey,
) {
	kind := use.Policy.Kind
	by := target.Ref.String()
	if target.Section != "" {
		by += "/" + target.Section
		held, _ := incr.Get(r, t.routePolicies, model.RouteKey{Kind: target.Kind, Name: target.Name})
		if whole, ok := held.at(kind, ""); ok && whole != use.Policy.Name {
			u.Displaced = append(u.Displaced, displaced{
				Policy: envoyPolicyRef(kind, whole), Ancestor: use.Ancestor, By: by,
			})
		}
	}
	for _, l := range listeners {
		above, at, ok := t.holdingPolicy(r, l, kind)
		if !ok || above == use.Policy.Name {
			continue
		}
		merged := t.mergedKey(r, kind, use.Policy.Name, t.Above(r, l)).Parent
		u.Displaced = append(u.Displaced, displaced{
			Policy: envoyPolicyRef(kind, above), Ancestor: at, By: by, Merged: merged != (model.Name{}),
		})
		if merged != (model.Name{}) {
			with := use
			with.Parent = merged
			u.Uses = append(u.Uses, with)
		}
	}
	if !slices.ContainsFunc(u.Uses, func(have policyUse) bool {
		return have.Policy == use.Policy && have.Ancestor == use.Ancestor && have.Target == (policyTarget{})
	}) {
		u.Uses = append(u.Uses, use)
	}
}

// ruleNames returns the names of the rules of a route.
func (t *Tables) ruleNames(r *incr.Reader, key model.RouteKey) []string {
	route, ok := incr.Get(r, t.Routes, key)
	if !ok {
		return nil
	}
	var out []string
	for i := range route.Rules {
		if name := route.Rules[i].Name; name != "" {
			out = append(out, name)
		}
	}
	return out
}

// usesOfSource returns the uses of the policies of a Gateway or ListenerSet.
func (t *Tables) usesOfSource(r *incr.Reader, source model.Ref) (*policyUses, bool) {
	held, _ := incr.Get(r, t.sourcePolicies, source)
	gateway, ok := t.gatewayOf(r, source)
	if !ok {
		return nil, false
	}
	sections, _ := incr.Get(r, t.sections, source)
	out := &policyUses{}
	for _, claim := range t.sourceClaims(r, source) {
		use := policyUse{
			Policy: envoyPolicyRef(claim.Kind, claim.Policy), Gateway: gateway,
			Ancestor: ancestorKey{Source: source, Section: claim.Section},
		}
		target := policyTarget{Ref: source, Section: claim.Section}
		winner, _ := held.at(claim.Kind, claim.Section)
		exists := claim.Section == "" || slices.ContainsFunc(sections, func(s section) bool {
			return s.Name == claim.Section
		})
		switch {
		case winner != claim.Policy:
			use.Target, use.Winner = target, winner
		case !exists:
			use.Target = target
		default:
			out.Displaced = append(out.Displaced, t.displacedBySource(r, claim, source, gateway)...)
		}
		out.Uses = append(out.Uses, use)
	}
	return out.finish(), len(out.Uses) > 0
}

// displacedBySource returns the policies that one of a Gateway or ListenerSet displaces: that of the whole, if it is
// one of a listener, and that of the Gateway, if it is one of a ListenerSet.
func (t *Tables) displacedBySource(
	r *incr.Reader, claim policyClaim, source model.Ref, gateway model.Name,
) []displaced {
	var out []displaced
	displace := func(of model.Ref, by string) {
		held, _ := incr.Get(r, t.sourcePolicies, of)
		if whole, ok := held.at(claim.Kind, ""); ok && whole != claim.Policy {
			out = append(out, displaced{
				Policy: envoyPolicyRef(claim.Kind, whole), Ancestor: ancestorKey{Source: of}, By: by,
			})
		}
	}
	by := source.String()
	if claim.Section != "" {
		by = fmt.Sprintf("listener %s of %s", claim.Section, source)
		displace(source, by)
	}
	if source.Kind == model.KindListenerSet {
		displace(gatewayRef(gateway), by)
	}
	return out
}

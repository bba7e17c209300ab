package resolve

import (
	"cmp"
	"slices"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Policed is what the policies of Envoy Gateway ask for a rule of a route, or for a listener.
type Policed struct {
	// Attached is what they ask of features. What cannot be applied is left out.
	Attached []model.Attached
	// Denied, if not empty, is why every request is to be answered with 500: a policy that guards cannot be applied. It
	// is made of letters only, as [model.Fault.Why].
	Denied string
	// Own says that a policy of the route or the rule is among them: else it is what the listener's say.
	Own bool
	// Settings is where the settings of the clusters of the rule's backends come from.
	Settings model.SettingsKey
}

// Policed returns what policies ask for a rule of a route on a listener whose own policies are above. rule is the name
// of the rule, which may be empty. For the zero RouteKey it is what holds for the listener.
//
// Only policies of the kinds are asked, of all if there are none.
func (t *Tables) Policed(
	r *incr.Reader, above model.PolicyStack, route model.RouteKey, rule string, kinds ...string,
) Policed {
	if len(kinds) == 0 {
		kinds = routePolicyKinds
	}
	var held heldPolicies
	if route != (model.RouteKey{}) {
		held, _ = incr.Get(r, t.routePolicies, route)
	}
	var out Policed
	for _, kind := range kinds {
		key := mergedKey{Kind: kind, Own: above.Policy(kind)}
		if own, ok := held.nearest(kind, rule); ok {
			key = t.mergedKey(r, kind, own, above)
			out.Own = true
		}
		if key.Own == (model.Name{}) {
			continue
		}
		fields := t.fieldsOf(r, key)
		list, denied := t.permitted(r, above, fields.Attached)
		out.Attached = append(out.Attached, list...)
		out.Denied = cmp.Or(out.Denied, fields.Denied, denied)
		if kind == model.KindBackendTrafficPolicy {
			out.Settings = t.settingsKey(fields, key)
		}
	}
	var lacking bool
	if out.Attached, lacking = t.place(out.Attached, above.Gear().Places); lacking && out.Denied == "" {
		out.Denied = "NoDatabaseOfPlaces"
	}
	return out
}

// HasPolicies reports whether a policy is attached to a route or one of its rules.
func (t *Tables) HasPolicies(r *incr.Reader, route model.RouteKey) bool {
	held, _ := incr.Get(r, t.routePolicies, route)
	return len(held) > 0
}

// mergedKey returns a policy of a route with the one of the listener that it is merged with.
func (t *Tables) mergedKey(r *incr.Reader, kind string, own model.Name, above model.PolicyStack) mergedKey {
	key := mergedKey{Kind: kind, Own: own}
	if target, ok := incr.Get(r, t.targeting, envoyPolicyRef(kind, own)); ok && target.Merge != "" {
		if parent := above.Policy(kind); parent != own {
			key.Parent = parent
		}
	}
	return key
}

// settingsKey says where the settings for clusters among fields come from. They are those of one policy alone if the
// other has none, so that what shares them shares clusters.
func (t *Tables) settingsKey(fields *policyFields, key mergedKey) model.SettingsKey {
	own, parent := false, false
	for _, a := range fields.Attached {
		if t.opts.Clusters == nil || !t.opts.Clusters(a) {
			continue
		}
		own = own || a.Source.Name == key.Own
		parent = parent || a.Source.Name != key.Own
	}
	switch {
	case own:
		return model.Settings(key.Kind, key.Own, key.Parent, "")
	case parent:
		return model.Settings(key.Kind, key.Parent, model.Name{}, "")
	}
	return model.SettingsKey{}
}

// Settings returns the settings of a cluster: what policies ask of features that shape clusters.
func (t *Tables) Settings(r *incr.Reader, key model.SettingsKey) []model.Attached {
	if key == (model.SettingsKey{}) {
		return nil
	}
	from := mergedKey{Kind: key.Kind(), Own: key.Own(), Parent: key.Parent()}
	list := t.fieldsOf(r, from).Attached
	if key.Path() != "" {
		list = t.inlineSettings(r, from, key.Path())
	}
	return slices.DeleteFunc(slices.Clone(list), func(a model.Attached) bool {
		return t.opts.Clusters == nil || !t.opts.Clusters(a)
	})
}

// inlineSettings returns the settings beside the backend reference at a field of a policy.
func (t *Tables) inlineSettings(r *incr.Reader, from mergedKey, path string) []model.Attached {
	list, err := t.mergedFields(r, from)
	if err != nil || t.opts.References == nil {
		return nil
	}
	for _, a := range list {
		for _, ref := range t.opts.References(a) {
			if ref.Path != path || ref.Settings == nil {
				continue
			}
			v := &fieldResolver{t: t, r: r, key: from}
			settings := settingsOf(ref, a.Source)
			v.check(settings)
			return slices.DeleteFunc(settings, func(a model.Attached) bool { return a.Broken })
		}
	}
	return nil
}

// Above returns the policies that hold for a listener.
func (t *Tables) Above(r *incr.Reader, listener model.ListenerKey) model.PolicyStack {
	out, _ := incr.Get(r, t.stacks, listener)
	return out
}

// PoliciesOf returns the policies that held for a route, one of its rules or its listeners as of the last commit. One
// that is merged with another is among them with that.
func (t *Tables) PoliciesOf(route model.RouteKey) []model.Ref {
	var out []model.Ref
	held, _ := t.routePolicies.Peek(route)
	for _, h := range held {
		out = append(out, envoyPolicyRef(h.Kind, h.Policy))
	}
	bindings, _ := t.Bindings.Peek(route)
	for _, b := range bindings.Bound {
		for _, kind := range routePolicyKinds {
			if name := b.Above.Policy(kind); name != (model.Name{}) {
				out = append(out, envoyPolicyRef(kind, name))
			}
		}
	}
	return out
}

// PoliciesOn returns the policies that are attached to a listener, its ListenerSet or its Gateway as of the last
// commit, whether they hold for it or another one is in their place.
func (t *Tables) PoliciesOn(listener model.ListenerKey) []model.Ref {
	sources := []model.Ref{listener.Source}
	if set, ok := t.setParents.Peek(listener.Source.Name); ok && listener.Source.Kind == model.KindListenerSet {
		sources = append(sources, gatewayRef(set.Gateway))
	}
	var out []model.Ref
	for _, source := range sources {
		held, _ := t.sourcePolicies.Peek(source)
		for _, h := range held {
			if h.Section == "" || h.Section == listener.Name {
				out = append(out, envoyPolicyRef(h.Kind, h.Policy))
			}
		}
	}
	return out
}

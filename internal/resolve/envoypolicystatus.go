package resolve

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// maxNamed is how many objects a message names, so that it can be read.
const maxNamed = 16

// envoyPolicyStatus is the status of a policy of Envoy Gateway: an ancestor for each Gateway or ListenerSet that it is
// attached to, or that its routes are.
func (t *Tables) envoyPolicyStatus(r *incr.Reader, ref model.Ref) (status.Policy, bool) {
	p, ok := t.envoyPolicy(r, ref)
	if !ok {
		return status.Policy{}, false
	}
	out := status.Policy{Generation: p.Meta.Generation, Attached: true}
	out.Report = t.unattached(r, ref)
	fields, _ := incr.Get(r, t.policyFields, ref)
	out.Report = append(out.Report, fields.Report...)
	over := t.displacedOf(r, ref)
	for uses := range byAncestor(t.usesOfPolicy.Keys(r, ref)) {
		if a, ok := t.policyAncestor(r, uses); ok {
			a.Overridden, a.Merged = over.messages(ref.Kind, uses[0].Ancestor, a.Merged)
			out.Ancestors = append(out.Ancestors, a)
		}
	}
	return out, true
}

// byAncestor iterates over the uses of a policy, which are sorted, in groups of one ancestor.
func byAncestor(uses []policyUse) iter.Seq[[]policyUse] {
	return func(yield func([]policyUse) bool) {
		for len(uses) > 0 {
			n := 1
			for n < len(uses) && uses[n].Ancestor == uses[0].Ancestor {
				n++
			}
			if !yield(uses[:n]) {
				return
			}
			uses = uses[n:]
		}
	}
}

// policyAncestor says what became of a policy at one ancestor: all uses are of that.
func (t *Tables) policyAncestor(r *incr.Reader, uses []policyUse) (status.Ancestor, bool) {
	at := uses[0].Ancestor
	controller, ok := incr.Get(r, t.controllers, uses[0].Gateway)
	out := status.Ancestor{Controller: gwv1.GatewayController(controller), Ref: sourceParent(at)}
	issue := func(reason gwv1.PolicyConditionReason, path, format string, args ...any) {
		out.Report = append(out.Report, status.Issue{
			Object: uses[0].Policy, Condition: status.Accepted, Reason: string(reason), Path: path,
			Message: fmt.Sprintf(format, args...),
		})
	}
	var merged []string
	for _, use := range uses {
		kind := use.Policy.Kind
		switch {
		case use.Winner != (model.Name{}):
			issue(gwv1.PolicyReasonConflicted, "",
				"%s %s is attached to %s too and comes first: it is older, or its name is before",
				kind, use.Winner, use.Target.describe())
		case use.Target != (policyTarget{}):
			issue(gwv1.PolicyReasonTargetNotFound, "", "%s has no listener or rule named %s",
				use.Target.Ref, use.Target.Section)
		case use.Parent != (model.Name{}):
			merged = append(merged, use.Parent.String())
			both := t.fieldsOf(r, mergedKey{Kind: kind, Own: use.Policy.Name, Parent: use.Parent})
			out.Report = append(out.Report, both.Report...)
		}
		if use.Target == (policyTarget{}) {
			out.Report = append(out.Report, t.unregistered(r, use)...)
		}
		if kind == model.KindClientTrafficPolicy && use.Target == (policyTarget{}) {
			out.Report = append(out.Report, t.unfitForListeners(r, use)...)
		}
		if use.Stream != "" && use.Target == (policyTarget{}) {
			out.Report = append(out.Report, t.unfitForStreams(r, use)...)
		}
		if use.Stream == "" && use.Target == (policyTarget{}) {
			out.Report = append(out.Report, t.unplaced(r, use)...)
		}
	}
	if len(merged) > 0 {
		out.Merged = fmt.Sprintf("Merged with policy %s", strings.Join(merged, ", "))
	}
	return out, ok
}

// describe names a target in a message.
func (p policyTarget) describe() string {
	if p.Section == "" {
		return p.Ref.String()
	}
	return fmt.Sprintf("%s of %s", p.Section, p.Ref)
}

// sourceParent is a Gateway or ListenerSet, or a listener of it, as statuses refer to it.
func sourceParent(at ancestorKey) gwv1.ParentReference {
	out := gatewayParent(at.Source.Name)
	kind := gwv1.Kind(at.Source.Kind)
	out.Kind = &kind
	if at.Section != "" {
		section := gwv1.SectionName(at.Section)
		out.SectionName = &section
	}
	return out
}

// unattached returns an issue for each target of a policy that does not exist, or cannot be a target, and for each
// selector that is not valid.
func (t *Tables) unattached(r *incr.Reader, ref model.Ref) status.Report {
	targets, _ := incr.Get(r, t.targeting, ref)
	return t.misses(r, ref, targets, func(target model.Ref) string {
		if isRoute(target) && fitsRoutes(ref.Kind) || isListenerSource(target) {
			return ""
		}
		return fmt.Sprintf("A %s cannot be attached to a %s of group %q", ref.Kind, target.Kind, target.Group)
	})
}

// misses returns an issue for each target of a policy that does not exist, or cannot be a target, and for each selector
// that is not valid. refused says why an object cannot be a target, "" if it can.
func (t *Tables) misses(
	r *incr.Reader, policy model.Ref, targets *targeting, refused func(model.Ref) string,
) status.Report {
	var out status.Report
	issue := func(reason gwv1.PolicyConditionReason, path, message string) {
		out = append(out, status.Issue{
			Object: policy, Condition: status.Accepted, Reason: string(reason), Path: path, Message: message,
		})
	}
	for i, target := range targets.Targets {
		path := fmt.Sprintf("spec.targetRefs[%d]", i)
		if why := refused(target.Ref); why != "" {
			issue(gwv1.PolicyReasonInvalid, path, why)
		} else if !t.exists(r, target.Ref) {
			issue(gwv1.PolicyReasonTargetNotFound, path, fmt.Sprintf("%s does not exist", target.Ref))
		}
	}
	for _, s := range targets.Selectors {
		if s.Problem != "" {
			issue(gwv1.PolicyReasonInvalid, fmt.Sprintf("spec.targetSelectors[%d]", s.Index), s.Problem)
		}
	}
	return out
}

// exists says whether there is a Gateway, ListenerSet or route, ours or not.
func (t *Tables) exists(r *incr.Reader, ref model.Ref) bool {
	var ok bool
	switch ref.Kind {
	case model.KindGateway:
		_, ok = incr.Get(r, t.in.gateways, ref.Name)
	case model.KindListenerSet:
		_, ok = incr.Get(r, t.in.sets, ref.Name)
	default:
		_, ok = t.routeObject(r, model.RouteKey{Kind: ref.Kind, Name: ref.Name})
	}
	return ok
}

// displacements are the parts of its targets for which a policy does not hold, or not alone.
type displacements []displaced

func (t *Tables) displacedOf(r *incr.Reader, policy model.Ref) displacements {
	var out displacements
	add := func(u *policyUses) {
		for _, d := range u.Displaced {
			if d.Policy == policy {
				out = append(out, d)
			}
		}
	}
	for _, u := range t.displacedBySources.Values(r, policy) {
		add(u)
	}
	for _, u := range t.displacedByRoutes.Values(r, policy) {
		add(u)
	}
	slices.SortFunc(out, displaced.compare)
	return slices.Compact(out)
}

// messages say what displaces a policy at an ancestor, and what is merged with it there; empty for nothing.
func (d displacements) messages(kind string, at ancestorKey, with string) (overridden, merged string) {
	var over, into []string
	for _, one := range d {
		switch {
		case one.Ancestor != at:
		case one.Merged:
			into = append(into, one.By)
		default:
			over = append(over, one.By)
		}
	}
	merged = with
	if len(into) > 0 {
		merged = fmt.Sprintf("This policy is being merged by other %s for %s", plural(kind), enumerate(into))
	}
	if len(over) > 0 {
		overridden = fmt.Sprintf("This policy is being overridden by other %s for %s", plural(kind), enumerate(over))
	}
	return overridden, merged
}

// plural is how Envoy Gateway's statuses call policies of a kind.
func plural(kind string) string {
	return strings.ToLower(kind[:1]) + strings.TrimSuffix(kind[1:], "y") + "ies"
}

// enumerate joins names, the first ones of many.
func enumerate(names []string) string {
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > maxNamed {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
	}
	return strings.Join(names, ", ")
}

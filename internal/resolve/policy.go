package resolve

import (
	"cmp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// policyTarget is what a policy is attached to: an object, or a section of it.
type policyTarget struct {
	model.Ref
	// Section is the name of a listener, a rule or a port, as the kind of the object has it; empty for the whole object.
	Section string
}

// localTarget is the target of a targetRef, which is always in the policy's own namespace.
func localTarget(ref gwv1.LocalPolicyTargetReferenceWithSectionName, namespace string) policyTarget {
	return policyTarget{
		Ref: model.Ref{
			Group: string(ref.Group), Kind: string(ref.Kind),
			Name: model.Name{Namespace: namespace, Name: string(ref.Name)},
		},
		Section: string(deref(ref.SectionName, "")),
	}
}

// policyObject is what a kind of policy has to be for [attachPolicies].
type policyObject interface {
	GetCreationTimestamp() metav1.Time
}

// attachedPolicies say which policies of one kind hold for which objects.
type attachedPolicies struct {
	holders *incr.Table[model.Ref, holders]
}

// holder is the policy that holds for a section of an object.
type holder struct {
	// Section is empty for the policy of the whole object.
	Section string
	Policy  model.Name
}

// holders are the policies that hold for an object and its sections, one for each section, sorted by section.
type holders []holder

// at returns the policy that holds for exactly a section.
func (h holders) at(section string) (model.Name, bool) {
	i, ok := slices.BinarySearchFunc(h, section, func(x holder, section string) int {
		return strings.Compare(x.Section, section)
	})
	if !ok {
		return model.Name{}, false
	}
	return h[i].Policy, true
}

// attachPolicies adds the tables that attach one kind of policy to the targets that each policy names. Where several
// name the same section of an object the oldest holds, then the one whose name comes first (GEP-713, "Conflict
// Resolution").
func attachPolicies[P policyObject](
	e *incr.Engine, kind string, in *incr.Input[model.Name, P], targets func(model.Name, P) []policyTarget,
) attachedPolicies {
	byTarget := incr.NewIndex(e, kind+" targets", in, func(name model.Name, p P) []model.Ref {
		var out []model.Ref
		for _, target := range targets(name, p) {
			out = append(out, target.Ref)
		}
		return out
	})
	hold := func(r *incr.Reader, key model.Ref) (holders, bool) {
		type claim struct {
			holder
			created metav1.Time
		}
		var claims []claim
		for name, p := range byTarget.Values(r, key) {
			for _, target := range targets(name, p) {
				if target.Ref == key {
					claims = append(claims, claim{holder{target.Section, name}, p.GetCreationTimestamp()})
				}
			}
		}
		slices.SortFunc(claims, func(a, b claim) int {
			return cmp.Or(strings.Compare(a.Section, b.Section), a.created.Compare(b.created.Time), a.Policy.Compare(b.Policy))
		})
		var out holders
		for _, c := range claims {
			if len(out) == 0 || out[len(out)-1].Section != c.Section {
				out = append(out, c.holder)
			}
		}
		return out, len(out) > 0
	}
	return attachedPolicies{holders: incr.NewTable(e, kind+" holders", hold, byTarget)}
}

// useKey says that routes of a Gateway send requests to a backend. It is what makes the Gateway an ancestor of the
// policies of that backend.
type useKey struct {
	Backend model.Ref
	// Port is that of a Service, 0 for other backends.
	Port    uint16
	Gateway model.Name
}

// Compare orders uses by backend, port and Gateway.
func (k useKey) Compare(o useKey) int {
	return cmp.Or(k.Backend.Compare(o.Backend), cmp.Compare(k.Port, o.Port), k.Gateway.Compare(o.Gateway))
}

// uses are the uses that a route makes of the backends that it mentions, each once.
func uses(mentions []model.BackendKey, parents []ParentOutcome) []useKey {
	var out []useKey
	for _, p := range parents {
		if p.Reason != "" {
			continue
		}
		for _, b := range mentions {
			out = append(out, useKey{Backend: b.Ref(), Port: b.Port, Gateway: p.Gateway})
		}
	}
	slices.SortFunc(out, useKey.Compare)
	return slices.Compact(out)
}

// listenerUses are the uses that the listeners of a Gateway make of backends themselves.
func listenerUses(gateway model.Name, listeners []model.Listener) []useKey {
	var out []useKey
	for i := range listeners {
		for _, b := range listenerBackends(&listeners[i]) {
			out = append(out, useKey{Backend: b.Ref(), Port: b.Port, Gateway: gateway})
		}
	}
	return out
}

// listenerBackends returns the backends that a listener refers to itself.
func listenerBackends(l *model.Listener) []model.BackendKey { return attachedBackends(l.Filters) }

// attachedBackends returns the backends of configuration, as the model has them.
func attachedBackends(list []model.Attached) []model.BackendKey {
	var out []model.BackendKey
	for _, a := range list {
		for _, b := range a.Backends {
			if b != (model.BackendKey{}) {
				out = append(out, b.Shared())
			}
		}
	}
	return out
}

// addUses adds the index of who uses a backend. It changes only when a Gateway starts or stops using one, not with each
// route that does.
func (t *Tables) addUses(e *incr.Engine) {
	byUse := incr.NewIndex(e, "backend use keys", t.Bindings, func(_ model.RouteKey, b Bindings) []useKey {
		return b.uses
	})
	byGateway := incr.NewIndex(e, "backends of gateways", t.Gateways, func(key model.Name, gw Gateway) []useKey {
		return listenerUses(key, gw.Listeners)
	})
	bySet := incr.NewIndex(e, "backends of listenersets", t.ListenerSets, func(_ model.Name, s ListenerSet) []useKey {
		return listenerUses(s.Gateway, s.Listeners)
	})
	byPolicy := incr.NewIndex(e, "backends of gateway policies", t.GatewayPolicies,
		func(key model.Name, list []model.Attached) []useKey {
			var out []useKey
			for _, b := range attachedBackends(list) {
				out = append(out, useKey{Backend: b.Ref(), Port: b.Port, Gateway: key})
			}
			return out
		})
	byFields := incr.NewIndex(e, "backends of policy fields", t.policyBackends,
		func(_ model.Ref, uses []useKey) []useKey { return uses })
	used := incr.NewTable(e, "backend uses", func(*incr.Reader, useKey) (struct{}, bool) {
		return struct{}{}, true
	}, byUse, byGateway, bySet, byPolicy, byFields)
	t.uses = incr.NewIndex(e, "uses of backend", used, func(k useKey, _ struct{}) []model.Ref {
		return []model.Ref{k.Backend}
	})
}

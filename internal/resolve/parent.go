package resolve

import (
	"slices"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Parent is a parent of a route: one of our Gateways, or a ListenerSet of one.
type Parent struct {
	// Index of the parentRef in the spec; -1 for a default Gateway that the route does not name.
	Index int
	// Ref is the parentRef as written, or as it would be for a default Gateway.
	Ref gwv1.ParentReference
	// Source is the Gateway or ListenerSet, Gateway the Gateway or that of the ListenerSet.
	Source     model.Ref
	Gateway    model.Name
	Controller string
	// Default is set if the Gateway is a parent because it is a default Gateway.
	Default bool
}

// name is what messages call the parent.
func (p *Parent) name() string { return p.Source.Kind + " " + p.Source.Name.String() }

// scope is a scope of default Gateways.
type scope gwv1.GatewayDefaultScope

// Compare orders scopes by name.
func (s scope) Compare(o scope) int { return strings.Compare(string(s), string(o)) }

// isDefault says whether a Gateway is a default Gateway.
func isDefault(gw *gwv1.Gateway) bool { return defaultScope(gw.Spec.DefaultScope) }

// defaultScope says whether a scope is one of default Gateways: None, which is the same as nothing, is not.
func defaultScope(s gwv1.GatewayDefaultScope) bool {
	return s != "" && s != gwv1.GatewayDefaultScopeNone
}

func (t *Tables) addDefaults(e *incr.Engine) {
	t.defaults = incr.NewIndex(e, "default gateways", t.ours, func(_ model.Name, own *ownGateway) []scope {
		if !isDefault(own.Gateway) {
			return nil
		}
		return []scope{scope(own.Gateway.Spec.DefaultScope)}
	})
}

// parents returns the parents of a route that are ours; other parentRefs are nobody's business here.
func (t *Tables) parents(r *incr.Reader, key model.RouteKey, spec *gwv1.CommonRouteSpec) []Parent {
	var out []Parent
	for i, ref := range spec.ParentRefs {
		if deref(ref.Group, gwv1.GroupName) != gwv1.GroupName {
			continue
		}
		name := model.Name{Namespace: string(deref(ref.Namespace, gwv1.Namespace(key.Namespace))), Name: string(ref.Name)}
		switch deref(ref.Kind, model.KindGateway) {
		case model.KindGateway:
			if controller, ok := incr.Get(r, t.controllers, name); ok {
				out = append(out, Parent{Index: i, Ref: ref, Source: gatewayRef(name), Gateway: name, Controller: controller})
			}
		case model.KindListenerSet:
			if set, ok := incr.Get(r, t.setParents, name); ok {
				out = append(out, Parent{
					Index: i, Ref: ref, Source: setRef(name), Gateway: set.Gateway, Controller: set.Controller,
				})
			}
		}
	}
	return append(out, t.defaultParents(r, spec, out)...)
}

// defaultParents returns the default Gateways that a route asks for, but for those that it names as a whole anyway. A
// route that names one listener of a default Gateway is attached to all of them: it is as if it named the Gateway too
// (GEP-3793).
func (t *Tables) defaultParents(r *incr.Reader, spec *gwv1.CommonRouteSpec, named []Parent) []Parent {
	if !defaultScope(spec.UseDefaultGateways) {
		return nil
	}
	var out []Parent
	group, kind := gwv1.Group(model.GroupGateway), gwv1.Kind(model.KindGateway)
	for _, name := range t.defaults.Keys(r, scope(spec.UseDefaultGateways)) {
		source := gatewayRef(name)
		if slices.ContainsFunc(named, func(p Parent) bool {
			return p.Source == source && deref(p.Ref.SectionName, "") == "" && deref(p.Ref.Port, 0) == 0
		}) {
			continue
		}
		controller, _ := incr.Get(r, t.controllers, name)
		namespace := gwv1.Namespace(name.Namespace)
		out = append(out, Parent{
			Index: -1, Source: source, Gateway: name, Controller: controller, Default: true,
			Ref: gwv1.ParentReference{
				Group: &group, Kind: &kind, Namespace: &namespace, Name: gwv1.ObjectName(name.Name),
			},
		})
	}
	return out
}

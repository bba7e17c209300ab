package pipeline

import (
	"fmt"
	"maps"
	"slices"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1a1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/status"
)

// strays are the objects that refer to no Gateway, ListenerSet or GatewayClass that is there. In a cluster these are
// another controller's business and get no status. Where there is no other controller, nothing would ever say that they
// do nothing: they are reported as issues, though they still get no status.
type strays map[model.Ref]status.Report

// update looks at the objects of a batch again and, if a possible parent is among them, at all strays. It adds what
// is new or mended to out.
func (s strays) update(p *Pipeline, touched []model.Ref, out *Outcome) {
	look := map[model.Ref]bool{}
	parents := false
	for _, ref := range touched {
		look[ref] = true
		switch ref.Kind {
		case model.KindGateway, model.KindGatewayClass, model.KindListenerSet:
			parents = true
		}
	}
	if parents {
		for ref := range s {
			look[ref] = true
		}
		for _, ref := range p.orphans() {
			look[ref] = true
		}
	}
	for ref := range p.resolved.Policies.Changes() {
		look[ref] = true
	}
	for _, ref := range slices.SortedFunc(maps.Keys(look), model.Ref.Compare) {
		before, after := s[ref], p.stray(ref)
		delete(s, ref)
		if len(after) > 0 {
			s[ref] = after
		}
		for _, i := range after {
			if !slices.Contains(before, i) {
				out.Issues = append(out.Issues, i)
			}
		}
		for _, i := range before {
			if !slices.Contains(after, i) {
				out.Fixed = append(out.Fixed, i)
			}
		}
	}
}

// orphans are the routes, Gateways and ListenerSets whose status the last commit took away.
func (p *Pipeline) orphans() []model.Ref {
	var out []model.Ref
	for key, c := range p.resolved.RouteStatus.Changes() {
		if !c.Has {
			out = append(out, key.Ref())
		}
	}
	for name, c := range p.resolved.GatewayStatus.Changes() {
		if !c.Has {
			out = append(out, gatewayRef(name))
		}
	}
	for name, c := range p.resolved.ListenerSetStatus.Changes() {
		if !c.Has {
			out = append(out, setRef(name))
		}
	}
	return out
}

// stray returns what is wrong with the parents of an object, nothing for kinds that have none.
func (p *Pipeline) stray(ref model.Ref) status.Report {
	obj, ok := p.store.Get(ref)
	if !ok {
		return nil
	}
	issue := newIssue(func(path, format string, args ...any) status.Report {
		return status.Report{{
			Object: ref, Condition: status.Accepted, Reason: string(gwv1.RouteReasonNoMatchingParent), Path: path,
			Message: fmt.Sprintf(format, args...),
		}}
	})
	switch o := obj.(type) {
	case *gwv1.Gateway:
		class := classRef(model.Name{Name: string(o.Spec.GatewayClassName)})
		if found, ok := p.store.Get(class); !ok {
			return issue("spec.gatewayClassName", "There is no GatewayClass %q: use sluice, or write it", class.Name)
		} else if controller := found.(*gwv1.GatewayClass).Spec.ControllerName; !slices.Contains(
			p.opts.Controllers, string(controller)) {
			return issue("spec.gatewayClassName", "GatewayClass %q is another controller's (%s): use sluice",
				class.Name, controller)
		}
	case *gwv1.ListenerSet:
		parent := o.Spec.ParentRef
		return p.strayParent(ref, gwv1.ParentReference{
			Group: parent.Group, Kind: parent.Kind, Namespace: parent.Namespace, Name: parent.Name,
		}, "spec.parentRef", issue)
	case *gwv1.BackendTLSPolicy, *gwxv1a1.XBackendTrafficPolicy, *gwxv1a1.XTelemetryPolicy,
		*egv1a1.ClientTrafficPolicy, *egv1a1.BackendTrafficPolicy, *egv1a1.SecurityPolicy, *egv1a1.EnvoyExtensionPolicy,
		*egv1a1.EnvoyPatchPolicy, *resource.Extension:
		// Without an ancestor no status can say what is wrong with it.
		if policy, ok := p.resolved.Policies.Peek(ref); ok && len(policy.Status.Ancestors) == 0 {
			return policy.Report
		}
	case *gwv1.HTTPRoute:
		return p.strayParents(ref, &o.Spec.CommonRouteSpec, issue)
	case *gwv1.GRPCRoute:
		return p.strayParents(ref, &o.Spec.CommonRouteSpec, issue)
	case *gwv1.TLSRoute:
		return p.strayParents(ref, &o.Spec.CommonRouteSpec, issue)
	case *gwv1.TCPRoute:
		return p.strayParents(ref, &o.Spec.CommonRouteSpec, issue)
	case *gwv1.UDPRoute:
		return p.strayParents(ref, &o.Spec.CommonRouteSpec, issue)
	}
	return nil
}

// newIssue makes an issue with a field of an object.
type newIssue func(path, format string, args ...any) status.Report

// strayParents returns what is wrong with the parents of a route.
func (p *Pipeline) strayParents(ref model.Ref, spec *gwv1.CommonRouteSpec, issue newIssue) status.Report {
	if len(spec.ParentRefs) == 0 {
		route := model.RouteKey{Kind: ref.Kind, Name: ref.Name}
		if _, served := p.resolved.Routes.Peek(route); served {
			return nil // by default Gateways
		}
		if scope := spec.UseDefaultGateways; scope != "" && scope != gwv1.GatewayDefaultScopeNone {
			return issue("spec.useDefaultGateways", "There is no default Gateway, so the route serves nothing: "+
				"write spec.defaultScope: %s in a Gateway, or name a Gateway in parentRefs", scope)
		}
		return issue("spec.parentRefs", "The route names no Gateway, so it serves nothing: add a parentRef")
	}
	var out status.Report
	for i, parent := range spec.ParentRefs {
		out = append(out, p.strayParent(ref, parent, fmt.Sprintf("spec.parentRefs[%d]", i), issue)...)
	}
	return out
}

// strayParent returns what is wrong with a parentRef: a ListenerSet has a Gateway as its parent, a route either.
func (p *Pipeline) strayParent(
	ref model.Ref, parent gwv1.ParentReference, path string, issue newIssue,
) status.Report {
	to := gatewayRef(model.Name{Namespace: ref.Namespace, Name: string(parent.Name)})
	if parent.Namespace != nil {
		to.Namespace = string(*parent.Namespace)
	}
	if parent.Kind != nil {
		to.Kind = string(*parent.Kind)
	}
	switch {
	case to.Kind == model.KindGateway, to.Kind == model.KindListenerSet && ref.Kind != model.KindListenerSet:
	case ref.Kind == model.KindListenerSet:
		return issue(path+".kind", "A %s cannot be the parent of a ListenerSet: use a Gateway", to.Kind)
	default:
		return issue(path+".kind", "Parents of kind %s are not supported: use a Gateway or a ListenerSet", to.Kind)
	}
	if _, ok := p.store.Get(to); !ok {
		return issue(path, "There is no %s %s", to.Kind, to.Name)
	}
	return nil
}

// refs are the references of a batch.
func refs(set []source.Object, remove []model.Ref) []model.Ref {
	out := slices.Clone(remove)
	for _, o := range set {
		out = append(out, o.Ref)
	}
	return out
}

package pipeline

import (
	"fmt"
	"maps"
	"slices"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/status"
)

// strays are the objects that refer to no Gateway or GatewayClass that is there. In a cluster these are another
// controller's business and get no status. Where there is no other controller, nothing would ever say that they do
// nothing: they are reported as issues, though they still get no status.
type strays map[model.Ref]status.Report

// update looks at the objects of a batch again and, if a Gateway or a class is among them, at all strays. It adds what
// is new or mended to out.
func (s strays) update(p *Pipeline, touched []model.Ref, out *Outcome) {
	look := map[model.Ref]bool{}
	parents := false
	for _, ref := range touched {
		look[ref] = true
		parents = parents || ref.Kind == model.KindGateway || ref.Kind == model.KindGatewayClass
	}
	if parents {
		for ref := range s {
			look[ref] = true
		}
		for _, ref := range p.orphans() {
			look[ref] = true
		}
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

// orphans are the routes and Gateways whose status the last commit took away.
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
	return out
}

// stray returns what is wrong with the parents of an object, nothing for kinds that have none.
func (p *Pipeline) stray(ref model.Ref) status.Report {
	obj, ok := p.store.Get(ref)
	if !ok {
		return nil
	}
	issue := func(path, format string, args ...any) status.Report {
		return status.Report{{
			Object: ref, Condition: status.Accepted, Reason: string(gwv1.RouteReasonNoMatchingParent), Path: path,
			Message: fmt.Sprintf(format, args...),
		}}
	}
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
	case *gwv1.HTTPRoute:
		return p.strayParents(ref, o.Spec.ParentRefs, issue)
	case *gwv1.GRPCRoute:
		return p.strayParents(ref, o.Spec.ParentRefs, issue)
	}
	return nil
}

func (p *Pipeline) strayParents(
	ref model.Ref, parents []gwv1.ParentReference, issue func(path, format string, args ...any) status.Report,
) status.Report {
	if len(parents) == 0 {
		return issue("spec.parentRefs", "The route names no Gateway, so it serves nothing: add a parentRef")
	}
	var out status.Report
	for i, parent := range parents {
		path := fmt.Sprintf("spec.parentRefs[%d]", i)
		if parent.Kind != nil && *parent.Kind != model.KindGateway {
			out = append(out, issue(path+".kind", "Parents of kind %s are not supported: use a Gateway", *parent.Kind)...)
			continue
		}
		gateway := model.Name{Namespace: ref.Namespace, Name: string(parent.Name)}
		if parent.Namespace != nil {
			gateway.Namespace = string(*parent.Namespace)
		}
		if _, ok := p.store.Get(gatewayRef(gateway)); !ok {
			out = append(out, issue(path, "There is no Gateway %s", gateway)...)
		}
	}
	return out
}

// refs are the references of a batch.
func refs(set []source.Object, remove []model.Ref) []model.Ref {
	out := slices.Clone(remove)
	for _, o := range set {
		out = append(out, o.Ref)
	}
	return out
}

package kube

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
)

// inventory is what routes can refer to, as it was last read. Objects are those that the stores know, not copies.
type inventory struct {
	services map[model.Name]*corev1.Service
	// slices are the EndpointSlices of a Service.
	slices map[model.Name][]*discoveryv1.EndpointSlice
	// grants are the ReferenceGrants of a namespace.
	grants map[string][]*gwv1.ReferenceGrant
	// others are the other backends.
	others map[model.Ref]struct{}
}

func newInventory() *inventory {
	return &inventory{
		services: map[model.Name]*corev1.Service{}, slices: map[model.Name][]*discoveryv1.EndpointSlice{},
		grants: map[string][]*gwv1.ReferenceGrant{}, others: map[model.Ref]struct{}{},
	}
}

// set takes in that an object came, changed or went: one of before and now may be nil. It returns what may be lacking
// no longer, as [inventory.lacking] names it.
func (i *inventory) set(ref model.Ref, before, now resource.Object) []model.Ref {
	switch {
	case ref.Group == model.GroupCore && ref.Kind == model.KindService:
		if svc, ok := now.(*corev1.Service); ok {
			i.services[ref.Name] = svc
		} else {
			delete(i.services, ref.Name)
		}
		return []model.Ref{ref}
	case ref.Group == model.GroupDiscovery && ref.Kind == model.KindEndpointSlice:
		old, from := sliceOf(before)
		s, to := sliceOf(now)
		exchange(i.slices, from, to, old, s)
		return []model.Ref{{Kind: model.KindService, Name: to}}
	case ref.Group == model.GroupGateway && ref.Kind == model.KindReferenceGrant:
		old, _ := before.(*gwv1.ReferenceGrant)
		g, _ := now.(*gwv1.ReferenceGrant)
		exchange(i.grants, ref.Namespace, ref.Namespace, old, g)
		return []model.Ref{grantsRef(ref.Namespace)}
	case isOtherBackend(ref):
		if now != nil {
			i.others[ref] = struct{}{}
		} else {
			delete(i.others, ref)
		}
		return []model.Ref{ref}
	}
	return nil
}

// exchange replaces an object by another, which may belong elsewhere. Either may be nil.
func exchange[K, V comparable](lists map[K][]V, from, to K, old, now V) {
	var none V
	if old != none {
		list := lists[from]
		if at := slices.Index(list, old); at >= 0 {
			list = slices.Delete(list, at, at+1)
		}
		if lists[from] = list; len(list) == 0 {
			delete(lists, from)
		}
	}
	if now != none {
		lists[to] = append(lists[to], now)
	}
}

func isOtherBackend(ref model.Ref) bool {
	return ref.Group == model.GroupEnvoyGateway && ref.Kind == model.KindBackend ||
		ref.Group == model.GroupGatewayX && ref.Kind == model.KindXBackend
}

// sliceOf returns an EndpointSlice and its Service; nil if it is none, or of no Service.
func sliceOf(obj resource.Object) (*discoveryv1.EndpointSlice, model.Name) {
	s, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok || s.Labels[discoveryv1.LabelServiceName] == "" {
		return nil, model.Name{}
	}
	return s, model.Name{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
}

// grantsRef stands for all ReferenceGrants of a namespace.
func grantsRef(namespace string) model.Ref {
	return model.Ref{
		Group: model.GroupGateway, Kind: model.KindReferenceGrant, Name: model.Name{Namespace: namespace},
	}
}

// lacking says what a route's references to backends lack that may yet be on its way: the first of it, a Service, with
// or without its slices, another backend, or the ReferenceGrants of a namespace. What can never become right lacks
// nothing.
func (i *inventory) lacking(from model.Ref, refs []resource.BackendRef) (model.Ref, bool) {
	for _, ref := range refs {
		service := ref.To.Group == model.GroupCore && ref.To.Kind == model.KindService
		switch {
		case !service && !isOtherBackend(ref.To):
		case !i.granted(from, ref.To):
			return grantsRef(ref.To.Namespace), true
		case service && i.lacksService(ref):
			return ref.To, true
		case !service:
			if _, ok := i.others[ref.To]; !ok {
				return ref.To, true
			}
		}
	}
	return model.Ref{}, false
}

func (i *inventory) granted(from, to model.Ref) bool {
	if from.Namespace == to.Namespace {
		return true
	}
	permitting := resource.Permitting(from, to)
	return slices.ContainsFunc(i.grants[to.Namespace], func(g *gwv1.ReferenceGrant) bool {
		return slices.ContainsFunc(resource.Grants(g), func(grant resource.Grant) bool {
			return grant == permitting[0] || grant == permitting[1]
		})
	})
}

// lacksService says whether a Service, its port, or what tells of the endpoints of that port, is not there.
//
// Kubernetes' own controller makes a slice for every Service with a selector, if only one without endpoints. One with
// endpoints but without the port was made before the Service got the port.
func (i *inventory) lacksService(ref resource.BackendRef) bool {
	svc, ok := i.services[ref.To.Name]
	if !ok {
		return true
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return false
	}
	return !slices.ContainsFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool {
		return p.Port == int32(ref.Port) && slices.ContainsFunc(i.slices[ref.To.Name],
			func(s *discoveryv1.EndpointSlice) bool { return len(s.Endpoints) == 0 || hasPort(s, p.Name) })
	})
}

func hasPort(s *discoveryv1.EndpointSlice, name string) bool {
	return slices.ContainsFunc(s.Ports, func(p discoveryv1.EndpointPort) bool {
		return p.Name == nil && name == "" || p.Name != nil && *p.Name == name
	})
}

// Package routing is the field routingType of a BackendTrafficPolicy and of an EnvoyProxy: whether requests for a
// Service are sent to its endpoints (Endpoint, the default), or to its own address, its ClusterIP (Service), from where
// Kubernetes passes them on. What a policy says comes before what the EnvoyProxy does.
//
// The cluster's only endpoint is then that address, so load balancing and health checks have nothing to choose from. A
// headless Service has no address, and other kinds of backends have none: requests for them go to their endpoints.
package routing

import (
	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field routingType of a BackendTrafficPolicy.
type Feature struct{}

// Proxy is the feature of the field routingType of an EnvoyProxy: for all clusters of the proxy.
type Proxy struct{}

var (
	_ feature.Checker       = Feature{}
	_ feature.ServiceRouter = Feature{}
	_ feature.Checker       = Proxy{}
	_ feature.ServiceRouter = Proxy{}
)

// Name returns the name of the policy's field.
func (Feature) Name() string { return "BackendTrafficPolicy.routingType" }

// Check refuses types that there are not.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem { return check(a) }

// ToService reports whether the type is Service.
func (Feature) ToService(a model.Attached) bool { return toService(a) }

// Name returns the name of the EnvoyProxy's field.
func (Proxy) Name() string { return "EnvoyProxy.routingType" }

// Check refuses types that there are not.
func (Proxy) Check(a model.Attached, _ *model.Rule) []feature.Problem { return check(a) }

// ToService reports whether the type is Service.
func (Proxy) ToService(a model.Attached) bool { return toService(a) }

func check(a model.Attached) []feature.Problem {
	var refused policy.Refusals
	switch kind := *a.Spec.(*egv1a1.RoutingType); kind {
	case egv1a1.ServiceRoutingType, egv1a1.EndpointRoutingType:
	default:
		refused.Add("", "There is no type %q: use Service or Endpoint", kind)
	}
	return refused
}

func toService(a model.Attached) bool {
	return *a.Spec.(*egv1a1.RoutingType) == egv1a1.ServiceRoutingType
}

package loadbalancer

import (
	"maps"
	"slices"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// reports are the headers in which backends report their load (ORCA).
var reports = []string{"endpoint-load-metrics", "endpoint-load-metrics-bin"}

// ApplyRoute sets what of a request is hashed, and keeps the reports of backends from clients.
func (Feature) ApplyRoute(r *feature.Route, a model.Attached) {
	spec, action := a.Spec.(*egv1a1.LoadBalancer), r.Action()
	if action == nil {
		return
	}
	switch spec.Type {
	case egv1a1.ConsistentHashLoadBalancerType:
		action.HashPolicy = hashPolicy(spec.ConsistentHash)
		if split := action.GetWeightedClusters(); split != nil {
			split.RandomValueSpecifier = &routev3.WeightedCluster_UseHashPolicy{UseHashPolicy: wrapperspb.Bool(true)}
		}
	case egv1a1.BackendUtilizationLoadBalancerType:
		if spec.BackendUtilization == nil || !policy.Or(spec.BackendUtilization.KeepResponseHeaders, false) {
			r.Proto.ResponseHeadersToRemove = append(r.Proto.ResponseHeadersToRemove, reports...)
		}
	}
}

func hashPolicy(spec *egv1a1.ConsistentHash) []*routev3.RouteAction_HashPolicy {
	var out []*routev3.RouteAction_HashPolicy
	headers := spec.Headers
	switch spec.Type {
	case egv1a1.SourceIPConsistentHashType:
		return []*routev3.RouteAction_HashPolicy{{PolicySpecifier: &routev3.RouteAction_HashPolicy_ConnectionProperties_{
			ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true},
		}}}
	case egv1a1.CookieConsistentHashType:
		return []*routev3.RouteAction_HashPolicy{{PolicySpecifier: &routev3.RouteAction_HashPolicy_Cookie_{
			Cookie: cookie(spec.Cookie),
		}}}
	case egv1a1.QueryParamsConsistentHashType:
		for _, q := range spec.QueryParams {
			out = append(out, &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_QueryParameter_{
				QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: q.Name},
			}})
		}
		return out
	//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
	case egv1a1.HeaderConsistentHashType:
		//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
		headers = []*egv1a1.Header{spec.Header}
	}
	for _, h := range headers {
		out = append(out, &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
			Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: h.Name},
		}})
	}
	return out
}

func cookie(spec *egv1a1.Cookie) *routev3.RouteAction_HashPolicy_Cookie {
	out := &routev3.RouteAction_HashPolicy_Cookie{Name: spec.Name, Ttl: policy.Duration(spec.TTL)}
	for _, name := range slices.Sorted(maps.Keys(spec.Attributes)) {
		out.Attributes = append(out.Attributes, &routev3.RouteAction_HashPolicy_CookieAttribute{
			Name: name, Value: spec.Attributes[name],
		})
	}
	return out
}

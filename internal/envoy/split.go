package envoy

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// splitCluster returns the cluster of several backends in one, which share the traffic by locality weights. Otherwise
// it is like the cluster of any of them.
func splitCluster(chain *feature.Chain, key model.BackendKey, like model.Backend) *xds.Resource {
	like.Key, like.Prefer = key, model.ZonePreference{} // localities are the backends
	part := key.Parts()[0].Backend
	like.Key.Client, like.Key.Options = part.Client, part.Options
	r := clusterWith(like, nil, func(c *clusterv3.Cluster) {
		c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{
			LocalityConfigSpecifier: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
				LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
			},
		}
		chain.ApplyCluster(&feature.Cluster{Proto: c, Backend: &like}, like.Attached)
	})
	r.Owners = partsOf(key)
	return r
}

// splitPart is one backend of a split.
type splitPart struct {
	key       model.BackendKey
	weight    uint32
	fallback  bool
	endpoints []model.Endpoint
}

// splitEndpoints returns the endpoints of a split: each backend is a locality of its own, with the backend's weight.
// Fallbacks have the second priority: they take over as the others fail.
func splitEndpoints(
	chain *feature.Chain, key model.BackendKey, attached []model.Attached, parts []splitPart,
) *xds.Resource {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: key.String()}
	primary := slices.ContainsFunc(parts, func(p splitPart) bool { return !p.fallback })
	for _, part := range parts {
		locality := &endpointv3.LocalityLbEndpoints{
			Locality:            &corev3.Locality{SubZone: part.key.String()},
			LoadBalancingWeight: wrapperspb.UInt32(part.weight),
		}
		// Envoy refuses priorities with a gap: where all are fallbacks, none is.
		if part.fallback && primary {
			locality.Priority = 1
		}
		for _, e := range part.endpoints {
			locality.LbEndpoints = append(locality.LbEndpoints, lbEndpoint(e))
		}
		out.Endpoints = append(out.Endpoints, locality)
	}
	chain.ApplyEndpoints(out, attached)
	return endpointsResource(out, partsOf(key))
}

func partsOf(key model.BackendKey) []model.Ref {
	var out []model.Ref
	for _, part := range key.Parts() {
		out = append(out, part.Backend.Ref())
	}
	return out
}

// Package loadbalancer is the field loadBalancer of a BackendTrafficPolicy: which endpoint of a backend a request goes
// to.
//
// It is the load_balancing_policy of the cluster: LeastRequest is least_request, RoundRobin round_robin, Random random,
// BackendUtilization client_side_weighted_round_robin, and ConsistentHash maglev. slowStart.window is the
// slow_start_window of its slow_start_config. With endpointOverride all of it is the fallback_policy of an
// override_host. Where several backends share a cluster by locality weights they still do. zoneAware.weightedZones are
// the weights of localities, which are zones; zoneAware.preferLocal is its zone_aware_lb_config, and so is what the
// Service says if the policy does not. outOfBand is enable_oob_load_report and what belongs to it.
//
// What ConsistentHash hashes is the hash_policy of the RouteAction. Where requests are split over several clusters the
// hash chooses among these too (use_hash_policy), so that a client stays where it is. The route of a BackendUtilization
// removes the headers in which backends report their load, unless these are to be kept.
package loadbalancer

import (
	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	overridev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/override_host/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	robinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	localityv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field loadBalancer.
type Feature struct{}

var (
	_ feature.Checker         = Feature{}
	_ feature.RouteApplier    = Feature{}
	_ feature.ClusterApplier  = Feature{}
	_ feature.EndpointApplier = Feature{}
	_ feature.ZoneUser        = Feature{}
)

// Name returns the name of the policy's field.
func (Feature) Name() string { return "BackendTrafficPolicy.loadBalancer" }

// ApplyCluster sets how the cluster chooses an endpoint.
func (Feature) ApplyCluster(c *feature.Cluster, a model.Attached) {
	spec := a.Spec.(*egv1a1.LoadBalancer)
	// Envoy wants locality weights in the policy, not beside it.
	weighted := c.Proto.GetCommonLbConfig().GetLocalityWeightedLbConfig() != nil
	if weighted {
		c.Proto.CommonLbConfig.LocalityConfigSpecifier = nil
	}
	out := endpointPolicy(spec, localities(spec, c.Backend, weighted))
	if spec.EndpointOverride != nil {
		override := &overridev3.OverrideHost{FallbackPolicy: out}
		for _, from := range spec.EndpointOverride.ExtractFrom {
			override.OverrideHostSources = append(override.OverrideHostSources,
				&overridev3.OverrideHost_OverrideHostSource{Header: *from.Header})
		}
		out = only("override_host", override)
	}
	c.Proto.LbPolicy = clusterv3.Cluster_LOAD_BALANCING_POLICY_CONFIG
	c.Proto.LoadBalancingPolicy = out
}

// ApplyEndpoints gives the zones their weights, 1 to those that have none.
func (Feature) ApplyEndpoints(e *endpointv3.ClusterLoadAssignment, a model.Attached) {
	zones := a.Spec.(*egv1a1.LoadBalancer).ZoneAware
	if zones == nil || len(zones.WeightedZones) == 0 {
		return
	}
	weights := map[string]uint32{}
	for _, z := range zones.WeightedZones {
		weights[z.Zone] = z.Weight
	}
	for _, group := range e.GetEndpoints() {
		if group.GetLoadBalancingWeight() != nil {
			continue // a backend among others
		}
		weight, ok := weights[group.GetLocality().GetZone()]
		if !ok {
			weight = 1
		}
		group.LoadBalancingWeight = wrapperspb.UInt32(weight)
	}
}

// UsesZones reports whether zones have weights, or the own zone is preferred.
func (Feature) UsesZones(a model.Attached) bool {
	zones := a.Spec.(*egv1a1.LoadBalancer).ZoneAware
	return zones != nil && (zones.PreferLocal != nil || len(zones.WeightedZones) > 0)
}

// localities returns how the localities of a cluster share its requests: by their weights, if those of several backends
// have some (weighted) or zones do, or with a preference for the proxy's own; nil if they mean nothing.
func localities(spec *egv1a1.LoadBalancer, of *model.Backend, weighted bool) *commonv3.LocalityLbConfig {
	zones := spec.ZoneAware
	switch {
	case weighted || zones != nil && len(zones.WeightedZones) > 0:
		return &commonv3.LocalityLbConfig{
			LocalityConfigSpecifier: &commonv3.LocalityLbConfig_LocalityWeightedLbConfig_{
				LocalityWeightedLbConfig: &commonv3.LocalityLbConfig_LocalityWeightedLbConfig{},
			},
		}
	case zones != nil && zones.PreferLocal != nil:
		return &commonv3.LocalityLbConfig{LocalityConfigSpecifier: ownZone(zones.PreferLocal)}
	case of != nil:
		return feature.PreferZone(of.Prefer)
	}
	return nil
}

// ownZone prefers the proxy's own zone. The defaults are Envoy Gateway's, which are Envoy's.
func ownZone(spec *egv1a1.PreferLocalZone) *commonv3.LocalityLbConfig_ZoneAwareLbConfig_ {
	out := &commonv3.LocalityLbConfig_ZoneAwareLbConfig{
		MinClusterSize: wrapperspb.UInt64(policy.Or(spec.MinEndpointsThreshold, 6)),
	}
	if spec.PercentageEnabled != nil {
		out.RoutingEnabled = &typev3.Percent{Value: float64(*spec.PercentageEnabled)}
	}
	if spec.Force != nil {
		out.ForceLocalZone = &commonv3.LocalityLbConfig_ZoneAwareLbConfig_ForceLocalZone{
			MinSize: wrapperspb.UInt32(policy.Or(spec.Force.MinEndpointsInZoneThreshold, 1)),
		}
	}
	return &commonv3.LocalityLbConfig_ZoneAwareLbConfig_{ZoneAwareLbConfig: out}
}

// endpointPolicy returns the policy of a type. locality is what the localities of the cluster mean to it.
func endpointPolicy(spec *egv1a1.LoadBalancer, locality *commonv3.LocalityLbConfig) *clusterv3.LoadBalancingPolicy {
	var slow *commonv3.SlowStartConfig
	if spec.SlowStart != nil {
		slow = &commonv3.SlowStartConfig{SlowStartWindow: policy.Duration(spec.SlowStart.Window)}
	}
	switch spec.Type {
	case egv1a1.ConsistentHashLoadBalancerType:
		out := &maglevv3.Maglev{LocalityWeightedLbConfig: locality.GetLocalityWeightedLbConfig()}
		if spec.ConsistentHash.TableSize != nil {
			out.TableSize = wrapperspb.UInt64(*spec.ConsistentHash.TableSize)
		}
		return only("maglev", out)
	case egv1a1.RandomLoadBalancerType:
		return only("random", &randomv3.Random{LocalityLbConfig: locality})
	case egv1a1.RoundRobinLoadBalancerType:
		return only("round_robin", &robinv3.RoundRobin{LocalityLbConfig: locality, SlowStartConfig: slow})
	case egv1a1.BackendUtilizationLoadBalancerType:
		out := only("client_side_weighted_round_robin", utilization(spec.BackendUtilization, slow))
		if locality.GetLocalityWeightedLbConfig() != nil {
			return only("wrr_locality", &localityv3.WrrLocality{EndpointPickingPolicy: out})
		}
		return out
	}
	return only("least_request", &leastv3.LeastRequest{LocalityLbConfig: locality, SlowStartConfig: slow})
}

func utilization(
	spec *egv1a1.BackendUtilization, slow *commonv3.SlowStartConfig,
) *client_side_weighted_round_robinv3.ClientSideWeightedRoundRobin {
	out := &client_side_weighted_round_robinv3.ClientSideWeightedRoundRobin{SlowStartConfig: slow}
	if spec == nil {
		return out
	}
	out.BlackoutPeriod = policy.Duration(spec.BlackoutPeriod)
	out.WeightExpirationPeriod = policy.Duration(spec.WeightExpirationPeriod)
	out.WeightUpdatePeriod = policy.Duration(spec.WeightUpdatePeriod)
	out.MetricNamesForComputingUtilization = spec.MetricNamesForComputingUtilization
	if spec.ErrorUtilizationPenaltyPercent != nil {
		out.ErrorUtilizationPenalty = wrapperspb.Float(float32(*spec.ErrorUtilizationPenaltyPercent) / 100)
	}
	if band := spec.OutOfBand; band != nil {
		out.EnableOobLoadReport = wrapperspb.Bool(true)
		out.OobReportingPeriod = policy.Duration(band.ReportingPeriod)
		if band.Port != nil || band.Authority != nil {
			out.OobReportingConfig = &commonv3.OrcaOobReportingConfig{
				PortValue: policy.Uint32(band.Port).GetValue(), Authority: policy.Or(band.Authority, ""),
			}
		}
	}
	return out
}

func only(name string, config proto.Message) *clusterv3.LoadBalancingPolicy {
	return &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{{
		TypedExtensionConfig: &corev3.TypedExtensionConfig{
			Name: "envoy.load_balancing_policies." + name, TypedConfig: feature.Pack(config),
		},
	}}}
}

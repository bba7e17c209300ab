package loadbalancer

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	robinv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	localityv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[egv1a1.LoadBalancer](t, Feature{})
}

func hashOf(kind egv1a1.ConsistentHashType) *egv1a1.LoadBalancer {
	return &egv1a1.LoadBalancer{
		Type: egv1a1.ConsistentHashLoadBalancerType, ConsistentHash: &egv1a1.ConsistentHash{Type: kind},
	}
}

func zoned(zones ...egv1a1.WeightedZoneConfig) *egv1a1.LoadBalancer {
	return &egv1a1.LoadBalancer{Type: "Random", ZoneAware: &egv1a1.ZoneAware{WeightedZones: zones}}
}

// TestBackendsKeepWeights says that zones do not change the weights of backends that share a cluster.
func TestBackendsKeepWeights(t *testing.T) {
	e := &endpointv3.ClusterLoadAssignment{Endpoints: []*endpointv3.LocalityLbEndpoints{
		{LoadBalancingWeight: wrapperspb.UInt32(7)}, {Locality: &corev3.Locality{Zone: "b"}},
	}}
	Feature{}.ApplyEndpoints(e, model.Attached{Spec: zoned(egv1a1.WeightedZoneConfig{Weight: 3})})
	for i, want := range []uint32{7, 1} {
		if got := e.GetEndpoints()[i].GetLoadBalancingWeight().GetValue(); got != want {
			t.Errorf("group %d has the weight %d, want %d", i, got, want)
		}
	}
}

// TestWeightsStay says that backends in one cluster keep their weights, which Envoy then wants in the policy.
func TestWeightsStay(t *testing.T) {
	for _, kind := range []egv1a1.LoadBalancerType{
		egv1a1.LeastRequestLoadBalancerType, egv1a1.RoundRobinLoadBalancerType, egv1a1.RandomLoadBalancerType,
		egv1a1.BackendUtilizationLoadBalancerType, egv1a1.ConsistentHashLoadBalancerType,
	} {
		c := &clusterv3.Cluster{CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{
			LocalityConfigSpecifier: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
				LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
			},
		}}
		spec := hashOf(egv1a1.SourceIPConsistentHashType)
		spec.Type = kind
		Feature{}.ApplyCluster(&feature.Cluster{Proto: c}, model.Attached{Spec: spec})
		if c.GetCommonLbConfig().GetLocalityConfigSpecifier() != nil {
			t.Errorf("%s: weights beside the policy, which Envoy refuses", kind)
		}
		config, err := c.GetLoadBalancingPolicy().GetPolicies()[0].GetTypedExtensionConfig().GetTypedConfig().UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		var weighted bool
		switch p := config.(type) {
		case *leastv3.LeastRequest:
			weighted = p.GetLocalityLbConfig().GetLocalityWeightedLbConfig() != nil
		case *robinv3.RoundRobin:
			weighted = p.GetLocalityLbConfig().GetLocalityWeightedLbConfig() != nil
		case *randomv3.Random:
			weighted = p.GetLocalityLbConfig().GetLocalityWeightedLbConfig() != nil
		case *maglevv3.Maglev:
			weighted = p.GetLocalityWeightedLbConfig() != nil
		case *localityv3.WrrLocality:
			weighted = len(p.GetEndpointPickingPolicy().GetPolicies()) == 1
		}
		if !weighted {
			t.Errorf("%s: got %v, want locality weights", kind, config)
		}
	}
}

// TestHashChoosesCluster says that a client stays with one of the backends that a rule splits over.
func TestHashChoosesCluster(t *testing.T) {
	r := featuretest.NewRoute(&model.Rule{}, featuretest.PrefixMatch("/"))
	split := &routev3.WeightedCluster{}
	r.Action().ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: split}
	Feature{}.ApplyRoute(r, model.Attached{Spec: hashOf(egv1a1.SourceIPConsistentHashType)})
	if !split.GetUseHashPolicy().GetValue() {
		t.Errorf("got %v, want the hash to choose", split)
	}
}

func TestCheck(t *testing.T) {
	with := func(spec *egv1a1.LoadBalancer, change func(*egv1a1.LoadBalancer)) *egv1a1.LoadBalancer {
		change(spec)
		return spec
	}
	of := func(kind egv1a1.LoadBalancerType) *egv1a1.LoadBalancer { return &egv1a1.LoadBalancer{Type: kind} }
	table := func(size uint64) *egv1a1.LoadBalancer {
		return with(hashOf("SourceIP"), func(l *egv1a1.LoadBalancer) { l.ConsistentHash.TableSize = &size })
	}
	slow := func(l *egv1a1.LoadBalancer) { l.SlowStart = &egv1a1.SlowStart{Window: new(gwv1.Duration("1s"))} }
	ownZone100 := func(l *egv1a1.LoadBalancer) {
		l.ZoneAware = &egv1a1.ZoneAware{PreferLocal: &egv1a1.PreferLocalZone{PercentageEnabled: new(uint32(100))}}
	}
	for _, tt := range []struct {
		spec *egv1a1.LoadBalancer
		want string
	}{
		{of("LeastRequest"), ""},
		{with(of("RoundRobin"), slow), ""},
		{with(of("Random"), slow), "use RoundRobin"},
		{with(of("RoundRobin"), func(l *egv1a1.LoadBalancer) { l.SlowStart = &egv1a1.SlowStart{} }), "is missing"},
		{of("DynamicModule"), `"DynamicModule" is not supported`},
		{with(of("Random"), ownZone100), ""},
		{with(hashOf("SourceIP"), ownZone100), "use weightedZones, or another type"},
		{with(of("BackendUtilization"), ownZone100), "use weightedZones, or another type"},
		{with(with(of("Random"), ownZone100), func(l *egv1a1.LoadBalancer) {
			l.ZoneAware.WeightedZones = []egv1a1.WeightedZoneConfig{{Zone: "a", Weight: 1}}
		}), "remove preferLocal or weightedZones"},
		{with(with(of("Random"), ownZone100), func(l *egv1a1.LoadBalancer) {
			*l.ZoneAware.PreferLocal.PercentageEnabled = 101
		}), "101 is no percentage"},
		{of("ConsistentHash"), "add consistentHash"},
		{hashOf("SourceIP"), ""},
		{hashOf("Header"), "The type Header needs this field"},
		{hashOf("Headers"), "The type Headers needs this field"},
		{hashOf("QueryParams"), "The type QueryParams needs this field"},
		{hashOf("Cookie"), "The type Cookie needs this field"},
		{hashOf("Moon"), `no type "Moon"`},
		{with(hashOf("Cookie"), func(l *egv1a1.LoadBalancer) {
			l.ConsistentHash.Cookie = &egv1a1.Cookie{Name: "a", TTL: new(gwv1.Duration("long"))}
		}), "not a duration"},
		{with(hashOf("Cookie"), func(l *egv1a1.LoadBalancer) {
			l.ConsistentHash.Cookie = &egv1a1.Cookie{Name: "a", Attributes: map[string]string{"Same;Site": "Lax"}}
		}), "is not a header name"},
		{with(hashOf("Cookie"), func(l *egv1a1.LoadBalancer) {
			l.ConsistentHash.Cookie = &egv1a1.Cookie{Name: "a", Attributes: map[string]string{"Path": "/\r\nset-cookie: b=c"}}
		}), "control characters"},
		{with(hashOf("Headers"), func(l *egv1a1.LoadBalancer) {
			l.ConsistentHash.Headers = []*egv1a1.Header{{Name: "a"}, {}}
		}), "The name is empty"},
		{table(1009), ""},
		{table(1008), "prime number"},
		{table(5000081), "up to 5000011"},
		{of("BackendUtilization"), ""},
		{with(of("BackendUtilization"), func(l *egv1a1.LoadBalancer) {
			l.BackendUtilization = &egv1a1.BackendUtilization{OutOfBand: &egv1a1.OutOfBandReporting{}}
		}), ""},
		{with(of("BackendUtilization"), func(l *egv1a1.LoadBalancer) {
			l.BackendUtilization = &egv1a1.BackendUtilization{OutOfBand: &egv1a1.OutOfBandReporting{Port: new(int32(0))}}
		}), "is no port"},
		{zoned(), ""},
		{zoned(egv1a1.WeightedZoneConfig{Zone: "a", Weight: 1}), ""},
		{zoned(egv1a1.WeightedZoneConfig{Zone: "a"}), "use 1 or more"},
		{zoned(egv1a1.WeightedZoneConfig{Weight: 1}, egv1a1.WeightedZoneConfig{Weight: 1}), "more than once"},
		{with(of("Random"), func(l *egv1a1.LoadBalancer) { l.EndpointOverride = &egv1a1.EndpointOverride{} }),
			"add a header"},
		{with(of("Random"), func(l *egv1a1.LoadBalancer) {
			l.EndpointOverride = &egv1a1.EndpointOverride{ExtractFrom: []egv1a1.EndpointOverrideExtractFrom{{}}}
		}), "add its name"},
	} {
		featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: tt.spec, Path: "spec.loadBalancer"}, nil), tt.want)
	}
	inline := model.Attached{Spec: hashOf("SourceIP"), Path: "spec.extAuth.http.backendSettings.loadBalancer"}
	featuretest.Expect(t, Feature{}.Check(inline, nil), "use another type")
}

package envoy

import (
	"fmt"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/loadbalancer"
	"github.com/sluice-gateway/sluice/internal/model"
)

// TestZones: Envoy is told of the zones of endpoints only where the Service or a policy asks for it, since it would
// prefer its own by itself, whoever wanted the requests to be spread.
func TestZones(t *testing.T) {
	chain := feature.NewChain(loadbalancer.Feature{})
	asks := func(zones *egv1a1.ZoneAware) []model.Attached {
		return []model.Attached{{Feature: loadbalancer.Feature{}.Name(), Spec: &egv1a1.LoadBalancer{
			Type: egv1a1.LeastRequestLoadBalancerType, ZoneAware: zones,
		}}}
	}
	own := func(threshold *uint64) []model.Attached {
		return asks(&egv1a1.ZoneAware{PreferLocal: &egv1a1.PreferLocalZone{MinEndpointsThreshold: threshold}})
	}
	near := model.ZonePreference{MinEndpoints: 1, MinLocal: 3}
	cases := map[string]struct {
		prefer   model.ZonePreference
		attached []model.Attached
		// want are the zones, with what the cluster makes of them: min_cluster_size and force_local_zone.min_size, "-" if
		// zones have weights, or nothing.
		want string
	}{
		"nobody asks":                 {want: ": "},
		"a policy about other things": {attached: asks(nil), want: ": "},
		"the Service":                 {prefer: near, want: "a b: 1 3"},
		"a policy":                    {attached: own(nil), want: "a b: 6 0"},
		"the Service, and a policy":   {prefer: near, attached: asks(nil), want: "a b: 1 3"},
		"a policy before the Service": {
			prefer:   near,
			attached: own(new(uint64(9))),
			want:     "a b: 9 0",
		},
		"weights before the Service": {
			prefer:   near,
			attached: asks(&egv1a1.ZoneAware{WeightedZones: []egv1a1.WeightedZoneConfig{{Zone: "a", Weight: 2}}}),
			want:     "a b: -",
		},
	}
	list := []model.Endpoint{{Address: "192.0.2.1", Port: 80, Zone: "a"}, {Address: "192.0.2.2", Port: 80, Zone: "b"}}
	for name, tc := range cases {
		for _, kind := range []model.AddressKind{model.AddressIP, model.AddressDNS} {
			t.Run(fmt.Sprintf("%s, %d", name, kind), func(t *testing.T) {
				b := model.Backend{Key: backendKey("b"), Prefer: tc.prefer, Attached: tc.attached, Address: kind}
				c, e := &clusterv3.Cluster{}, &endpointv3.ClusterLoadAssignment{}
				decode(t, cluster(chain, b, list).Body, c)
				if kind == model.AddressDNS {
					e = c.GetLoadAssignment()
				} else {
					decode(t, endpoints(chain, &b, tc.attached, list).Body, e)
				}
				if got := zonesOf(e) + ": " + preference(t, c); got != tc.want {
					t.Errorf("got %q, want %q", got, tc.want)
				}
			})
		}
	}
}

func decode(t *testing.T, body []byte, into proto.Message) {
	t.Helper()
	if err := proto.Unmarshal(body, into); err != nil {
		t.Fatal(err)
	}
}

func zonesOf(e *endpointv3.ClusterLoadAssignment) string {
	var out []string
	for _, l := range e.GetEndpoints() {
		if zone := l.GetLocality().GetZone(); zone != "" {
			out = append(out, zone)
		}
	}
	return strings.Join(out, " ")
}

// preference is what a cluster makes of zones.
func preference(t *testing.T, c *clusterv3.Cluster) string {
	t.Helper()
	least := &leastv3.LeastRequest{}
	for _, p := range c.GetLoadBalancingPolicy().GetPolicies() {
		if err := p.GetTypedExtensionConfig().GetTypedConfig().UnmarshalTo(least); err != nil {
			t.Fatal(err)
		}
	}
	aware := least.GetLocalityLbConfig().GetZoneAwareLbConfig()
	switch {
	case least.GetLocalityLbConfig().GetLocalityWeightedLbConfig() != nil:
		return "-"
	case aware == nil:
		return ""
	}
	return fmt.Sprintf("%d %d", aware.GetMinClusterSize().GetValue(), aware.GetForceLocalZone().GetMinSize().GetValue())
}

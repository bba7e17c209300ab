package envoy

import (
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Each backend of a split has its weight; a fallback stands behind those that are none.
func TestSplitEndpoints(t *testing.T) {
	type locality struct {
		Name             string
		Weight, Priority uint32
		Endpoints        int
	}
	part := func(name string, weight uint32, fallback bool, n int) splitPart {
		return splitPart{
			key: backendKey(name), weight: weight, fallback: fallback,
			endpoints: make([]model.Endpoint, n),
		}
	}
	cases := map[string]struct {
		parts []splitPart
		want  []locality
	}{
		"weights": {
			[]splitPart{part("a", 9, false, 2), part("b", 1, false, 0)},
			[]locality{{"backend/ns/a", 9, 0, 2}, {"backend/ns/b", 1, 0, 0}},
		},
		"a fallback": {
			[]splitPart{part("a", 1, true, 1), part("b", 1, false, 1)},
			[]locality{{"backend/ns/a", 1, 1, 1}, {"backend/ns/b", 1, 0, 1}},
		},
		"only fallbacks": {
			[]splitPart{part("a", 1, true, 1), part("b", 1, true, 1)},
			[]locality{{"backend/ns/a", 1, 0, 1}, {"backend/ns/b", 1, 0, 1}},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for i := range c.parts {
				for j := range c.parts[i].endpoints {
					c.parts[i].endpoints[j] = model.Endpoint{Address: "192.0.2.1", Port: uint16(80 + j)}
				}
			}
			var out endpointv3.ClusterLoadAssignment
			split := splitEndpoints(feature.NewChain(), model.BackendKey{Kind: model.KindSplit}, nil, c.parts)
			if err := proto.Unmarshal(split.Body, &out); err != nil {
				t.Fatal(err)
			}
			var got []locality
			for _, l := range out.GetEndpoints() {
				got = append(got, locality{
					l.GetLocality().GetSubZone(), l.GetLoadBalancingWeight().GetValue(), l.GetPriority(), len(l.GetLbEndpoints()),
				})
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

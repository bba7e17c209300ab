package metrics

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestCheck(t *testing.T) {
	tests := []struct{ name, spec, want string }{
		{"fine", "clusterStatName: 'to_%BACKEND_REFS%', matches: [{type: RegularExpression, value: 'a.*'}]", ""},
		{"by route", "clusterStatName: '%ROUTE_NAME%'", "routeStatName of a BackendTrafficPolicy"},
		{"an expression", "matches: [{type: RegularExpression, value: '('}]", "Invalid regular expression"},
		{"gRPC", "enableGRPCStats: true", "is not supported"},
		{"settings", "sinks: [{type: OpenTelemetry, openTelemetry: {backendRefs: [{name: a}], backendSettings: {}}}]",
			"is in the bootstrap"},
		{"nowhere", "sinks: [{type: OpenTelemetry}]", "The sink is nowhere"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var spec egv1a1.ProxyMetrics
			if err := yaml.UnmarshalStrict([]byte("{"+tt.spec+"}"), &spec); err != nil {
				t.Fatal(err)
			}
			featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &spec}, nil), tt.want)
		})
	}
}

// TestClusterName: a cluster of several backends is named after all of them.
func TestClusterName(t *testing.T) {
	name := "%BACKEND_REFS%"
	split := model.Split([]model.WeightedBackend{
		{Backend: featuretest.Service("b"), Weight: 1}, {Backend: featuretest.Service("a"), Weight: 2},
	})
	for key, want := range map[model.BackendKey]string{
		featuretest.Service("shop"): "default/shop", split: "default/a|default/b",
	} {
		c := &feature.Cluster{Proto: &clusterv3.Cluster{}, Backend: &model.Backend{Key: key}}
		Feature{}.ApplyCluster(c, model.Attached{Spec: &egv1a1.ProxyMetrics{ClusterStatName: &name}})
		if got := c.Proto.GetAltStatName(); got != want {
			t.Errorf("the stats of %v are named %q, want %q", key, got, want)
		}
	}
}

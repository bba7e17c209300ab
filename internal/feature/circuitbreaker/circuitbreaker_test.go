package circuitbreaker

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[egv1a1.CircuitBreaker](t, Feature{})
}

// TestRetriesStay says that a policy which is silent about retries leaves their limit as it is for every cluster.
func TestRetriesStay(t *testing.T) {
	c := &clusterv3.Cluster{CircuitBreakers: &clusterv3.CircuitBreakers{
		Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{MaxRetries: wrapperspb.UInt32(9)}},
	}}
	spec := &egv1a1.CircuitBreaker{MaxConnections: new(int64(1))}
	Feature{}.ApplyCluster(&feature.Cluster{Proto: c}, model.Attached{Spec: spec})
	got := c.GetCircuitBreakers().GetThresholds()[0]
	if got.GetMaxRetries().GetValue() != 9 || got.GetMaxConnections().GetValue() != 1 || got.GetMaxRequests() != nil {
		t.Errorf("got %v, want one connection and nine retries", got)
	}
	if len(c.GetTypedExtensionProtocolOptions()) > 0 {
		t.Errorf("got %v, want no options of HTTP", c.GetTypedExtensionProtocolOptions())
	}
}

func TestCheck(t *testing.T) {
	budget := func(numerator, denominator int32) egv1a1.CircuitBreaker {
		return egv1a1.CircuitBreaker{RetryBudget: &egv1a1.RetryBudget{
			Percent: gwv1.Fraction{Numerator: numerator, Denominator: &denominator},
		}}
	}
	for _, tt := range []struct {
		spec egv1a1.CircuitBreaker
		want string
	}{
		{egv1a1.CircuitBreaker{}, ""},
		{egv1a1.CircuitBreaker{MaxConnections: new(int64(0)), MaxParallelRetries: new(int64(1<<32 - 1))}, ""},
		{egv1a1.CircuitBreaker{MaxPendingRequests: new(int64(-1))}, "-1 is out of range"},
		{egv1a1.CircuitBreaker{MaxRequestsPerConnection: new(int64(1 << 32))}, "use 0 to 4294967295"},
		{egv1a1.CircuitBreaker{PerEndpoint: &egv1a1.PerEndpointCircuitBreakers{MaxConnections: new(int64(-2))}},
			"-2 is out of range"},
		{budget(1, 1), ""},
		{budget(5, 4), "not a share"},
		{budget(0, 0), "use 0/1 to 1/1"},
	} {
		featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &tt.spec}, &model.Rule{}), tt.want)
	}
}

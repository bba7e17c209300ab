package retrybudget

import (
	"fmt"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1a1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func constraint(percent int, interval gwv1.Duration, count int, per gwv1.Duration) *gwxv1a1.RetryConstraint {
	return &gwxv1a1.RetryConstraint{
		Budget:       &gwxv1a1.BudgetDetails{Percent: &percent, Interval: &interval},
		MinRetryRate: &gwxv1a1.RequestRate{Count: &count, Interval: &per},
	}
}

func TestApplyCluster(t *testing.T) {
	tests := []struct {
		spec *gwxv1a1.RetryConstraint
		want string
	}{
		{&gwxv1a1.RetryConstraint{}, "20% of 10s, at least 10"},
		{constraint(0, "1s", 1, "1s"), "0% of 1s, at least 1"},
		{constraint(50, "1m", 3, "2s"), "50% of 1m0s, at least 2"},
		{constraint(50, "1m", 1, "1h"), "50% of 1m0s, at least 1"},
		{constraint(100, "1h", 1000000, "1ms"), "100% of 1h0m0s, at least 1000000000"},
	}
	for _, tt := range tests {
		c := &clusterv3.Cluster{CircuitBreakers: &clusterv3.CircuitBreakers{
			Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{}},
		}}
		Feature{}.ApplyCluster(&feature.Cluster{Proto: c}, model.Attached{Spec: tt.spec})
		b := c.GetCircuitBreakers().GetThresholds()[0].GetRetryBudget()
		got := fmt.Sprintf("%g%% of %s, at least %d", b.GetBudgetPercent().GetValue(),
			b.GetBudgetInterval().AsDuration().Round(time.Millisecond), b.GetMinRetryConcurrency().GetValue())
		if got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
}

func TestCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		spec *gwxv1a1.RetryConstraint
		want string
	}{
		"nothing":   {&gwxv1a1.RetryConstraint{}, ""},
		"good":      {constraint(20, "10s", 10, "1s"), ""},
		"too short": {constraint(20, "10ms", 10, "1s"), "use 1s to 1h0m0s"},
		"too long":  {constraint(20, "10s", 10, "2h"), "use 1ms to 1h0m0s"},
		"zero":      {constraint(20, "10s", 10, "0s"), "use 1ms to 1h0m0s"},
		"none":      {constraint(20, "soon", 10, "1s"), "cannot be used"},
	} {
		t.Run(name, func(t *testing.T) {
			featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: tt.spec}, &model.Rule{}), tt.want)
		})
	}
}

// Package circuitbreaker is the field circuitBreaker of a BackendTrafficPolicy: how much of anything a backend may have
// at a time before requests to it fail at once.
//
// It is circuit_breakers.thresholds of the cluster: maxConnections is max_connections, maxPendingRequests
// max_pending_requests, maxParallelRequests max_requests, maxParallelRetries max_retries, and retryBudget retry_budget,
// which takes the place of maxParallelRetries. perEndpoint.maxConnections is max_connections of per_host_thresholds,
// and maxRequestsPerConnection max_requests_per_connection of the cluster's common_http_protocol_options.
//
// Each Envoy counts for itself, for all routes that share the cluster. A request beyond a limit is answered with 503
// and the header x-envoy-overloaded, a retry beyond it is not made.
package circuitbreaker

import (
	"math"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field circuitBreaker.
type Feature struct{}

var (
	_ feature.Checker        = Feature{}
	_ feature.ClusterApplier = Feature{}
)

// The defaults of the API.
const (
	defaultDenominator = 100
	defaultConcurrency = 3
)

// Name returns the name of the policy's field.
func (Feature) Name() string { return "BackendTrafficPolicy.circuitBreaker" }

// Check refuses limits that Envoy cannot count to, and a budget that is not a share.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.CircuitBreaker)
	var refused policy.Refusals
	limit := func(path string, n *int64) {
		if n != nil && (*n < 0 || *n > math.MaxUint32) {
			refused.Add(path, "The limit %d is out of range: use 0 to %d", *n, uint32(math.MaxUint32))
		}
	}
	limit(".maxConnections", spec.MaxConnections)
	limit(".maxPendingRequests", spec.MaxPendingRequests)
	limit(".maxParallelRequests", spec.MaxParallelRequests)
	limit(".maxParallelRetries", spec.MaxParallelRetries)
	limit(".maxRequestsPerConnection", spec.MaxRequestsPerConnection)
	if spec.PerEndpoint != nil {
		limit(".perEndpoint.maxConnections", spec.PerEndpoint.MaxConnections)
	}
	if spec.RetryBudget != nil {
		p := spec.RetryBudget.Percent
		if d := policy.Or(p.Denominator, defaultDenominator); d < 1 || p.Numerator < 0 || p.Numerator > d {
			refused.Add(".retryBudget.percent", "The budget %d/%d is not a share of all requests: use 0/%d to %d/%d",
				p.Numerator, d, max(d, 1), max(d, 1), max(d, 1))
		}
	}
	return refused
}

// ApplyCluster sets the limits. One that is left out stays what it is for every cluster.
func (Feature) ApplyCluster(c *feature.Cluster, a model.Attached) {
	spec := a.Spec.(*egv1a1.CircuitBreaker)
	for _, t := range c.Proto.GetCircuitBreakers().GetThresholds() {
		t.MaxConnections = policy.Uint32(spec.MaxConnections)
		t.MaxPendingRequests = policy.Uint32(spec.MaxPendingRequests)
		t.MaxRequests = policy.Uint32(spec.MaxParallelRequests)
		if spec.MaxParallelRetries != nil {
			t.MaxRetries = policy.Uint32(spec.MaxParallelRetries)
		}
		t.RetryBudget = budget(spec.RetryBudget)
	}
	if spec.PerEndpoint != nil && spec.PerEndpoint.MaxConnections != nil {
		c.Proto.CircuitBreakers.PerHostThresholds = []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections: policy.Uint32(spec.PerEndpoint.MaxConnections),
		}}
	}
	if spec.MaxRequestsPerConnection != nil {
		policy.ChangeHTTP(c, func(o *corev3.HttpProtocolOptions) {
			o.MaxRequestsPerConnection = policy.Uint32(spec.MaxRequestsPerConnection)
		})
	}
}

func budget(spec *egv1a1.RetryBudget) *clusterv3.CircuitBreakers_Thresholds_RetryBudget {
	if spec == nil {
		return nil
	}
	share := float64(spec.Percent.Numerator) / float64(policy.Or(spec.Percent.Denominator, defaultDenominator))
	return &clusterv3.CircuitBreakers_Thresholds_RetryBudget{
		BudgetPercent:       &typev3.Percent{Value: share * 100},
		MinRetryConcurrency: wrapperspb.UInt32(policy.Or(spec.MinRetryConcurrency, defaultConcurrency)),
	}
}

// Package healthcheck is the field healthCheck of a BackendTrafficPolicy: which endpoints of a backend take requests.
//
// active is health_checks of the cluster, one HealthCheck of the type http_health_check, tcp_health_check or
// grpc_health_check. It is done over HTTP/2 where the backend speaks that, and by TLS where requests are. Unused
// clusters are checked as often as others (no_traffic_interval, which Envoy has at a minute). healthCheckLog is the
// event_logger. overrides.port is the port_value of the endpoints' health_check_config. Where the policy has no
// hostname the Host is the name by which a DNS endpoint is resolved, else NAME.NAMESPACE of the backend: Envoy's own
// choice, the name of the cluster, is no host that a server would take.
//
// passive is outlier_detection of the cluster, and panicThreshold healthy_panic_threshold of its common_lb_config.
package healthcheck

import (
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field healthCheck.
type Feature struct{}

var (
	_ feature.Checker         = Feature{}
	_ feature.ClusterApplier  = Feature{}
	_ feature.EndpointApplier = Feature{}
)

// The defaults of the API.
const (
	defaultTimeout      = time.Second
	defaultInterval     = 3 * time.Second
	defaultEjectionTime = 30 * time.Second
	defaultUnhealthy    = 3
	defaultHealthy      = 1
	defaultStatus       = 200
)

// Name returns the name of the policy's field.
func (Feature) Name() string { return "BackendTrafficPolicy.healthCheck" }

// ApplyCluster has the endpoints of the cluster checked.
func (Feature) ApplyCluster(c *feature.Cluster, a model.Attached) {
	spec := a.Spec.(*egv1a1.HealthCheck)
	if spec.Active != nil {
		applyActive(c, spec.Active)
	}
	if spec.Passive != nil {
		c.Proto.OutlierDetection = outliers(spec.Passive)
	}
	if spec.PanicThreshold != nil {
		if c.Proto.CommonLbConfig == nil {
			c.Proto.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{}
		}
		c.Proto.CommonLbConfig.HealthyPanicThreshold = &typev3.Percent{Value: float64(*spec.PanicThreshold)}
	}
}

// ApplyEndpoints has the endpoints checked at another port. A Unix socket has none.
func (Feature) ApplyEndpoints(e *endpointv3.ClusterLoadAssignment, a model.Attached) {
	active := a.Spec.(*egv1a1.HealthCheck).Active
	if active == nil || active.Overrides == nil || active.Overrides.Port == 0 {
		return
	}
	for _, group := range e.GetEndpoints() {
		for _, lb := range group.GetLbEndpoints() {
			endpoint := lb.GetEndpoint()
			if endpoint.GetAddress().GetSocketAddress() == nil {
				continue
			}
			if endpoint.HealthCheckConfig == nil {
				endpoint.HealthCheckConfig = &endpointv3.Endpoint_HealthCheckConfig{}
			}
			endpoint.HealthCheckConfig.PortValue = policy.Uint32(&active.Overrides.Port).GetValue()
		}
	}
}

func outliers(spec *egv1a1.PassiveHealthCheck) *clusterv3.OutlierDetection {
	out := &clusterv3.OutlierDetection{
		Interval:                       length(spec.Interval, defaultInterval),
		BaseEjectionTime:               length(spec.BaseEjectionTime, defaultEjectionTime),
		SplitExternalLocalOriginErrors: policy.Or(spec.SplitExternalLocalOriginErrors, false),
		MaxEjectionPercent:             policy.Uint32(spec.MaxEjectionPercent),
		ConsecutiveLocalOriginFailure:  policy.Uint32(spec.ConsecutiveLocalOriginFailures),
		Consecutive_5Xx:                policy.Uint32(spec.Consecutive5xxErrors),
	}
	if spec.ConsecutiveGatewayErrors != nil {
		out.ConsecutiveGatewayFailure = policy.Uint32(spec.ConsecutiveGatewayErrors)
		out.EnforcingConsecutiveGatewayFailure = wrapperspb.UInt32(100) // Envoy counts these, but ejects for none
	}
	if spec.FailurePercentageThreshold != nil {
		out.FailurePercentageThreshold = policy.Uint32(spec.FailurePercentageThreshold)
		out.EnforcingFailurePercentage = wrapperspb.UInt32(100) // the same
	}
	if spec.AlwaysEjectOneEndpoint != nil {
		out.AlwaysEjectOneHost = wrapperspb.Bool(*spec.AlwaysEjectOneEndpoint)
	}
	return out
}

func length(d *gwv1.Duration, unset time.Duration) *durationpb.Duration {
	if d == nil {
		return durationpb.New(unset)
	}
	return policy.Duration(d)
}

package timeout

import (
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/duration"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Policy is the feature of the field timeout of a BackendTrafficPolicy.
type Policy struct{}

var (
	_ feature.Checker        = Policy{}
	_ feature.RouteApplier   = Policy{}
	_ feature.ClusterApplier = Policy{}
	_ feature.ClusterChooser = Policy{}
)

// Name returns the name of the policy's field.
func (Policy) Name() string { return "BackendTrafficPolicy.timeout" }

// Check refuses what is not a duration, and settings of routes where there is none.
func (Policy) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.Timeout)
	var refused policy.Refusals
	if spec.TCP != nil {
		refused.Duration(".tcp.connectTimeout", spec.TCP.ConnectTimeout, time.Millisecond)
	}
	http := spec.HTTP
	if http == nil {
		return refused
	}
	refused.Duration(".http.connectionIdleTimeout", http.ConnectionIdleTimeout, 0)
	refused.Duration(".http.maxConnectionDuration", http.MaxConnectionDuration, 0)
	refused.Duration(".http.requestTimeout", http.RequestTimeout, 0)
	refused.Duration(".http.maxStreamDuration", http.MaxStreamDuration, 0)
	refused.Duration(".http.streamIdleTimeout", http.StreamIdleTimeout, 0)
	if policy.Inline(a) {
		const advice = "This is a setting of routes, which requests that a policy makes itself do not pass: use " +
			"maxStreamDuration"
		if http.RequestTimeout != nil {
			refused.Add(".http.requestTimeout", advice)
		}
		if http.StreamIdleTimeout != nil {
			refused.Add(".http.streamIdleTimeout", advice)
		}
	}
	return refused
}

// ApplyRoute sets the route's timeouts. Those of the rule itself are applied later.
func (Policy) ApplyRoute(r *feature.Route, a model.Attached) {
	http, action := a.Spec.(*egv1a1.Timeout).HTTP, r.Action()
	if http == nil || action == nil {
		return
	}
	if http.RequestTimeout != nil {
		limitRequest(action, duration.MustParse(*http.RequestTimeout))
	}
	if http.StreamIdleTimeout != nil {
		action.IdleTimeout = policy.Duration(http.StreamIdleTimeout)
	}
	if http.MaxStreamDuration != nil {
		action.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{
			MaxStreamDuration: policy.Duration(http.MaxStreamDuration),
		}
	}
}

// ShapesCluster reports whether there are timeouts of connections: those of requests are the route's.
func (Policy) ShapesCluster(a model.Attached) bool {
	tcp := a.Spec.(*egv1a1.Timeout).TCP
	return tcp != nil && tcp.ConnectTimeout != nil || ofConnections(a)
}

// ofConnections says whether the cluster has timeouts of HTTP.
func ofConnections(a model.Attached) bool {
	http := a.Spec.(*egv1a1.Timeout).HTTP
	return http != nil && (http.ConnectionIdleTimeout != nil || http.MaxConnectionDuration != nil ||
		policy.Inline(a) && http.MaxStreamDuration != nil)
}

// ApplyCluster sets the timeouts of the cluster's connections.
func (Policy) ApplyCluster(c *feature.Cluster, a model.Attached) {
	spec := a.Spec.(*egv1a1.Timeout)
	if spec.TCP != nil && spec.TCP.ConnectTimeout != nil {
		c.Proto.ConnectTimeout = policy.Duration(spec.TCP.ConnectTimeout)
	}
	if !ofConnections(a) {
		return
	}
	http := spec.HTTP
	policy.ChangeHTTP(c, func(o *corev3.HttpProtocolOptions) {
		o.IdleTimeout = policy.Duration(http.ConnectionIdleTimeout)
		if d := policy.Duration(http.MaxConnectionDuration); d.AsDuration() > 0 {
			o.MaxConnectionDuration = d // Envoy would close at once after 0, which stands for no limit
		}
		if d := policy.Duration(http.MaxStreamDuration); policy.Inline(a) && d.AsDuration() > 0 {
			o.MaxStreamDuration = d
		}
	})
}

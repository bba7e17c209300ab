// Package timeout says how long requests, and connections to backends, may take: the field timeouts of a rule (Gateway
// API: HTTPRouteTimeouts), and the field timeout of a BackendTrafficPolicy. What a rule says wins.
//
// Of a rule, request is the timeout of the RouteAction, for the request with all its retries; Envoy's clock starts when
// the request has been received as a whole, as the specification allows. backendRequest is per_try_timeout of its
// RetryPolicy, which works without retries too; num_retries is then 0, because Envoy's default is 1. Both end in 504.
// Zero means no limit.
//
// Of a policy, http.requestTimeout is the timeout of the RouteAction too, http.streamIdleTimeout its idle_timeout and
// http.maxStreamDuration its max_stream_duration. The cluster has tcp.connectTimeout as connect_timeout, and in its
// common_http_protocol_options http.connectionIdleTimeout as idle_timeout and http.maxConnectionDuration as
// max_connection_duration. Settings beside a backend reference of a policy shape no route: there maxStreamDuration is
// one of the cluster too, and the other fields of routes are refused.
//
// A listener's stream_idle_timeout would cut off a request that is quiet for longer, so a request timeout beyond what
// Envoy has for it by default (5 min) also raises the route's idle_timeout, and none switches it off.
package timeout

import (
	"fmt"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/duration"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field timeouts.
type Feature struct{}

var (
	_ feature.Checker      = Feature{}
	_ feature.RouteApplier = Feature{}
)

const (
	name = "Timeouts"
	// idle is Envoy's default stream_idle_timeout.
	idle = 5 * time.Minute
)

// Name returns the name of the field's type.
func (Feature) Name() string { return name }

// Check refuses what is not a duration, and a backendRequest that is longer than the request.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*gwv1.HTTPRouteTimeouts)
	var problems []feature.Problem
	refuse := func(path, message string) {
		problems = append(problems, feature.Problem{Reason: "UnsupportedValue", Message: message, Path: path})
	}
	parse := func(path string, d *gwv1.Duration) time.Duration {
		if d == nil {
			return 0
		}
		parsed, err := duration.Parse(*d)
		if err != nil {
			refuse(path, "Invalid timeout: "+err.Error())
		}
		return parsed
	}
	request, backend := parse(".request", spec.Request), parse(".backendRequest", spec.BackendRequest)
	if request > 0 && backend > request {
		refuse(".backendRequest", fmt.Sprintf("The timeout of %v for one attempt is longer than that of %v for the whole "+
			"request: make it shorter", backend, request))
	}
	return problems
}

// ApplyRoute sets the route's timeouts, and keeps what other features have set in its retry policy.
func (Feature) ApplyRoute(r *feature.Route, a model.Attached) {
	spec := a.Spec.(*gwv1.HTTPRouteTimeouts)
	action := r.Action()
	if action == nil {
		return
	}
	if spec.Request != nil {
		limitRequest(action, duration.MustParse(*spec.Request))
	}
	if spec.BackendRequest == nil {
		return
	}
	if d := duration.MustParse(*spec.BackendRequest); d > 0 {
		limitAttempts(action, d)
	}
}

// limitRequest sets how long a request may take, and has a quiet one last as long. It keeps an idle timeout that a
// policy asks for: one that is not like the timeout did not come from here.
func limitRequest(action *routev3.RouteAction, d time.Duration) {
	follows := action.IdleTimeout == nil || proto.Equal(action.IdleTimeout, action.Timeout)
	action.Timeout = durationpb.New(d)
	if follows && (d == 0 || d > idle) {
		action.IdleTimeout = durationpb.New(d)
	}
}

func limitAttempts(action *routev3.RouteAction, d time.Duration) {
	if action.RetryPolicy == nil {
		action.RetryPolicy = &routev3.RetryPolicy{NumRetries: wrapperspb.UInt32(0)}
	}
	action.RetryPolicy.PerTryTimeout = durationpb.New(d)
}

package retry

import (
	"fmt"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	prioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Policy is the feature of the field retry of a BackendTrafficPolicy.
type Policy struct{}

var (
	_ feature.Checker      = Policy{}
	_ feature.RouteApplier = Policy{}
)

const (
	// defaultRetries and defaultCode are those of the API.
	defaultRetries = 2
	defaultCode    = 503
)

// Name returns the name of the policy's field.
func (Policy) Name() string { return "BackendTrafficPolicy.retry" }

// Check refuses what Envoy cannot have, and retries of requests that pass no route.
func (Policy) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.Retry)
	var refused policy.Refusals
	if policy.Inline(a) {
		refused.Add("", "Requests that a policy makes itself are not retried by this version of Sluice: remove retry")
		return refused
	}
	negative := func(path string, n *int32) {
		if n != nil && *n < 0 {
			refused.Add(path, "The number %d is negative: use 0 or more", *n)
		}
	}
	negative(".numRetries", spec.NumRetries)
	negative(".numAttemptsPerPriority", spec.NumAttemptsPerPriority)
	if on := spec.RetryOn; on != nil {
		refused.Triggers(".retryOn.triggers", on.Triggers)
		for i, code := range on.HTTPStatusCodes {
			if code < 100 || code > 599 {
				refused.Add(fmt.Sprintf(".retryOn.httpStatusCodes[%d]", i), "The number %d is not a status code: use 100 to 599",
					code)
			}
		}
	}
	if spec.PerRetry != nil {
		refused.Duration(".perRetry.timeout", spec.PerRetry.Timeout, 0)
		refused.BackOff(".perRetry.backOff", spec.PerRetry.BackOff)
	}
	return refused
}

// ApplyRoute sets the route's retry policy. A retry or a timeout of the rule itself is applied later.
func (Policy) ApplyRoute(r *feature.Route, a model.Attached) {
	spec := a.Spec.(*egv1a1.Retry)
	action := r.Action()
	if action == nil {
		return
	}
	on, codes := []egv1a1.TriggerEnum(nil), []egv1a1.HTTPStatus{defaultCode}
	if spec.RetryOn != nil {
		on, codes = spec.RetryOn.Triggers, spec.RetryOn.HTTPStatusCodes
	}
	out := &routev3.RetryPolicy{
		RetryOn:              policy.RetryOn(on),
		RetriableStatusCodes: statuses(codes),
		NumRetries:           policy.Uint32(spec.NumRetries),
	}
	if out.NumRetries == nil {
		out.NumRetries = wrapperspb.UInt32(defaultRetries)
	}
	elsewhere(out)
	if n := policy.Or(spec.NumAttemptsPerPriority, 0); n > 0 {
		out.RetryPriority = &routev3.RetryPolicy_RetryPriority{
			Name: policy.PreviousPriorities,
			ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{
				TypedConfig: feature.Pack(&prioritiesv3.PreviousPrioritiesConfig{UpdateFrequency: n}),
			},
		}
	}
	if spec.PerRetry != nil {
		if d := policy.Duration(spec.PerRetry.Timeout); d.AsDuration() > 0 {
			out.PerTryTimeout = d
		}
		out.RetryBackOff = backOff(spec.PerRetry.BackOff)
	}
	action.RetryPolicy = out
}

// backOff returns nil for Envoy's own.
func backOff(spec *egv1a1.BackOffPolicy) *routev3.RetryPolicy_RetryBackOff {
	if spec == nil || spec.BaseInterval == nil && spec.MaxInterval == nil {
		return nil
	}
	out := &routev3.RetryPolicy_RetryBackOff{
		BaseInterval: policy.Duration(spec.BaseInterval), MaxInterval: policy.Duration(spec.MaxInterval),
	}
	if out.BaseInterval == nil {
		out.BaseInterval = durationpb.New(policy.DefaultBackOff) // which Envoy requires
	}
	return out
}

package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	prioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/duration"
)

// PreviousPriorities is the retry_priority with which retries go to endpoints of other priorities than those tried.
const PreviousPriorities = "envoy.retry_priorities.previous_priorities"

// DefaultBackOff is Envoy's first interval between retries.
const DefaultBackOff = 25 * time.Millisecond

var (
	// defaultTriggers are those of the API.
	defaultTriggers = []egv1a1.TriggerEnum{
		egv1a1.ConnectFailure, egv1a1.RefusedStream, egv1a1.Unavailable, egv1a1.Cancelled, egv1a1.RetriableStatusCodes,
	}
	triggers = append([]egv1a1.TriggerEnum{
		egv1a1.Error5XX, egv1a1.GatewayError, egv1a1.Reset, egv1a1.ResetBeforeRequest, egv1a1.Retriable4XX,
		egv1a1.DeadlineExceeded, egv1a1.Internal, egv1a1.ResourceExhausted,
	}, defaultTriggers...)
)

// RetryOn returns the triggers of retries as Envoy takes them; the API's defaults for none.
func RetryOn(list []egv1a1.TriggerEnum) string {
	if len(list) == 0 {
		list = defaultTriggers
	}
	out := make([]string, len(list))
	for i, trigger := range list {
		out[i] = string(trigger)
	}
	return strings.Join(out, ",")
}

// Triggers refuses triggers of retries that there are not.
func (r *Refusals) Triggers(path string, list []egv1a1.TriggerEnum) {
	for i, trigger := range list {
		if !slices.Contains(triggers, trigger) {
			r.Add(fmt.Sprintf("%s[%d]", path, i), "There is no trigger %q", trigger)
		}
	}
}

// BackOff refuses intervals between retries that Envoy cannot have.
func (r *Refusals) BackOff(path string, spec *egv1a1.BackOffPolicy) {
	if spec == nil {
		return
	}
	base := r.Duration(path+".baseInterval", spec.BaseInterval, time.Millisecond)
	longest := r.Duration(path+".maxInterval", spec.MaxInterval, time.Millisecond)
	if base == 0 {
		base = DefaultBackOff
	}
	if longest > 0 && longest < base {
		r.Add(path+".maxInterval", "The longest interval %v is shorter than the first, %v: make it longer", longest, base)
	}
}

// Requests refuses settings (backendSettings, at path) of requests that a policy makes itself, for which [RetryPolicy]
// and [RequestTimeout] have no place.
func (r *Refusals) Requests(path string, s *egv1a1.ClusterSettings) {
	if s == nil {
		return
	}
	r.Duration(path+".timeout.http.requestTimeout", requestTimeout(s), time.Millisecond)
	retry := s.Retry
	if retry == nil {
		return
	}
	path += ".retry"
	if retry.NumRetries != nil && *retry.NumRetries < 0 {
		r.Add(path+".numRetries", "The number %d is negative: use 0 or more", *retry.NumRetries)
	}
	if n := retry.NumAttemptsPerPriority; n != nil && *n < 0 {
		r.Add(path+".numAttemptsPerPriority", "The number %d is negative: use 0 or more", *n)
	}
	if on := retry.RetryOn; on != nil {
		r.Triggers(path+".retryOn.triggers", on.Triggers)
		if len(on.HTTPStatusCodes) > 0 {
			r.Add(path+".retryOn.httpStatusCodes", "Envoy knows no single codes for requests that a policy makes itself: "+
				"use the trigger 5xx or gateway-error")
		}
	}
	if per := retry.PerRetry; per != nil {
		if per.Timeout != nil {
			r.Add(path+".perRetry.timeout", "Envoy has no time limit for one attempt of a request that a policy makes itself: "+
				"remove it")
		}
		r.BackOff(path+".perRetry.backOff", per.BackOff)
	}
}

// RetryPolicy is how requests that a policy makes itself are retried (backendSettings.retry); nil if they are not.
func RetryPolicy(s *egv1a1.ClusterSettings) *corev3.RetryPolicy {
	if s == nil || s.Retry == nil {
		return nil
	}
	out := &corev3.RetryPolicy{NumRetries: Uint32(s.Retry.NumRetries)}
	var on []egv1a1.TriggerEnum
	if s.Retry.RetryOn != nil {
		on = s.Retry.RetryOn.Triggers
	}
	out.RetryOn = RetryOn(on)
	if n := Or(s.Retry.NumAttemptsPerPriority, 0); n > 0 { // then a fallback can be tried
		out.RetryPriority = &corev3.RetryPolicy_RetryPriority{
			Name: PreviousPriorities,
			ConfigType: &corev3.RetryPolicy_RetryPriority_TypedConfig{
				TypedConfig: feature.Pack(&prioritiesv3.PreviousPrioritiesConfig{UpdateFrequency: n}),
			},
		}
	}
	if per := s.Retry.PerRetry; per != nil && per.BackOff != nil {
		out.RetryBackOff = &corev3.BackoffStrategy{
			BaseInterval: Duration(per.BackOff.BaseInterval), MaxInterval: Duration(per.BackOff.MaxInterval),
		}
		if out.RetryBackOff.BaseInterval == nil {
			out.RetryBackOff.BaseInterval = durationpb.New(DefaultBackOff) // which Envoy requires
		}
	}
	return out
}

func requestTimeout(s *egv1a1.ClusterSettings) *gwv1.Duration {
	if s == nil || s.Timeout == nil || s.Timeout.HTTP == nil {
		return nil
	}
	return s.Timeout.HTTP.RequestTimeout
}

// RequestTimeout is how long a request that a policy makes itself may take (backendSettings.timeout.http
// .requestTimeout), or another time if that is not set.
func RequestTimeout(s *egv1a1.ClusterSettings, unset time.Duration) time.Duration {
	if d := requestTimeout(s); d != nil {
		return duration.MustParse(*d)
	}
	return unset
}

// OfCluster returns what is left of settings for the cluster when the feature that makes the requests has
// [RetryPolicy] and [RequestTimeout] of them; nil if that is nothing.
func OfCluster(s *egv1a1.ClusterSettings) *egv1a1.ClusterSettings {
	if s == nil {
		return nil
	}
	out := *s
	out.Retry = nil
	if requestTimeout(s) != nil {
		timeout, http := *s.Timeout, *s.Timeout.HTTP
		http.RequestTimeout = nil
		timeout.HTTP, out.Timeout = &http, &timeout
		if http == (egv1a1.HTTPTimeout{}) {
			timeout.HTTP = nil
		}
		if timeout == (egv1a1.Timeout{}) {
			out.Timeout = nil
		}
	}
	if out == (egv1a1.ClusterSettings{}) {
		return nil
	}
	return &out
}

// Package retry has a failed request tried again: the field retry of a rule (Gateway API: HTTPRouteRetry, GEP-1731),
// and that of a BackendTrafficPolicy. What a rule says replaces what a policy says.
//
// The field of a rule becomes the RetryPolicy of the RouteAction:
//
//   - retry_on always has connect-failure (refused, timed out, TLS handshake failed), refused-stream,
//     reset-before-request and unavailable (gRPC): the backend did not process the request;
//   - codes become retriable_status_codes, with retriable-status-codes in retry_on; nothing retries on 5xx as such;
//   - attempts is num_retries, 1 by default; 0 leaves the route without retries;
//   - backoff is the base_interval of retry_back_off; Envoy caps the delay at ten times that and adds jitter;
//   - retry_host_predicate previous_hosts makes a retry look for another endpoint first.
//
// With timeouts.backendRequest an attempt that takes too long is to be retried too (HTTPRouteRetry.backoff). Envoy has
// no condition for this alone, so reset is added: then a connection that breaks after the request was sent is retried
// as well. To what a policy says nothing is added: its triggers are what its author chose.
//
// The field of a policy becomes the RetryPolicy in the same way: numRetries is num_retries, triggers are retry_on,
// httpStatusCodes retriable_status_codes, perRetry.timeout per_try_timeout, perRetry.backOff retry_back_off, and
// numAttemptsPerPriority the update_frequency of the retry_priority previous_priorities.
package retry

import (
	"fmt"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/duration"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field retry.
type Feature struct{}

var (
	_ feature.Checker      = Feature{}
	_ feature.RouteApplier = Feature{}
)

const (
	name            = "Retry"
	defaultAttempts = 1
	// hostAttempts is how often Envoy asks the load balancer for an endpoint that was not tried yet.
	hostAttempts = 5
	previousHost = "envoy.retry_host_predicates.previous_hosts"
)

// Name returns the name of the field's type.
func (Feature) Name() string { return name }

// Check refuses negative attempts, codes out of range, and a backoff that Envoy cannot have.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*gwv1.HTTPRouteRetry)
	var problems []feature.Problem
	refuse := func(path, format string, args ...any) {
		problems = append(problems, feature.Problem{
			Reason: "UnsupportedValue", Message: fmt.Sprintf(format, args...), Path: path,
		})
	}
	if spec.Attempts != nil && *spec.Attempts < 0 {
		refuse(".attempts", "The number of attempts %d is negative: use 0 to switch retries off", *spec.Attempts)
	}
	for i, code := range spec.Codes {
		if code < 400 || code > 599 {
			refuse(fmt.Sprintf(".codes[%d]", i), "The status code %d is not an error: use one from 400 to 599", code)
		}
	}
	if spec.Backoff != nil {
		switch d, err := duration.Parse(*spec.Backoff); {
		case err != nil:
			refuse(".backoff", "Invalid backoff: %v", err)
		case d == 0:
			refuse(".backoff", "Envoy cannot retry without a backoff: use at least 1ms, or leave the field out")
		}
	}
	return problems
}

// ApplyRoute sets the route's retry policy, and keeps how long an attempt may take.
func (Feature) ApplyRoute(r *feature.Route, a model.Attached) {
	spec := a.Spec.(*gwv1.HTTPRouteRetry)
	action := r.Action()
	attempts := defaultAttempts
	if spec.Attempts != nil {
		attempts = *spec.Attempts
	}
	if action == nil {
		return
	}
	// What a policy says of retries is replaced as a whole, but for how long an attempt may take: that says the same with
	// and without retries.
	perTry := action.GetRetryPolicy().GetPerTryTimeout()
	action.RetryPolicy = nil
	if attempts == 0 {
		if perTry != nil {
			action.RetryPolicy = &routev3.RetryPolicy{NumRetries: wrapperspb.UInt32(0), PerTryTimeout: perTry}
		}
		return
	}
	on := []string{"connect-failure", "refused-stream", "reset-before-request", "unavailable"}
	if len(spec.Codes) > 0 {
		on = append(on, "retriable-status-codes")
	}
	if perTry != nil {
		on = append(on, "reset")
	}
	policy := &routev3.RetryPolicy{
		RetryOn:              strings.Join(on, ","),
		NumRetries:           wrapperspb.UInt32(uint32(attempts)), //nolint:gosec // not negative, and small
		RetriableStatusCodes: statuses(spec.Codes),
		PerTryTimeout:        perTry,
	}
	action.RetryPolicy = policy
	elsewhere(policy)
	if spec.Backoff != nil {
		policy.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{
			BaseInterval: durationpb.New(duration.MustParse(*spec.Backoff)),
		}
	}
}

// elsewhere has a retry look for an endpoint that was not tried yet.
func elsewhere(policy *routev3.RetryPolicy) {
	policy.HostSelectionRetryMaxAttempts = hostAttempts
	policy.RetryHostPredicate = []*routev3.RetryPolicy_RetryHostPredicate{{
		Name: previousHost,
		ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{
			TypedConfig: feature.Pack(&previoushostsv3.PreviousHostsPredicate{}),
		},
	}}
}

func statuses[T ~int](in []T) []uint32 {
	var out []uint32
	for _, code := range in {
		out = append(out, uint32(code)) //nolint:gosec // checked
	}
	slices.Sort(out)
	return slices.Compact(out)
}

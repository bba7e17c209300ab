// Package retrybudget is the field retryConstraint of an XBackendTrafficPolicy: how large a part of a backend's
// requests may be retries (Gateway API: RetryConstraint, GEP-3388).
//
// It is the retry budget of the backend's cluster (circuit_breakers.thresholds.retry_budget), which replaces the limit
// of concurrent retries that clusters have otherwise. budget.percent is budget_percent and budget.interval
// budget_interval: requests count for that long, whether or not they are done.
//
// Envoy limits how many retries are under way, not how many begin in a time, so minRetryRate cannot be said exactly. It
// becomes min_retry_concurrency, count divided by interval in seconds and rounded up: a rate of 10 in 1s is reached
// with retries that take a second each. Shorter ones can be more. A retry that the budget refuses is not made: the
// client gets the answer that would have been retried.
package retrybudget

import (
	"fmt"
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1a1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/duration"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field retryConstraint.
type Feature struct{}

var (
	_ feature.Checker        = Feature{}
	_ feature.ClusterApplier = Feature{}
)

// The defaults of the CRD.
const (
	defaultPercent  = 20
	defaultInterval = 10 * time.Second
	defaultCount    = 10
	defaultPer      = time.Second
	// longest is the longest interval that the specification allows.
	longest = time.Hour
)

// Name returns the name of the field's type.
func (Feature) Name() string { return "RetryConstraint" }

// Check refuses intervals that are none.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*gwxv1a1.RetryConstraint)
	var problems []feature.Problem
	check := func(path string, interval *gwv1.Duration, shortest time.Duration) {
		if interval == nil {
			return
		}
		if d, err := duration.Parse(*interval); err != nil || d < shortest || d > longest {
			problems = append(problems, feature.Problem{
				Reason: "Invalid", Path: path,
				Message: fmt.Sprintf("The interval %q cannot be used: use %s to %s", *interval, shortest, longest),
			})
		}
	}
	if spec.Budget != nil {
		check(".budget.interval", spec.Budget.Interval, time.Second)
	}
	if spec.MinRetryRate != nil {
		check(".minRetryRate.interval", spec.MinRetryRate.Interval, time.Millisecond)
	}
	return problems
}

// ApplyCluster sets the budget.
func (Feature) ApplyCluster(c *feature.Cluster, a model.Attached) {
	spec := a.Spec.(*gwxv1a1.RetryConstraint)
	for _, t := range c.Proto.GetCircuitBreakers().GetThresholds() {
		t.RetryBudget = budget(spec)
	}
}

func budget(spec *gwxv1a1.RetryConstraint) *clusterv3.CircuitBreakers_Thresholds_RetryBudget {
	percent, interval := defaultPercent, defaultInterval
	if b := spec.Budget; b != nil {
		percent, interval = or(b.Percent, percent), length(b.Interval, interval)
	}
	count, per := defaultCount, defaultPer
	if m := spec.MinRetryRate; m != nil {
		count, per = or(m.Count, count), length(m.Interval, per)
	}
	return &clusterv3.CircuitBreakers_Thresholds_RetryBudget{
		BudgetPercent:  &typev3.Percent{Value: float64(percent)},
		BudgetInterval: durationpb.New(interval),
		// At most 1,000,000 in a millisecond.
		MinRetryConcurrency: wrapperspb.UInt32(uint32(math.Ceil(float64(count) / per.Seconds()))),
	}
}

func or(value *int, unset int) int {
	if value == nil {
		return unset
	}
	return *value
}

func length(value *gwv1.Duration, unset time.Duration) time.Duration {
	if value == nil {
		return unset
	}
	return duration.MustParse(*value)
}

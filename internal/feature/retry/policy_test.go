package retry

import (
	"testing"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestPolicyGolden(t *testing.T) {
	featuretest.GoldenIn[egv1a1.Retry](t, Policy{}, "testdata/BackendTrafficPolicy.retry")
}

// TestRuleReplacesPolicy says that nothing of a policy's retries is left where a rule has its own, but for how long an
// attempt may take.
func TestRuleReplacesPolicy(t *testing.T) {
	policy := &egv1a1.Retry{
		NumRetries: new(int32(5)), RetryOn: &egv1a1.RetryOn{Triggers: []egv1a1.TriggerEnum{egv1a1.Error5XX}},
		PerRetry: &egv1a1.PerRetryPolicy{
			Timeout: new(gwv1.Duration("1s")), BackOff: &egv1a1.BackOffPolicy{BaseInterval: new(gwv1.Duration("9s"))},
		},
	}
	for name, tt := range map[string]struct {
		rule    gwv1.HTTPRouteRetry
		on      string
		retries uint32
	}{
		"once": {gwv1.HTTPRouteRetry{}, "connect-failure,refused-stream,reset-before-request,unavailable,reset", 1},
		"off":  {gwv1.HTTPRouteRetry{Attempts: new(0)}, "", 0},
	} {
		r := featuretest.NewRoute(&model.Rule{}, featuretest.PrefixMatch("/"))
		Policy{}.ApplyRoute(r, model.Attached{Spec: policy})
		Feature{}.ApplyRoute(r, model.Attached{Spec: &tt.rule})
		got := r.Action().GetRetryPolicy()
		if got.GetRetryOn() != tt.on || got.GetNumRetries().GetValue() != tt.retries || got.GetRetryBackOff() != nil ||
			got.GetNumRetries() == nil || got.GetPerTryTimeout().AsDuration() != time.Second {
			t.Errorf("%s: got %v, want %d retries on %q within 1s", name, got, tt.retries, tt.on)
		}
	}
}

func TestPolicyCheck(t *testing.T) {
	backOff := func(base, longest gwv1.Duration) egv1a1.Retry {
		return egv1a1.Retry{PerRetry: &egv1a1.PerRetryPolicy{
			BackOff: &egv1a1.BackOffPolicy{BaseInterval: &base, MaxInterval: &longest},
		}}
	}
	on := func(trigger egv1a1.TriggerEnum, code egv1a1.HTTPStatus) egv1a1.Retry {
		return egv1a1.Retry{RetryOn: &egv1a1.RetryOn{
			Triggers: []egv1a1.TriggerEnum{trigger}, HTTPStatusCodes: []egv1a1.HTTPStatus{code},
		}}
	}
	for _, tt := range []struct {
		spec egv1a1.Retry
		path string
		want string
	}{
		{egv1a1.Retry{}, "spec.retry", ""},
		{egv1a1.Retry{}, "spec.extAuth.grpc.backendSettings.retry", "remove retry"},
		{egv1a1.Retry{NumRetries: new(int32(-1))}, "", "negative"},
		{on("5xx", 404), "", ""},
		{on("6xx", 404), "", `no trigger "6xx"`},
		{on("5xx", 700), "", "700 is not a status code"},
		{backOff("10ms", "10ms"), "", ""},
		{backOff("10ms", "9ms"), "", "make it longer"},
		{backOff("0s", "1s"), "", "at least 1ms"},
		{egv1a1.Retry{PerRetry: &egv1a1.PerRetryPolicy{BackOff: &egv1a1.BackOffPolicy{
			MaxInterval: new(gwv1.Duration("20ms")),
		}}}, "", "shorter than the first, 25ms"},
	} {
		featuretest.Expect(t, Policy{}.Check(model.Attached{Spec: &tt.spec, Path: tt.path}, &model.Rule{}), tt.want)
	}
}

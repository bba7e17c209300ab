package retry

import (
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[gwv1.HTTPRouteRetry](t, Feature{})
}

func TestZeroAttempts(t *testing.T) {
	r := featuretest.NewRoute(&model.Rule{}, featuretest.PrefixMatch("/"))
	Feature{}.ApplyRoute(r, model.Attached{Spec: &gwv1.HTTPRouteRetry{
		Attempts: new(0), Codes: []gwv1.HTTPRouteRetryStatusCode{500},
	}})
	if r.Action().GetRetryPolicy() != nil {
		t.Errorf("got %v, want no retries", r.Action().GetRetryPolicy())
	}
}

// Package timeout applies its half of the policy in the same way; package all tests both orders.
func TestKeepsPerTryTimeout(t *testing.T) {
	r := featuretest.NewRoute(&model.Rule{}, featuretest.PrefixMatch("/"))
	r.Action().RetryPolicy = &routev3.RetryPolicy{PerTryTimeout: durationpb.New(time.Second)}
	Feature{}.ApplyRoute(r, model.Attached{Spec: &gwv1.HTTPRouteRetry{}})
	got := r.Action().GetRetryPolicy()
	if got.GetPerTryTimeout().AsDuration() != time.Second || got.GetNumRetries().GetValue() != 1 {
		t.Errorf("got %v, want one retry with a timeout of 1s", got)
	}
	if want := "connect-failure,refused-stream,reset-before-request,unavailable,reset"; got.GetRetryOn() != want {
		t.Errorf("retry on %q, want %q", got.GetRetryOn(), want)
	}
}

func TestRedirectIsLeftAlone(t *testing.T) {
	r := featuretest.NewRoute(&model.Rule{}, featuretest.PrefixMatch("/"))
	r.Proto.Action = &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{}}
	Feature{}.ApplyRoute(r, model.Attached{Spec: &gwv1.HTTPRouteRetry{}})
	if r.Proto.GetRedirect() == nil {
		t.Errorf("the redirect is gone: %v", r.Proto)
	}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		spec gwv1.HTTPRouteRetry
		want string
	}{
		{gwv1.HTTPRouteRetry{}, ""},
		{gwv1.HTTPRouteRetry{Attempts: new(0), Backoff: new(gwv1.Duration("1ms"))}, ""},
		{gwv1.HTTPRouteRetry{Codes: []gwv1.HTTPRouteRetryStatusCode{400, 599}}, ""},
		{gwv1.HTTPRouteRetry{Attempts: new(-1)}, "negative"},
		{gwv1.HTTPRouteRetry{Codes: []gwv1.HTTPRouteRetryStatusCode{500, 200}}, "200 is not an error"},
		{gwv1.HTTPRouteRetry{Backoff: new(gwv1.Duration("0s"))}, "at least 1ms"},
		{gwv1.HTTPRouteRetry{Backoff: new(gwv1.Duration("soon"))}, "not a duration"},
	}
	for _, tt := range tests {
		featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &tt.spec}, &model.Rule{}), tt.want)
	}
}

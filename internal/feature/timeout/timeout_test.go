package timeout

import (
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[gwv1.HTTPRouteTimeouts](t, Feature{})
}

func TestIdleTimeoutFollowsLongRequests(t *testing.T) {
	tests := map[gwv1.Duration]*time.Duration{
		"0s":  new(time.Duration(0)), // off
		"10s": nil,                   // the listener's
		"5m":  nil,
		"1h":  new(time.Hour),
	}
	for request, want := range tests {
		r := featuretest.NewRoute(&model.Rule{}, featuretest.PrefixMatch("/"))
		Feature{}.ApplyRoute(r, model.Attached{Spec: &gwv1.HTTPRouteTimeouts{Request: &request}})
		got := r.Action().GetIdleTimeout()
		if (got == nil) != (want == nil) || want != nil && got.AsDuration() != *want {
			t.Errorf("request %s: idle timeout %v, want %v", request, got, want)
		}
	}
}

func TestZeroBackendRequestHasNoPolicy(t *testing.T) {
	r := featuretest.NewRoute(&model.Rule{}, featuretest.PrefixMatch("/"))
	Feature{}.ApplyRoute(r, model.Attached{Spec: &gwv1.HTTPRouteTimeouts{BackendRequest: new(gwv1.Duration("0s"))}})
	if r.Action().GetRetryPolicy() != nil {
		t.Errorf("got %v, want none", r.Action().GetRetryPolicy())
	}
}

func TestKeepsRetries(t *testing.T) {
	r := featuretest.NewRoute(&model.Rule{}, featuretest.PrefixMatch("/"))
	r.Action().RetryPolicy = &routev3.RetryPolicy{RetryOn: "reset-before-request", NumRetries: wrapperspb.UInt32(4)}
	Feature{}.ApplyRoute(r, model.Attached{Spec: &gwv1.HTTPRouteTimeouts{BackendRequest: new(gwv1.Duration("2s"))}})
	got := r.Action().GetRetryPolicy()
	if got.GetRetryOn() != "reset-before-request" || got.GetNumRetries().GetValue() != 4 ||
		got.GetPerTryTimeout().AsDuration() != 2*time.Second {
		t.Errorf("got %v, want four retries of 2s each", got)
	}
}

func TestCheck(t *testing.T) {
	tests := []struct{ request, backend, want string }{
		{"", "", ""},
		{"10s", "10s", ""},
		{"0s", "10s", ""},
		{"", "10s", ""},
		{"10s", "11s", "make it shorter"},
		{"10", "", "not a duration"},
		{"", "1.5s", "not a duration"},
	}
	for _, tt := range tests {
		spec := &gwv1.HTTPRouteTimeouts{}
		if tt.request != "" {
			spec.Request = new(gwv1.Duration(tt.request))
		}
		if tt.backend != "" {
			spec.BackendRequest = new(gwv1.Duration(tt.backend))
		}
		featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: spec}, &model.Rule{}), tt.want)
	}
}

package policy

import (
	"testing"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	prioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

// TestOfCluster says that what the feature has of settings itself does not reach the cluster, and all else does.
func TestOfCluster(t *testing.T) {
	second := gwv1.Duration("1s")
	timeout := func(request, idle *gwv1.Duration, tcp *egv1a1.TCPTimeout) *egv1a1.Timeout {
		out := &egv1a1.Timeout{TCP: tcp}
		if request != nil || idle != nil {
			out.HTTP = &egv1a1.HTTPTimeout{RequestTimeout: request, ConnectionIdleTimeout: idle}
		}
		return out
	}
	breaker := &egv1a1.CircuitBreaker{}
	for _, tt := range []struct{ in, want *egv1a1.ClusterSettings }{
		{nil, nil},
		{&egv1a1.ClusterSettings{}, nil},
		{&egv1a1.ClusterSettings{Retry: &egv1a1.Retry{}, Timeout: timeout(&second, nil, nil)}, nil},
		{
			&egv1a1.ClusterSettings{CircuitBreaker: breaker, Timeout: timeout(&second, &second, nil)},
			&egv1a1.ClusterSettings{CircuitBreaker: breaker, Timeout: timeout(nil, &second, nil)},
		},
		{
			&egv1a1.ClusterSettings{Timeout: timeout(&second, nil, &egv1a1.TCPTimeout{})},
			&egv1a1.ClusterSettings{Timeout: timeout(nil, nil, &egv1a1.TCPTimeout{})},
		},
	} {
		before := tt.in.DeepCopy()
		if diff := cmp.Diff(tt.want, OfCluster(tt.in)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(before, tt.in); diff != "" {
			t.Errorf("the settings themselves were changed: %s", diff)
		}
	}
}

func TestRetryPolicy(t *testing.T) {
	settings := func(retry *egv1a1.Retry) *egv1a1.ClusterSettings { return &egv1a1.ClusterSettings{Retry: retry} }
	const defaults = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
	for _, tt := range []struct {
		in   *egv1a1.ClusterSettings
		want *corev3.RetryPolicy
	}{
		{nil, nil},
		{settings(nil), nil},
		{settings(&egv1a1.Retry{NumRetries: new(int32(2))}), &corev3.RetryPolicy{
			RetryOn: defaults, NumRetries: wrapperspb.UInt32(2),
		}},
		{settings(&egv1a1.Retry{
			RetryOn:  &egv1a1.RetryOn{Triggers: []egv1a1.TriggerEnum{egv1a1.Error5XX, egv1a1.Reset}},
			PerRetry: &egv1a1.PerRetryPolicy{BackOff: &egv1a1.BackOffPolicy{MaxInterval: new(gwv1.Duration("1s"))}},
		}), &corev3.RetryPolicy{RetryOn: "5xx,reset", RetryBackOff: &corev3.BackoffStrategy{
			BaseInterval: durationpb.New(DefaultBackOff), MaxInterval: durationpb.New(time.Second),
		}}},
		{settings(&egv1a1.Retry{NumAttemptsPerPriority: new(int32(2))}), &corev3.RetryPolicy{
			RetryOn: defaults, RetryPriority: &corev3.RetryPolicy_RetryPriority{
				Name: PreviousPriorities,
				ConfigType: &corev3.RetryPolicy_RetryPriority_TypedConfig{
					TypedConfig: feature.Pack(&prioritiesv3.PreviousPrioritiesConfig{UpdateFrequency: 2}),
				},
			},
		}},
	} {
		if diff := cmp.Diff(tt.want, RetryPolicy(tt.in), protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestBackends(t *testing.T) {
	one := make([]egv1a1.BackendRef, 1)
	retrying := func(retry egv1a1.Retry) egv1a1.BackendCluster {
		return egv1a1.BackendCluster{BackendRefs: one, BackendSettings: &egv1a1.ClusterSettings{Retry: &retry}}
	}
	for _, tt := range []struct {
		cluster egv1a1.BackendCluster
		want    string
	}{
		{egv1a1.BackendCluster{BackendRefs: one}, ""},
		{egv1a1.BackendCluster{BackendRefs: make([]egv1a1.BackendRef, 2)}, ""},
		{egv1a1.BackendCluster{BackendRefs: []egv1a1.BackendRef{{}, {Weight: new(uint32(0))}, {Fallback: new(true)}}}, ""},
		{egv1a1.BackendCluster{BackendRefs: []egv1a1.BackendRef{{Weight: new(uint32(0))}}}, "leave the weight out"},
		{egv1a1.BackendCluster{BackendRefs: []egv1a1.BackendRef{{Weight: new(uint32(5)), Fallback: new(false)}}}, ""},
		{egv1a1.BackendCluster{BackendRefs: []egv1a1.BackendRef{{Fallback: new(true)}}}, "no other backend"},
		{retrying(egv1a1.Retry{NumRetries: new(int32(3))}), ""},
		{retrying(egv1a1.Retry{NumRetries: new(int32(-1))}), "negative"},
		{retrying(egv1a1.Retry{NumAttemptsPerPriority: new(int32(1))}), ""},
		{retrying(egv1a1.Retry{NumAttemptsPerPriority: new(int32(-1))}), "negative"},
		{retrying(egv1a1.Retry{RetryOn: &egv1a1.RetryOn{HTTPStatusCodes: []egv1a1.HTTPStatus{503}}}), "no single codes"},
		{retrying(egv1a1.Retry{RetryOn: &egv1a1.RetryOn{Triggers: []egv1a1.TriggerEnum{"6xx"}}}), `no trigger "6xx"`},
		{retrying(egv1a1.Retry{PerRetry: &egv1a1.PerRetryPolicy{Timeout: new(gwv1.Duration("1s"))}}), "one attempt"},
		{egv1a1.BackendCluster{BackendSettings: &egv1a1.ClusterSettings{Timeout: &egv1a1.Timeout{
			HTTP: &egv1a1.HTTPTimeout{RequestTimeout: new(gwv1.Duration("0s"))},
		}}}, "too short"},
	} {
		var refused Refusals
		refused.Backends(".http", &tt.cluster)
		featuretest.Expect(t, refused, tt.want)
	}
}

// TestBackendReferences gives each backend the settings of the cluster, at its own path.
func TestBackendReferences(t *testing.T) {
	settings := &egv1a1.ClusterSettings{CircuitBreaker: &egv1a1.CircuitBreaker{}, Retry: &egv1a1.Retry{}}
	got := BackendReferences(&egv1a1.BackendCluster{
		//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
		BackendRef: &gwv1.BackendObjectReference{Name: "old"}, BackendRefs: make([]egv1a1.BackendRef, 1),
		BackendSettings: settings,
	}, "spec.extAuth.grpc", model.AppGRPC)
	if len(got) != 2 || got[0].Path != "spec.extAuth.grpc.backendRef" || got[0].Backend.Name != "old" ||
		got[1].Path != "spec.extAuth.grpc.backendRefs[0]" || got[1].Use != model.AppGRPC {
		t.Fatalf("got %+v", got)
	}
	for _, ref := range got {
		if ref.Settings == nil || ref.Settings.CircuitBreaker != settings.CircuitBreaker || ref.Settings.Retry != nil {
			t.Errorf("%s has the settings %+v", ref.Path, ref.Settings)
		}
	}
}

// TestBackend makes one backend of several that share the requests to a cluster.
func TestBackend(t *testing.T) {
	a, b := featuretest.Service("a"), featuretest.Service("b")
	both := model.Split([]model.WeightedBackend{{Backend: a, Weight: 3}, {Backend: b, Weight: 1, Fallback: true}})
	refs := []egv1a1.BackendRef{{Weight: new(uint32(3))}, {Fallback: new(true)}}
	for _, tt := range []struct {
		refs  []egv1a1.BackendRef
		found []model.BackendKey
		want  model.BackendKey
	}{
		{nil, nil, model.BackendKey{}},
		{nil, []model.BackendKey{a}, a}, // the server of a URL
		{refs[:1], []model.BackendKey{a}, a},
		{refs, []model.BackendKey{a, b}, both},
		{refs, []model.BackendKey{a, {}}, a},
		{refs, []model.BackendKey{{}, {}}, model.BackendKey{}},
		{[]egv1a1.BackendRef{{Weight: new(uint32(0))}, {}}, []model.BackendKey{a, b}, b},
	} {
		if got := Backend(&egv1a1.BackendCluster{BackendRefs: tt.refs}, tt.found); got != tt.want {
			t.Errorf("%v of %v is %v, want %v", tt.refs, tt.found, got, tt.want)
		}
	}
	//lint:ignore SA1019 deprecated, but part of the API
	old := &egv1a1.BackendCluster{BackendRef: &gwv1.BackendObjectReference{}, BackendRefs: refs[1:]}
	if got := Backend(old, []model.BackendKey{a, b}).Parts(); len(got) != 2 || got[0].Weight != 1 || !got[1].Fallback {
		t.Errorf("the deprecated field and the other come to %v", got)
	}
}

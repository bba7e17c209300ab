package timeout

import (
	"testing"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestPolicyGolden(t *testing.T) {
	featuretest.GoldenIn[egv1a1.Timeout](t, Policy{}, "testdata/BackendTrafficPolicy.timeout")
}

// TestRuleWinsOverPolicy says which timeouts a route has whose rule and policy both have one: the rule's for the
// request, and for quiet requests the policy's if it has one.
func TestRuleWinsOverPolicy(t *testing.T) {
	idle := new(gwv1.Duration("1m"))
	for name, tt := range map[string]struct {
		policy        egv1a1.HTTPTimeout
		rule          gwv1.Duration
		request, idle time.Duration
	}{
		"shorter": {egv1a1.HTTPTimeout{RequestTimeout: new(gwv1.Duration("5s"))}, "2s", 2 * time.Second, 0},
		"longer": {egv1a1.HTTPTimeout{RequestTimeout: new(gwv1.Duration("6m"))}, "20m", 20 * time.Minute,
			20 * time.Minute},
		"idle":  {egv1a1.HTTPTimeout{StreamIdleTimeout: idle}, "20m", 20 * time.Minute, time.Minute},
		"quiet": {egv1a1.HTTPTimeout{StreamIdleTimeout: idle}, "0s", 0, time.Minute},
	} {
		r := featuretest.NewRoute(&model.Rule{}, featuretest.PrefixMatch("/"))
		Policy{}.ApplyRoute(r, model.Attached{Spec: &egv1a1.Timeout{HTTP: &tt.policy}})
		Feature{}.ApplyRoute(r, model.Attached{Spec: &gwv1.HTTPRouteTimeouts{Request: &tt.rule}})
		got := r.Action()
		if got.GetTimeout().AsDuration() != tt.request || got.GetIdleTimeout().AsDuration() != tt.idle {
			t.Errorf("%s: got %v and %v, want %v and %v", name, got.GetTimeout(), got.GetIdleTimeout(), tt.request, tt.idle)
		}
	}
}

// TestOwnClusters says which timeouts give a route connections of its own: those of connections.
func TestOwnClusters(t *testing.T) {
	d := new(gwv1.Duration("1s"))
	const inline = "spec.extAuth.http.backendSettings.timeout"
	for _, tt := range []struct {
		spec egv1a1.Timeout
		path string
		want bool
	}{
		{egv1a1.Timeout{HTTP: &egv1a1.HTTPTimeout{RequestTimeout: d, StreamIdleTimeout: d, MaxStreamDuration: d}},
			"spec.timeout", false},
		{egv1a1.Timeout{HTTP: &egv1a1.HTTPTimeout{MaxStreamDuration: d}}, inline, true},
		{egv1a1.Timeout{HTTP: &egv1a1.HTTPTimeout{ConnectionIdleTimeout: d}}, "spec.timeout", true},
		{egv1a1.Timeout{HTTP: &egv1a1.HTTPTimeout{MaxConnectionDuration: d}}, "spec.timeout", true},
		{egv1a1.Timeout{TCP: &egv1a1.TCPTimeout{ConnectTimeout: d}}, "spec.timeout", true},
		{egv1a1.Timeout{TCP: &egv1a1.TCPTimeout{}}, "spec.timeout", false},
	} {
		a := model.Attached{Feature: Policy{}.Name(), Spec: &tt.spec, Path: tt.path}
		if got := feature.NewChain(Policy{}).Clusters(a); got != tt.want {
			t.Errorf("%s %+v: a cluster of its own is %v, want %v", tt.path, tt.spec, got, tt.want)
		}
	}
}

func TestPolicyCheck(t *testing.T) {
	request := func(d gwv1.Duration) egv1a1.Timeout {
		return egv1a1.Timeout{HTTP: &egv1a1.HTTPTimeout{RequestTimeout: &d}}
	}
	const inline = "spec.extAuth.http.backendSettings.timeout"
	for _, tt := range []struct {
		spec egv1a1.Timeout
		path string
		want string
	}{
		{egv1a1.Timeout{}, "spec.timeout", ""},
		{request("0s"), "spec.timeout", ""},
		{request("often"), "spec.timeout", "not a duration"},
		{request("1s"), inline, "use maxStreamDuration"},
		{egv1a1.Timeout{HTTP: &egv1a1.HTTPTimeout{StreamIdleTimeout: new(gwv1.Duration("1s"))}}, inline, "of routes"},
		{egv1a1.Timeout{TCP: &egv1a1.TCPTimeout{ConnectTimeout: new(gwv1.Duration("1s"))}}, inline, ""},
		{egv1a1.Timeout{TCP: &egv1a1.TCPTimeout{ConnectTimeout: new(gwv1.Duration("0s"))}}, "", "at least 1ms"},
	} {
		featuretest.Expect(t, Policy{}.Check(model.Attached{Spec: &tt.spec, Path: tt.path}, &model.Rule{}), tt.want)
	}
}

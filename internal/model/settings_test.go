package model_test

import (
	"testing"

	"github.com/sluice-gateway/sluice/internal/model"
)

// A backend keeps its settings in the name of its cluster, and in a split that it is part of; all of them share one
// entry in the model.
func TestSettings(t *testing.T) {
	own, parent := model.Name{Namespace: "a.b", Name: "c-d"}, model.Name{Namespace: "e", Name: "f"}
	backend := model.BackendKey{Kind: model.KindService, Name: model.Name{Namespace: "shop", Name: "cart"}, Port: 80}
	tests := []struct {
		settings model.SettingsKey
		cluster  string
	}{
		{model.SettingsKey{}, "service/shop/cart/80"},
		{model.Settings(model.KindBackendTrafficPolicy, own, model.Name{}, ""),
			"service/shop/cart/80~settings/backendtrafficpolicy/a.b/c-d"},
		{model.Settings(model.KindBackendTrafficPolicy, own, parent, ""),
			"service/shop/cart/80~settings/backendtrafficpolicy/a.b/c-d+e/f"},
		{model.Settings(model.KindSecurityPolicy, own, parent, "spec.extAuth.http.backendRefs[0]"),
			"service/shop/cart/80~settings/securitypolicy/a.b/c-d+e/f@spec.extAuth.http.backendRefs[0]"},
	}
	for i, tt := range tests {
		key := backend
		key.Settings = tt.settings
		if got := key.String(); got != tt.cluster {
			t.Errorf("the cluster is named %s, want %s", got, tt.cluster)
		}
		parts := model.Split([]model.WeightedBackend{{Backend: key, Weight: 1}}).Parts()
		if len(parts) != 1 || parts[0].Backend != key {
			t.Errorf("the part of a split is %+v, want %s", parts, key)
		}
		if key.Shared() != backend {
			t.Errorf("%s does not share the entry of %s", key, backend)
		}
		if i > 0 && (tests[i-1].settings.Compare(tt.settings) >= 0 || tt.settings.Compare(tests[i-1].settings) <= 0) {
			t.Errorf("%s should come behind %s", tt.settings, tests[i-1].settings)
		}
	}
}

// A stack is the policies that it was made of; without any it is the zero value.
func TestPolicyStack(t *testing.T) {
	a, b, c := model.Name{Name: "a"}, model.Name{Name: "b"}, model.Name{Name: "c"}
	if s := model.Stack(model.Name{}, model.Name{}, model.Name{}); s != (model.PolicyStack{}) {
		t.Errorf("no policies are %v", s)
	}
	for kind, want := range map[string]model.Name{
		model.KindBackendTrafficPolicy: a, model.KindSecurityPolicy: b, model.KindEnvoyExtensionPolicy: c,
		model.KindClientTrafficPolicy: {},
	} {
		if got := model.Stack(a, b, c).Policy(kind); got != want {
			t.Errorf("the %s is %v, want %v", kind, got, want)
		}
		if got := (model.PolicyStack{}).Policy(kind); got != (model.Name{}) {
			t.Errorf("the %s of no policies is %v", kind, got)
		}
	}
	if model.Stack(a, b, c).Compare(model.Stack(a, c, b)) >= 0 || model.Stack(a, b, c).Compare(model.PolicyStack{}) <= 0 {
		t.Error("the order of stacks is wrong")
	}
}

package routing

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) { featuretest.Golden[egv1a1.RoutingType](t, Feature{}) }

func TestCheck(t *testing.T) {
	for kind, want := range map[egv1a1.RoutingType]string{"Service": "", "Endpoint": "", "Moon": `no type "Moon"`} {
		featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &kind}, nil), want)
		featuretest.Expect(t, Proxy{}.Check(model.Attached{Spec: &kind}, nil), want)
	}
}

// TestPrecedence: what a policy says, which comes behind what the EnvoyProxy does, holds.
func TestPrecedence(t *testing.T) {
	chain := feature.NewChain(Feature{}, Proxy{})
	asks := func(of, kind string) model.Attached {
		spec := egv1a1.RoutingType(kind)
		return model.Attached{Feature: of, Spec: &spec}
	}
	proxy, policy := Proxy{}.Name(), Feature{}.Name()
	cases := map[string]struct {
		attached []model.Attached
		want     bool
	}{
		"nothing":             {nil, false},
		"proxy":               {[]model.Attached{asks(proxy, "Service")}, true},
		"policy":              {[]model.Attached{asks(policy, "Service")}, true},
		"policy, not proxy":   {[]model.Attached{asks(proxy, "Endpoint"), asks(policy, "Service")}, true},
		"proxy, but a policy": {[]model.Attached{asks(proxy, "Service"), asks(policy, "Endpoint")}, false},
	}
	for name, tc := range cases {
		if got := chain.ToService(tc.attached); got != tc.want {
			t.Errorf("%s: to the Service is %t, want %t", name, got, tc.want)
		}
		for _, a := range tc.attached {
			if !chain.Clusters(a) {
				t.Errorf("%s: %s does not shape clusters, so it would be lost", name, a.Feature)
			}
		}
	}
}

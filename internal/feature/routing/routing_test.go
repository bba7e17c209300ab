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
	}
}

// TestOwnCluster says that only what is not as usual needs clusters of its own.
func TestOwnCluster(t *testing.T) {
	for kind, want := range map[egv1a1.RoutingType]bool{"Service": true, "Endpoint": false} {
		if got := feature.NewChain(Feature{}).Clusters(model.Attached{Feature: Feature{}.Name(), Spec: &kind}); got != want {
			t.Errorf("%s: a cluster of its own is %v", kind, got)
		}
	}
}

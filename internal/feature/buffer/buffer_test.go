package buffer

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) { featuretest.Golden[egv1a1.RequestBuffer](t, Feature{}) }

func TestCheck(t *testing.T) {
	for size, want := range map[string]string{
		"1": "", "4Ki": "", "0": "use whole bytes", "4Gi": "out of range", "1500m": "use whole bytes",
	} {
		spec := &egv1a1.RequestBuffer{Limit: resource.MustParse(size)}
		featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: spec}, nil), want)
	}
}

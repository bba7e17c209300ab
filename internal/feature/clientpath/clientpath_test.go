package clientpath

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[egv1a1.PathSettings](t, Feature{})
}

func TestCheck(t *testing.T) {
	for action, want := range map[egv1a1.PathEscapedSlashAction]string{
		egv1a1.KeepUnchangedAction: "", "Keep": "There is no action",
	} {
		spec := &egv1a1.PathSettings{EscapedSlashesAction: &action}
		featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: spec}, &model.Rule{}), want)
	}
}

package clientip

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[egv1a1.ClientIPDetectionSettings](t, Feature{})
}

func TestCheck(t *testing.T) {
	xff := func(x egv1a1.XForwardedForSettings) egv1a1.ClientIPDetectionSettings {
		return egv1a1.ClientIPDetectionSettings{XForwardedFor: &x}
	}
	header := &egv1a1.CustomHeaderExtensionSettings{Name: "x-real-ip"}
	for _, tt := range []struct {
		spec egv1a1.ClientIPDetectionSettings
		want string
	}{
		{egv1a1.ClientIPDetectionSettings{}, "0 ways"},
		{egv1a1.ClientIPDetectionSettings{CustomHeader: header, DirectSourceIP: &egv1a1.DirectSourceIPSettings{}}, "2 ways"},
		{egv1a1.ClientIPDetectionSettings{CustomHeader: header}, ""},
		{egv1a1.ClientIPDetectionSettings{CustomHeader: &egv1a1.CustomHeaderExtensionSettings{Name: "a b"}},
			"Invalid header"},
		{xff(egv1a1.XForwardedForSettings{}), "either numTrustedHops or trustedCIDRs"},
		{xff(egv1a1.XForwardedForSettings{NumTrustedHops: new(uint32(0))}), ""},
		{xff(egv1a1.XForwardedForSettings{NumTrustedHops: new(uint32(1 << 31))}), "out of range"},
		{xff(egv1a1.XForwardedForSettings{TrustedCIDRs: []egv1a1.CIDR{"10.0.0.0/8", "10.0.0.0/33"}}), "is not valid"},
		{xff(egv1a1.XForwardedForSettings{TrustedCIDRs: []egv1a1.CIDR{"10.0.0.0"}}), "is not valid"},
	} {
		featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &tt.spec}, &model.Rule{}), tt.want)
	}
}

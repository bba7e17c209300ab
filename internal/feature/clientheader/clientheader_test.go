package clientheader

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[egv1a1.HeaderSettings](t, Feature{})
}

func TestCheck(t *testing.T) {
	certificate := func(mode egv1a1.XFCCForwardMode) egv1a1.HeaderSettings {
		return egv1a1.HeaderSettings{XForwardedClientCert: &egv1a1.XForwardedClientCert{
			Mode: &mode, CertDetailsToAdd: []egv1a1.XFCCCertData{egv1a1.XFCCCertDataDNS},
		}}
	}
	set := func(name, value string) egv1a1.HeaderSettings {
		return egv1a1.HeaderSettings{EarlyRequestHeaders: &egv1a1.HTTPHeaderFilter{
			Set: []gwv1.HTTPHeader{{Name: gwv1.HTTPHeaderName(name), Value: value}},
		}}
	}
	remove := func(kind egv1a1.StringMatchType, value string) egv1a1.HeaderSettings {
		return egv1a1.HeaderSettings{LateResponseHeaders: &egv1a1.HTTPHeaderFilter{
			RemoveOnMatch: []egv1a1.StringMatch{{Type: &kind, Value: value}},
		}}
	}
	for _, tt := range []struct {
		spec egv1a1.HeaderSettings
		want string
	}{
		{egv1a1.HeaderSettings{}, ""},
		{certificate(egv1a1.XFCCForwardModeAppendForward), ""},
		{certificate(egv1a1.XFCCForwardModeForwardOnly), "adds nothing"},
		{egv1a1.HeaderSettings{WithUnderscoresAction: new(egv1a1.WithUnderscoresAction("Drop"))}, "no action"},
		{egv1a1.HeaderSettings{RequestID: new(egv1a1.RequestIDAction("None"))}, "no action"},
		//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
		{egv1a1.HeaderSettings{RequestID: new(egv1a1.RequestIDActionDisable), PreserveXRequestID: new(true)},
			"contradicts requestID"},
		{set("x-a", "b"), ""},
		{set("x-a", "b\r\nx-b: c"), "control characters"},
		{set("transfer-encoding", "chunked"), "managed by Envoy"},
		{set(":path", "/admin"), "pseudo header"},
		{set("Host", "a.example"), "Routes are chosen by Host"},
		{remove(egv1a1.StringMatchPrefix, "x-"), ""},
		{remove(egv1a1.StringMatchRegularExpression, "x-.*|server"), ""},
		{remove(egv1a1.StringMatchRegularExpression, ".*"), "takes :authority away too"},
		{remove(egv1a1.StringMatchSuffix, "-length"), "takes content-length away too"},
		{remove(egv1a1.StringMatchPrefix, "h"), "takes host away too"},
	} {
		featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &tt.spec}, &model.Rule{}), tt.want)
	}
}

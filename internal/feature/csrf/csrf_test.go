package csrf

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[egv1a1.CSRF](t, Feature{})
}

func TestCheck(t *testing.T) {
	fraction := func(part, of int32) egv1a1.CSRF {
		return egv1a1.CSRF{ShadowFraction: &gwv1.Fraction{Numerator: part, Denominator: &of}}
	}
	for _, tt := range []struct {
		spec egv1a1.CSRF
		want string
	}{
		{egv1a1.CSRF{}, ""},
		{egv1a1.CSRF{AdditionalOrigins: []egv1a1.Origin{"*", "https://*.a.com"}}, ""},
		{egv1a1.CSRF{AdditionalOrigins: []egv1a1.Origin{"a.com"}}, "is none"},
		{egv1a1.CSRF{AdditionalOrigins: []egv1a1.Origin{"https://(a|b).com"}}, "is none"},
		{egv1a1.CSRF{ShadowFraction: &gwv1.Fraction{Numerator: 100}}, ""},
		{fraction(1, 3), ""},
		{fraction(4, 3), "4 of 3"},
		{fraction(0, 0), "0 of 0"},
	} {
		featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &tt.spec}, &model.Rule{}), tt.want)
	}
}

package mirror

import (
	"math"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[gwv1.HTTPRequestMirrorFilter](t, Feature{})
}

func TestShare(t *testing.T) {
	tests := []struct {
		spec gwv1.HTTPRequestMirrorFilter
		want uint32 // 0: no mirror, all: a mirror without a fraction
	}{
		{gwv1.HTTPRequestMirrorFilter{}, all},
		{percent(100), all},
		{percent(0), 0},
		{percent(50), 500_000},
		{part(5, nil), 50_000},
		{part(1, new(int32(3))), 333_333},
		{part(2, new(int32(3))), 666_667},
		{part(0, new(int32(3))), 0},
		{part(1, new(int32(math.MaxInt32))), 1},
		{part(math.MaxInt32, new(int32(math.MaxInt32))), all},
	}
	for _, tt := range tests {
		r := apply(&tt.spec, featuretest.Service("copy"))
		policies := r.Action().GetRequestMirrorPolicies()
		switch {
		case tt.want == 0 && len(policies) == 0 && len(r.Needs) == 0:
		case tt.want == 0 || len(policies) != 1:
			t.Errorf("%+v gives %v, want a share of %d", tt.spec, policies, tt.want)
		case tt.want == all && policies[0].GetRuntimeFraction() != nil:
			t.Errorf("%+v has the fraction %v, want none", tt.spec, policies[0])
		case tt.want < all && policies[0].GetRuntimeFraction().GetDefaultValue().GetNumerator() != tt.want:
			t.Errorf("%+v gives %v, want a share of %d", tt.spec, policies[0], tt.want)
		}
	}
}

func TestInvalidBackendIsLeftOut(t *testing.T) {
	for _, backends := range [][]model.BackendKey{nil, {{}}} {
		r := apply(&gwv1.HTTPRequestMirrorFilter{}, backends...)
		if len(r.Action().GetRequestMirrorPolicies()) > 0 || len(r.Needs) > 0 {
			t.Errorf("backends %v: got %v, needs %v", backends, r.Proto, r.Needs)
		}
	}
}

func TestSeveralAndRedirect(t *testing.T) {
	r := apply(&gwv1.HTTPRequestMirrorFilter{}, featuretest.Service("one"))
	a := model.Attached{Spec: &gwv1.HTTPRequestMirrorFilter{}, Backends: []model.BackendKey{featuretest.Service("two")}}
	Feature{}.ApplyRoute(r, a)
	if got := r.Action().GetRequestMirrorPolicies(); len(got) != 2 || got[1].GetCluster() != "service/default/two/80" {
		t.Errorf("got %v, want two mirrors", got)
	}
	r.Proto.Action = &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{}}
	Feature{}.ApplyRoute(r, a)
	if r.Proto.GetRedirect() == nil || len(r.Needs) != 2 {
		t.Errorf("a redirect was changed: %v, needs %v", r.Proto, r.Needs)
	}
}

func TestCheck(t *testing.T) {
	both := percent(1)
	both.Fraction = &gwv1.Fraction{Numerator: 1}
	tests := []struct {
		spec gwv1.HTTPRequestMirrorFilter
		want string
	}{
		{gwv1.HTTPRequestMirrorFilter{}, ""},
		{percent(100), ""},
		{part(3, new(int32(3))), ""},
		{both, "keep one"},
		{percent(101), "between 0 and 100"},
		{percent(-1), "between 0 and 100"},
		{part(4, new(int32(3))), "between 0 and 1"},
		{part(101, nil), "between 0 and 1"},
		{part(0, new(int32(0))), "between 0 and 1"},
		{part(-1, nil), "between 0 and 1"},
	}
	for _, tt := range tests {
		featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &tt.spec}, &model.Rule{}), tt.want)
	}
}

func apply(spec *gwv1.HTTPRequestMirrorFilter, backends ...model.BackendKey) *feature.Route {
	r := featuretest.NewRoute(&model.Rule{}, featuretest.PrefixMatch("/"))
	Feature{}.ApplyRoute(r, model.Attached{Spec: spec, Backends: backends})
	return r
}

func percent(p int32) gwv1.HTTPRequestMirrorFilter { return gwv1.HTTPRequestMirrorFilter{Percent: &p} }

func part(numerator int32, denominator *int32) gwv1.HTTPRequestMirrorFilter {
	return gwv1.HTTPRequestMirrorFilter{Fraction: &gwv1.Fraction{Numerator: numerator, Denominator: denominator}}
}

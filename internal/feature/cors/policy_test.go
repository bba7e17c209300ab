package cors

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestPolicyGolden(t *testing.T) {
	featuretest.GoldenIn[egv1a1.CORS](t, Policy{}, "testdata/SecurityPolicy.cors")
}

func TestPolicyCheck(t *testing.T) {
	for _, tt := range []struct {
		spec egv1a1.CORS
		want string
	}{
		{egv1a1.CORS{}, ""},
		{egv1a1.CORS{
			AllowOrigins: []egv1a1.Origin{"*", "https://*", "foo://*.a.com:1"}, AllowMethods: []string{"*"},
			AllowHeaders: []string{"*"}, ExposeHeaders: []string{"*"}, MaxAge: new(gwv1.Duration("0s")),
		}, ""},
		{egv1a1.CORS{AllowOrigins: []egv1a1.Origin{"https://a.*.com"}}, "is none"},
		{egv1a1.CORS{AllowOrigins: []egv1a1.Origin{"a.com"}}, "is none"},
		{egv1a1.CORS{AllowMethods: []string{"GET, PUT"}}, "is none"},
		{egv1a1.CORS{AllowHeaders: []string{"a b"}}, "is none"},
		{egv1a1.CORS{ExposeHeaders: []string{"a\r\nb: c"}}, "is none"},
		{egv1a1.CORS{MaxAge: new(gwv1.Duration("soon"))}, "Invalid duration"},
	} {
		featuretest.Expect(t, Policy{}.Check(model.Attached{Spec: &tt.spec}, &model.Rule{}), tt.want)
	}
}

// TestRuleReplacesPolicy says that nothing of a policy is left where a rule has its own filter.
func TestRuleReplacesPolicy(t *testing.T) {
	chain := feature.NewChain(Policy{}, Feature{})
	scope := &feature.Scope{}
	chain.Filters(scope, []model.Attached{
		{Feature: Feature{}.Name(), Spec: &gwv1.HTTPCORSFilter{AllowOrigins: []gwv1.CORSOrigin{"https://rule.example"}}},
		{Feature: Policy{}.Name(), Spec: &egv1a1.CORS{
			AllowOrigins: []egv1a1.Origin{"https://policy.example"}, AllowMethods: []string{"PUT"},
		}},
	})
	got := &corsv3.CorsPolicy{}
	if err := scope.PerFilter[filter].UnmarshalTo(got); err != nil {
		t.Fatal(err)
	}
	if len(got.GetAllowOriginStringMatch()) != 1 || got.GetAllowMethods() != "" || len(scope.Filters) > 0 {
		t.Errorf("got %v and the filters %v, want the rule's only", got, scope.Filters)
	}
}

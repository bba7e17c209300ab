package authorization

import (
	"regexp"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[egv1a1.Authorization](t, Feature{})
}

const allow = egv1a1.AuthorizationActionAllow

func who(p egv1a1.Principal) egv1a1.AuthorizationRule {
	return egv1a1.AuthorizationRule{Action: allow, Principal: &p}
}

func to(p egv1a1.PathMatch) egv1a1.AuthorizationRule {
	return egv1a1.AuthorizationRule{Action: allow, Operation: &egv1a1.Operation{Path: &p}}
}

func tokenOf(p egv1a1.JWTPrincipal) egv1a1.AuthorizationRule { return who(egv1a1.Principal{JWT: &p}) }

func claimOf(name string, values ...string) egv1a1.AuthorizationRule {
	return tokenOf(egv1a1.JWTPrincipal{
		Provider: "issuer", Claims: []egv1a1.JWTClaim{{Name: name, Values: values}},
	})
}

func celOf(text string) egv1a1.AuthorizationRule {
	return egv1a1.AuthorizationRule{Action: allow, CEL: new(egv1a1.CELExpression(text))}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		rule egv1a1.AuthorizationRule
		want string
	}{
		{who(egv1a1.Principal{ClientCIDRs: []egv1a1.CIDR{"10.0.0.0/8", "::1/128"}}), ""},
		{who(egv1a1.Principal{ClientCIDRs: []egv1a1.CIDR{"10.0.0.0/33"}}), "is no range"},
		{who(egv1a1.Principal{}), "for every request"},
		{egv1a1.AuthorizationRule{Action: allow}, "for every request"},
		{egv1a1.AuthorizationRule{Action: allow, Operation: &egv1a1.Operation{}}, "for every request"},
		{egv1a1.AuthorizationRule{Action: "allow", CEL: celOf("true").CEL}, "Allow or Deny"},
		{who(egv1a1.Principal{ClientIPGeoLocations: make([]egv1a1.ClientIPGeoLocation, 1)}), "Nothing says where that is"},
		{who(egv1a1.Principal{
			Headers: []egv1a1.AuthorizationHeaderMatch{{Name: ":path", Values: []string{"/"}}},
		}), "pseudo"},
		{to(egv1a1.PathMatch{Value: "/a"}), ""},
		{to(egv1a1.PathMatch{Value: "a"}), "does not begin with a slash"},
		{to(egv1a1.PathMatch{Type: new(gwv1.PathMatchRegularExpression), Value: "("}), "regular expression"},
		{to(egv1a1.PathMatch{Type: new(gwv1.PathMatchType("Suffix")), Value: "/a"}), "use Exact"},
		{claimOf("address.country", "de"), ""},
		{claimOf("address..country", "de"), "empty name"},
		{tokenOf(egv1a1.JWTPrincipal{Provider: "issuer", Scopes: []egv1a1.JWTScope{"read"}}), ""},
		{tokenOf(egv1a1.JWTPrincipal{Provider: "issuer"}), "neither claims nor scopes"},
		{tokenOf(egv1a1.JWTPrincipal{Provider: "other", Scopes: []egv1a1.JWTScope{"read"}}), `No JWT provider "other"`},
		{celOf("request.method == 'GET' && request.path.startsWith('/a')"), ""},
		{celOf("request.headers.exists(h, h == 'x')"), ""},
		{celOf("request.method =="), "not valid"},
		{celOf("requst.method == 'GET'"), "undeclared reference to 'requst'"},
		{celOf("response.code == 200"), "undeclared reference to 'response'"},
		{celOf("request.path.size()"), "true or false"},
		{celOf("request.path.beginsWith('/')"), "undeclared reference to 'beginsWith'"},
	}
	provider := model.Attached{Spec: &egv1a1.JWT{Providers: []egv1a1.JWTProvider{{Name: "issuer"}}}}
	for _, tt := range tests {
		spec := &egv1a1.Authorization{Rules: []egv1a1.AuthorizationRule{tt.rule}}
		a := model.Attached{Feature: Feature{}.Name(), Spec: spec, Path: "spec.authorization"}
		problems := Feature{}.Check(a, &model.Rule{Attached: []model.Attached{provider, a}})
		featuretest.Expect(t, problems, tt.want)
	}
}

// A rule that denies a path must not be gotten around by a query or by parameters.
func TestPath(t *testing.T) {
	const exact, regex = gwv1.PathMatchExact, gwv1.PathMatchRegularExpression
	tests := []struct {
		kind        gwv1.PathMatchType
		value, path string
		want        bool
	}{
		{gwv1.PathMatchPathPrefix, "/", "/any/thing?x", true},
		{gwv1.PathMatchPathPrefix, "/api", "/api", true},
		{gwv1.PathMatchPathPrefix, "/api", "/api?x", true},
		{gwv1.PathMatchPathPrefix, "/api", "/api;x", true},
		{gwv1.PathMatchPathPrefix, "/api/", "/api/v1", true},
		{gwv1.PathMatchPathPrefix, "/api", "/apis", false},
		{gwv1.PathMatchPathPrefix, "/a.i", "/api", false},
		{exact, "/api", "/api", true},
		{exact, "/api", "/api?x=/y", true},
		{exact, "/api", "/api/", false},
		{exact, "/a.i", "/api", false},
		{regex, "/a.i|/b", "/api", true},
		{regex, "/a.i|/b", "/b?x", true},
		{regex, "/a.i|/b", "/b/c", false},
		{regex, "/a.i|/b", "/api/b", false},
	}
	for _, tt := range tests {
		got := path(&egv1a1.PathMatch{Type: &tt.kind, Value: tt.value}).GetSinglePredicate().GetValueMatch()
		// Envoy matches the whole text.
		matches := regexp.MustCompile("^(?:" + got.GetSafeRegex().GetRegex() + ")$").MatchString(tt.path)
		if matches != tt.want {
			t.Errorf("%s %s matches %s: %v, want %v", tt.kind, tt.value, tt.path, matches, tt.want)
		}
	}
}

// Tokens are looked for where the filter that verifies them writes them.
func TestToken(t *testing.T) {
	rule := tokenOf(egv1a1.JWTPrincipal{
		Provider: "issuer", Scopes: []egv1a1.JWTScope{"read"}, Claims: []egv1a1.JWTClaim{
			{Name: "address.country", Values: []string{"de", "fr"}},
			{Name: "roles", ValueType: new(egv1a1.JWTClaimValueTypeStringArray), Values: []string{"admin"}},
		},
	})
	list := conditions(&rule)
	if len(list) != 3 || len(list[0].GetOrMatcher().GetPredicate()) != 2 ||
		len(list[1].GetOrMatcher().GetPredicate()) != 2 || list[2].GetSinglePredicate() == nil {
		t.Fatalf("conditions %v", list)
	}
	want := feature.Pack(claim("issuer", "address.country", exactly("fr")))
	if got := feature.Pack(list[1].GetOrMatcher().GetPredicate()[1]); string(got.GetValue()) != string(want.GetValue()) {
		t.Errorf("a claim is %v", list[1])
	}
}

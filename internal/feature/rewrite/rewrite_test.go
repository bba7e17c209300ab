package rewrite

import (
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[gwv1.HTTPURLRewriteFilter](t, Feature{})
}

// Envoy refuses a route with both ways to rewrite a path.
func TestLaterPathReplacesEarlier(t *testing.T) {
	r := featuretest.NewRoute(&model.Rule{}, featuretest.PrefixMatch("/a"))
	for _, replacement := range []string{"", "/b"} {
		Feature{}.ApplyRoute(r, model.Attached{Spec: &gwv1.HTTPURLRewriteFilter{Path: prefix(replacement)}})
	}
	if r.Action().GetPrefixRewrite() != "/b" || r.Action().GetRegexRewrite() != nil {
		t.Errorf("got %v, want only prefix_rewrite /b", r.Action())
	}
}

func TestRedirectIsLeftAlone(t *testing.T) {
	r := featuretest.NewRoute(&model.Rule{}, featuretest.PrefixMatch("/a"))
	r.Proto.Action = &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{HostRedirect: "a.test"}}
	Feature{}.ApplyRoute(r, model.Attached{Spec: &gwv1.HTTPURLRewriteFilter{Path: prefix("/b")}})
	if r.Proto.GetRedirect().GetHostRedirect() != "a.test" {
		t.Errorf("the redirect is gone: %v", r.Proto)
	}
}

func TestCheck(t *testing.T) {
	exact := &model.Rule{Matches: []model.Match{{Path: model.ValueMatch{Type: model.Exact, Value: "/x"}}}}
	check := func(m *gwv1.HTTPPathModifier) { // the wording is tested in package pathmodifier
		t.Helper()
		featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &gwv1.HTTPURLRewriteFilter{Path: m}}, exact),
			"needs a PathPrefix match")
	}
	check(prefix("/b"))
	featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &gwv1.HTTPURLRewriteFilter{}}, exact), "")
}

func prefix(replacement string) *gwv1.HTTPPathModifier {
	return &gwv1.HTTPPathModifier{Type: gwv1.PrefixMatchHTTPPathModifier, ReplacePrefixMatch: &replacement}
}

package all

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
)

func headerScenarios() []scenario {
	odd := `say "50%" %REQ(cookie)% %% \ 'x' %`
	spec := &gwv1.HTTPHeaderFilter{
		Set:    []gwv1.HTTPHeader{{Name: "X-Set", Value: odd}, {Name: "X-New", Value: "new"}},
		Add:    []gwv1.HTTPHeader{{Name: "X-Add", Value: "b,c"}},
		Remove: []string{"X-Gone"},
	}
	in := map[string]string{"X-Set": "old", "X-Add": "a", "X-Gone": "here", "X-Kept": "kept", "Cookie": "secret"}
	host := &gwv1.HTTPHeaderFilter{Set: []gwv1.HTTPHeader{{Name: "host", Value: "backend.internal:81"}}}
	fromBackend := &gwv1.HTTPHeaderFilter{
		Set: []gwv1.HTTPHeader{{Name: "X-Set", Value: odd}}, Add: []gwv1.HTTPHeader{{Name: "X-From", Value: "gateway"}},
		Remove: []string{"content-type"},
	}
	later := &gwv1.HTTPHeaderFilter{Set: []gwv1.HTTPHeader{{Name: "X-Add", Value: "last"}}, Remove: []string{"x-new"}}
	return []scenario{
		{name: "header/request", attached: []model.Attached{attach("RequestHeaderModifier", spec)},
			run: func(t *testing.T, g *gateway) {
				got := g.expect(t, request{header: in}, 200).echo.Header
				want := map[string][]string{
					"X-Set": {odd}, "X-New": {"new"}, "X-Add": {"a", "b,c"}, "X-Gone": nil, "X-Kept": {"kept"},
				}
				for name, value := range want {
					if diff := cmp.Diff(value, got[name]); diff != "" {
						t.Errorf("%s:\n%s", name, diff)
					}
				}
			}},
		{name: "header/two filters", attached: []model.Attached{
			attach("RequestHeaderModifier", spec), attach("RequestHeaderModifier", later)},
			run: func(t *testing.T, g *gateway) {
				got := g.expect(t, request{header: in}, 200).echo.Header
				if diff := cmp.Diff([]string{"last"}, got["X-Add"]); diff != "" || got["X-New"] != nil {
					t.Errorf("X-New %q, X-Add:\n%s", got["X-New"], diff)
				}
			}},
		{name: "header/host", attached: []model.Attached{attach("RequestHeaderModifier", host)},
			run: func(t *testing.T, g *gateway) {
				if got := g.expect(t, request{}, 200).echo.Host; got != "backend.internal:81" {
					t.Errorf("host %q, want backend.internal:81", got)
				}
			}},
		{name: "header/response", attached: []model.Attached{attach("ResponseHeaderModifier", fromBackend)},
			run: func(t *testing.T, g *gateway) {
				got := g.expect(t, request{}, 200).header
				if diff := cmp.Diff([]string{"backend", "gateway"}, got["X-From"]); diff != "" {
					t.Error(diff)
				}
				if got.Get("X-Set") != odd || got.Get("Content-Type") != "" {
					t.Errorf("X-Set %q, Content-Type %q, want %q and none", got.Get("X-Set"), got.Get("Content-Type"), odd)
				}
			}},
	}
}

package rewrite

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestExtendedGolden(t *testing.T) {
	featuretest.GoldenIn[egv1a1.HTTPURLRewriteFilter](t, Extended{}, "testdata/HTTPRouteFilter.urlRewrite")
}

// A filter of the Gateway API and one of Envoy Gateway can share the work: one rewrites the path, the other says what
// becomes of the host that the client sent.
func TestExtendedBesidesFeature(t *testing.T) {
	hostname, no := gwv1.PreciseHostname("in.example"), false
	r := featuretest.NewRoute(&model.Rule{}, featuretest.PrefixMatch("/a"))
	Feature{}.ApplyRoute(r, model.Attached{Spec: &gwv1.HTTPURLRewriteFilter{Hostname: &hostname}})
	if !r.Action().GetAppendXForwardedHost() {
		t.Error("the backend does not learn the host that the client sent")
	}
	Extended{}.ApplyRoute(r, model.Attached{Spec: &egv1a1.HTTPURLRewriteFilter{
		AppendXForwardedHost: &no, Path: regexPath("a", "b"),
	}})
	if r.Action().GetHostRewriteLiteral() != "in.example" || r.Action().GetAppendXForwardedHost() ||
		r.Action().GetRegexRewrite() == nil {
		t.Errorf("got %v, want both filters", r.Action())
	}
}

func TestExtendedCheck(t *testing.T) {
	path := func(pattern, substitution string) *egv1a1.HTTPURLRewriteFilter {
		return &egv1a1.HTTPURLRewriteFilter{Path: regexPath(pattern, substitution)}
	}
	host := func(pattern, substitution string) *egv1a1.HTTPURLRewriteFilter {
		return &egv1a1.HTTPURLRewriteFilter{Hostname: &egv1a1.HTTPHostnameModifier{
			Type:      egv1a1.PathRegexHTTPHostnameModifier,
			PathRegex: &egv1a1.HostnamePathRegexRewrite{Pattern: pattern, Substitution: substitution},
		}}
	}
	header := func(name string) *egv1a1.HTTPURLRewriteFilter {
		return &egv1a1.HTTPURLRewriteFilter{Hostname: &egv1a1.HTTPHostnameModifier{
			Type: egv1a1.HeaderHTTPHostnameModifier, Header: &name,
		}}
	}
	prefixed := model.Attached{Feature: "URLRewrite", Spec: &gwv1.HTTPURLRewriteFilter{Path: prefix("/b")}}
	toHost := model.Attached{Feature: "RequestHeaderModifier", Spec: &gwv1.HTTPHeaderFilter{
		Set: []gwv1.HTTPHeader{{Name: "Host", Value: "a.example"}},
	}}
	tests := []struct {
		name   string
		spec   *egv1a1.HTTPURLRewriteFilter
		beside []model.Attached
		want   string
	}{
		{"a path", path("^/(a)/(b)", `/\2/\1/\0/\\`), nil, ""},
		{"no expression", path("(", "x"), nil, "not valid RE2 syntax"},
		{"a group too many", path("(a)", `\2`), nil, `names group \2, but the pattern has 1`},
		{"an escape", path("a", `\n`), nil, "a backslash without a digit"},
		{"a backslash at the end", path("a", `b\`), nil, "a backslash without a digit"},
		{"a line break", path("a", "b\r\nc"), nil, "control characters"},
		{"a host", host("^/(a)", `\1.example`), nil, ""},
		{"no expression for the host", host("*", "x"), nil, "not valid RE2 syntax"},
		{"a header", header("x-host"), nil, ""},
		{"no header", header(":authority"), nil, "pseudo header"},
		{"a path besides a path", path("a", "b"), []model.Attached{prefixed}, "The path is rewritten by URLRewrite too"},
		{"a host besides a path", header("x-host"), []model.Attached{prefixed}, ""},
		{"a host besides a host", header("x-host"), []model.Attached{toHost}, "The host is rewritten"},
		{"besides a redirect", path("a", "b"), []model.Attached{{Feature: "RequestRedirect"}}, "Requests are redirected"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := model.Attached{Feature: Extended{}.Name(), Spec: tt.spec}
			rule := &model.Rule{Attached: append([]model.Attached{a}, tt.beside...)}
			featuretest.Expect(t, Extended{}.Check(a, rule), tt.want)
			backend := &model.Rule{Backends: []model.WeightedBackend{{Attached: []model.Attached{a}}}, Attached: tt.beside}
			if problems := (Extended{}).Check(a, backend); tt.beside != nil && len(problems) > 0 {
				t.Errorf("what a backend says is refused besides what its rule says: %v", problems)
			}
		})
	}
}

func regexPath(pattern, substitution string) *egv1a1.HTTPPathModifier {
	return &egv1a1.HTTPPathModifier{
		Type:              egv1a1.RegexHTTPPathModifier,
		ReplaceRegexMatch: &egv1a1.ReplaceRegexMatch{Pattern: pattern, Substitution: substitution},
	}
}

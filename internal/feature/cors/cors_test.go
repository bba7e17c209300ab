package cors

import (
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[gwv1.HTTPCORSFilter](t, Feature{})
}

func TestMatchOrigin(t *testing.T) {
	tests := []struct {
		allowed string
		yes, no []string
	}{
		{"https://a.com", []string{"https://a.com", "https://A.com", "https://a.com:443"},
			[]string{"http://a.com", "https://a.com:8443", "https://aXcom", "https://b.a.com", "https://a.com.evil.com",
				"https://evil-a.com", "null"}},
		{"https://a.com:443", []string{"https://a.com", "https://a.com:443"}, []string{"https://a.com:80"}},
		{"http://A.com:8080", []string{"http://a.com:8080"}, []string{"http://a.com", "http://a.com:80801"}},
		{"https://*.a.com", []string{"https://x.a.com", "https://y.x.a.com", "https://x.a.com:443"},
			[]string{"https://a.com", "https://.a.com.evil.com", "https://evila.com", "https://evil.com/.a.com",
				"https://evil.com#.a.com", "https://x.a.com:8443", "http://x.a.com"}},
		{"https://*", []string{"https://a.com", "https://x.y", "https://[::1]"},
			[]string{"http://a.com", "https://a.com:8443", "null", "https://"}},
		{"http://*:3000", []string{"http://localhost:3000", "http://[::1]:3000"}, []string{"http://localhost"}},
		{"http://127.0.0.1:3000", []string{"http://127.0.0.1:3000"}, []string{"http://127x0.0.1:3000"}},
	}
	for _, tt := range tests {
		// Envoy matches the whole string.
		re := regexp.MustCompile("^(?:" + matchOrigin(tt.allowed).GetSafeRegex().GetRegex() + ")$")
		for _, o := range tt.yes {
			if !re.MatchString(o) {
				t.Errorf("%s does not allow %s", tt.allowed, o)
			}
		}
		for _, o := range tt.no {
			if re.MatchString(o) {
				t.Errorf("%s allows %s", tt.allowed, o)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	origins := func(o ...gwv1.CORSOrigin) gwv1.HTTPCORSFilter { return gwv1.HTTPCORSFilter{AllowOrigins: o} }
	tests := []struct {
		name string
		spec gwv1.HTTPCORSFilter
		want string
	}{
		{"empty", gwv1.HTTPCORSFilter{}, ""},
		{"everything", gwv1.HTTPCORSFilter{
			AllowOrigins: []gwv1.CORSOrigin{"*"}, AllowMethods: []gwv1.HTTPMethodWithWildcard{"*"},
			AllowHeaders: []gwv1.HTTPHeaderName{"*"}, ExposeHeaders: []gwv1.HTTPHeaderName{"*"},
		}, ""},
		{"origins", origins("https://*.a.com:8443", "http://*", "https://[::1]:443"), ""},
		{"scheme", origins("ftp://a.com"), "is none"},
		{"path", origins("https://a.com/"), "is none"},
		{"wildcard inside", origins("https://a.*.com"), "is none"},
		{"regex", origins("https://(a|b).com"), "is none"},
		{"port", origins("https://a.com:99999"), "is none"},
		{"address", origins("https://[::::]"), "is none"},
		{"method", gwv1.HTTPCORSFilter{AllowMethods: []gwv1.HTTPMethodWithWildcard{"GET, PUT"}}, "is none"},
		{"header", gwv1.HTTPCORSFilter{AllowHeaders: []gwv1.HTTPHeaderName{"a b"}}, "not a header name"},
		{"exposed", gwv1.HTTPCORSFilter{ExposeHeaders: []gwv1.HTTPHeaderName{"a\r\nb: c"}}, "not a header name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &tt.spec}, &model.Rule{}), tt.want)
		})
	}
}

// A preflight asks with OPTIONS for the method and headers that it names, so the matches that demand them do not take
// it.
func TestMatches(t *testing.T) {
	path := model.ValueMatch{Type: model.Prefix, Value: "/a"}
	asked := func(typ model.MatchType, method string) []model.NamedMatch {
		return []model.NamedMatch{{
			Name: "access-control-request-method", ValueMatch: model.ValueMatch{Type: typ, Value: method},
		}}
	}
	tests := map[string]struct {
		match model.Match
		want  []model.Match
	}{
		"path only": {model.Match{Path: path}, nil},
		"method": {
			model.Match{Path: path, Method: "PUT"},
			[]model.Match{{Path: path, Method: "OPTIONS", Headers: asked(model.Exact, "PUT")}},
		},
		"header": {
			model.Match{Path: path, Headers: []model.NamedMatch{{Name: "x-version"}}},
			[]model.Match{{Path: path, Method: "OPTIONS", Headers: asked(model.Regex, ".+")}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Feature{}.Matches(model.Attached{}, tt.match)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

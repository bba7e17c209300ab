package cors

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[gwv1.HTTPCORSFilter](t, Feature{})
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
		grpc  bool
	}{
		"path only": {match: model.Match{Path: path}},
		"gRPC": {
			match: model.Match{Path: path, Headers: []model.NamedMatch{{Name: "x-version"}}},
			want:  []model.Match{{Path: path, Method: "OPTIONS", Headers: asked(model.Exact, "POST")}}, grpc: true,
		},
		"method": {
			match: model.Match{Path: path, Method: "PUT"},
			want:  []model.Match{{Path: path, Method: "OPTIONS", Headers: asked(model.Exact, "PUT")}},
		},
		"header": {
			match: model.Match{Path: path, Headers: []model.NamedMatch{{Name: "x-version"}}},
			want:  []model.Match{{Path: path, Method: "OPTIONS", Headers: asked(model.Regex, ".+")}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Feature{}.Matches(model.Attached{}, &model.Rule{GRPC: tt.grpc}, tt.match)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

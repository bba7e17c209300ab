package extauth

import (
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[gwv1.HTTPExternalAuthFilter](t, Feature{})
}

func TestForged(t *testing.T) {
	tests := []struct {
		spec *gwv1.HTTPExternalAuthFilter
		want []string
	}{
		{httpSpec(gwv1.HTTPAuthConfig{}), nil},
		{httpSpec(gwv1.HTTPAuthConfig{AllowedResponseHeaders: []string{"X-User", "x-role"}}), []string{"x-role", "x-user"}},
		{httpSpec(gwv1.HTTPAuthConfig{AllowedResponseHeaders: []string{"Authorization", "X-User"}}), []string{"x-user"}},
		{httpSpec(gwv1.HTTPAuthConfig{
			AllowedResponseHeaders: []string{"X-User", "X-Role"}, AllowedRequestHeaders: []string{"x-user"},
		}), []string{"x-role"}},
		{grpcSpec("x-user"), nil},
	}
	for _, tt := range tests {
		got := forged(tt.spec)
		if len(got) != len(tt.want) || len(got) > 0 && cmp.Diff(tt.want, got) != "" {
			t.Errorf("%+v: %v, want %v", tt.spec.HTTPAuthConfig, got, tt.want)
		}
	}
}

// An auth service that does not resolve must still be asked, and cannot answer.
func TestInvalidBackendFailsClosed(t *testing.T) {
	for _, backends := range [][]model.BackendKey{nil, {{}}} {
		for _, spec := range []*gwv1.HTTPExternalAuthFilter{httpSpec(gwv1.HTTPAuthConfig{}), grpcSpec()} {
			scope := &feature.Scope{}
			Feature{}.HTTPFilters(scope, model.Attached{Spec: spec, Backends: backends})
			asks := slices.ContainsFunc(scope.Filters, func(f *corev3.TypedExtensionConfig) bool {
				return strings.Contains(string(f.GetTypedConfig().GetValue()), feature.InvalidCluster)
			})
			if !asks || len(scope.Needs) > 0 {
				t.Errorf("%s: the route does not ask the invalid cluster: %v", spec.ExternalAuthProtocol, scope.Filters)
			}
		}
	}
}

func TestPathPrefix(t *testing.T) {
	for in, want := range map[string]string{"": "", "/": "", "auth": "/auth", "/auth/": "/auth", "/a/b": "/a/b"} {
		if got := pathPrefix(in); got != want {
			t.Errorf("pathPrefix(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	path := func(p string) *gwv1.HTTPExternalAuthFilter { return httpSpec(gwv1.HTTPAuthConfig{Path: p}) }
	negative := grpcSpec()
	negative.ForwardBody = &gwv1.ForwardBodyConfig{MaxSize: -1}
	tests := []struct {
		name string
		spec *gwv1.HTTPExternalAuthFilter
		want string
	}{
		{"grpc", grpcSpec("Cookie"), ""},
		{"http", httpSpec(gwv1.HTTPAuthConfig{AllowedResponseHeaders: []string{"x-user"}}), ""},
		{"protocol", &gwv1.HTTPExternalAuthFilter{ExternalAuthProtocol: "SOAP"}, "use HTTP or GRPC"},
		{"grpc header", grpcSpec(":path"), "pseudo header"},
		{"http header", httpSpec(gwv1.HTTPAuthConfig{AllowedRequestHeaders: []string{"a b"}}), "not a header name"},
		{"answer's header", httpSpec(gwv1.HTTPAuthConfig{AllowedResponseHeaders: []string{""}}), "not a header name"},
		{"size", negative, "negative"},
		{"path", path("/a/b.c"), ""},
		{"no path", path("/"), ""},
		{"path up", path("/a/.."), "cannot be a prefix"},
		{"path up encoded", path("/a/%2E%2e/b"), "cannot be a prefix"},
		{"path double slash", path("/a//b"), "cannot be a prefix"},
		{"path query", path("/a?b=c"), "cannot be a prefix"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: tt.spec}, &model.Rule{}), tt.want)
		})
	}
}

func TestCheckRefusesTwo(t *testing.T) {
	one := model.Attached{Feature: Feature{}.Name(), Spec: grpcSpec()}
	backend := model.WeightedBackend{Weight: 1, Attached: []model.Attached{one}}
	tests := []struct {
		rule model.Rule
		want string
	}{
		{model.Rule{Attached: []model.Attached{one}}, ""},
		{model.Rule{Backends: []model.WeightedBackend{backend, backend}}, ""},
		{model.Rule{Attached: []model.Attached{one, one}}, "More than one"},
		{model.Rule{Attached: []model.Attached{one}, Backends: []model.WeightedBackend{{}, backend}}, "More than one"},
	}
	for _, tt := range tests {
		featuretest.Expect(t, Feature{}.Check(one, &tt.rule), tt.want)
	}
}

func httpSpec(config gwv1.HTTPAuthConfig) *gwv1.HTTPExternalAuthFilter {
	return &gwv1.HTTPExternalAuthFilter{
		ExternalAuthProtocol: gwv1.HTTPRouteExternalAuthHTTPProtocol, HTTPAuthConfig: &config,
	}
}

func grpcSpec(headers ...string) *gwv1.HTTPExternalAuthFilter {
	return &gwv1.HTTPExternalAuthFilter{
		ExternalAuthProtocol: gwv1.HTTPRouteExternalAuthGRPCProtocol,
		GRPCAuthConfig:       &gwv1.GRPCAuthConfig{AllowedRequestHeaders: headers},
	}
}

package extauth

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestPolicyGolden(t *testing.T) {
	featuretest.GoldenIn[egv1a1.ExtAuth](t, Policy{}, "testdata/SecurityPolicy.extAuth")
}

func TestPolicyCheck(t *testing.T) {
	backend := egv1a1.BackendCluster{BackendRefs: make([]egv1a1.BackendRef, 1)}
	http := func(change func(*egv1a1.ExtAuth)) egv1a1.ExtAuth {
		spec := egv1a1.ExtAuth{HTTP: &egv1a1.HTTPExtAuthService{BackendCluster: backend}}
		change(&spec)
		return spec
	}
	grpc := func(extensions ...*egv1a1.ContextExtension) egv1a1.ExtAuth {
		return egv1a1.ExtAuth{
			GRPC: &egv1a1.GRPCExtAuthService{BackendCluster: backend}, ContextExtensions: extensions,
		}
	}
	value := func(name string) *egv1a1.ContextExtension {
		return &egv1a1.ContextExtension{Name: name, Value: new("x")}
	}
	ref := func(key string) *egv1a1.ContextExtension {
		return &egv1a1.ContextExtension{
			Name: key, Type: egv1a1.ContextExtensionValueTypeValueRef,
			ValueRef: &egv1a1.LocalObjectKeyReference{
				LocalObjectReference: gwv1.LocalObjectReference{Name: "keys"}, Key: key,
			},
		}
	}
	for _, tt := range []struct {
		spec egv1a1.ExtAuth
		want string
	}{
		{http(func(*egv1a1.ExtAuth) {}), ""},
		{grpc(value("a"), ref("b")), ""},
		{egv1a1.ExtAuth{}, "no service"},
		{http(func(s *egv1a1.ExtAuth) { s.GRPC = &egv1a1.GRPCExtAuthService{} }), "two services"},
		{http(func(s *egv1a1.ExtAuth) { s.HTTP.BackendRefs = nil }), "no backend"},
		{http(func(s *egv1a1.ExtAuth) { s.HTTP.BackendRefs = make([]egv1a1.BackendRef, 2) }), ""},
		{http(func(s *egv1a1.ExtAuth) { s.HTTP.BackendRefs = []egv1a1.BackendRef{{Weight: new(uint32)}} }),
			"No backend would get requests"},
		{http(func(s *egv1a1.ExtAuth) { s.Timeout = new(gwv1.Duration("0s")) }), "too short"},
		{http(func(s *egv1a1.ExtAuth) { s.BodyToExtAuth = &egv1a1.BodyToExtAuth{} }), "too large"},
		{http(func(s *egv1a1.ExtAuth) { s.HeadersToExtAuth = []string{"a b"} }), "not a header name"},
		{http(func(s *egv1a1.ExtAuth) { s.StatusOnError = new(int32(200)) }), "not that of an error"},
		{http(func(s *egv1a1.ExtAuth) { s.HTTP.HeadersToBackend = []string{"Connection"} }), "managed by Envoy"},
		{http(func(s *egv1a1.ExtAuth) { s.HTTP.HeadersToBackend = []string{"Host"} }), "cannot change the host"},
		{http(func(s *egv1a1.ExtAuth) { s.HTTP.Path = new("/a/../b") }), "cannot be a prefix"},
		{http(func(s *egv1a1.ExtAuth) { s.HTTP.PathOverride = new("/a?b=c") }), ""},
		{http(func(s *egv1a1.ExtAuth) { s.HTTP.PathOverride = new("a") }), "begin it with /"},
		{http(func(s *egv1a1.ExtAuth) { s.HTTP.PathOverride = new("/a?b#c") }), "begin it with /"},
		{http(func(s *egv1a1.ExtAuth) { s.HTTP.Path, s.HTTP.PathOverride = new("/a"), new("/b") }), "two paths"},
		{http(func(s *egv1a1.ExtAuth) { s.IncludeRouteMetadata = new(true) }), "Only a gRPC service"},
		{http(func(s *egv1a1.ExtAuth) { s.ContextExtensions = grpc(value("a")).ContextExtensions }), "Only a gRPC service"},
		{grpc(value("a"), value("a")), "that of another"},
		{grpc(&egv1a1.ContextExtension{Name: "a"}), "no value: add it"},
		{grpc(&egv1a1.ContextExtension{Name: "a", Type: egv1a1.ContextExtensionValueTypeValueRef}), "no reference"},
		{grpc(nil), "It is empty"},
		{grpc(ref("missing")), "nothing under the key missing"},
	} {
		a := model.Attached{Spec: &tt.spec, Objects: []model.Object{
			featuretest.Object{Name: "keys", Data: map[string]string{"b": "x"}}.Model(),
		}}
		featuretest.Expect(t, Policy{}.Check(a, &model.Rule{}), tt.want)
	}
}

// TestBothServicesAreAsked says that a route's own filter does not take the place of the policy of its Gateway.
func TestBothServicesAreAsked(t *testing.T) {
	scope := &feature.Scope{}
	feature.NewChain(Policy{}, Feature{}).Filters(scope, []model.Attached{
		{Feature: Feature{}.Name(), Spec: grpcSpec(), Backends: []model.BackendKey{featuretest.Service("own")}},
		{
			Feature: Policy{}.Name(), Spec: &egv1a1.ExtAuth{GRPC: &egv1a1.GRPCExtAuthService{}},
			Backends: []model.BackendKey{featuretest.Service("policy")},
		},
	})
	if len(scope.Filters) != 2 || len(scope.Needs) != 2 || scope.Needs[0] != featuretest.Service("policy") {
		t.Errorf("the filters are %v, and ask %v: want those of the policy, then of the route", scope.Filters, scope.Needs)
	}
}

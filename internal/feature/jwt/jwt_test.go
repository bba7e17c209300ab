package jwt

import (
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

const keys = `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"abc"}]}`

func TestGolden(t *testing.T) {
	featuretest.Golden[egv1a1.JWT](t, Feature{})
}

func local(change func(*egv1a1.JWTProvider)) egv1a1.JWT {
	p := egv1a1.JWTProvider{Name: "issuer", LocalJWKS: &egv1a1.LocalJWKS{Inline: new(keys)}}
	change(&p)
	return egv1a1.JWT{Providers: []egv1a1.JWTProvider{p}}
}

func remoteOf(change func(*egv1a1.RemoteJWKS)) egv1a1.JWT {
	r := &egv1a1.RemoteJWKS{URI: "https://issuer.example/keys"}
	r.BackendRefs = make([]egv1a1.BackendRef, 1)
	change(r)
	return egv1a1.JWT{Providers: []egv1a1.JWTProvider{{Name: "issuer", RemoteJWKS: r}}}
}

func toHeader(name, claim string) func(*egv1a1.JWTProvider) {
	return func(p *egv1a1.JWTProvider) {
		p.ClaimToHeaders = []egv1a1.ClaimToHeader{{Header: name, Claim: claim}}
	}
}

func TestCheck(t *testing.T) {
	same := func(*egv1a1.JWTProvider) {}
	twice := local(same)
	twice.Providers = append(twice.Providers, twice.Providers[0])
	tests := []struct {
		spec egv1a1.JWT
		want string
	}{
		{local(same), ""},
		{egv1a1.JWT{}, "no providers"},
		{twice, "Another provider is named"},
		{local(func(p *egv1a1.JWTProvider) { p.LocalJWKS = nil }), "has no keys"},
		{local(func(p *egv1a1.JWTProvider) { p.RemoteJWKS = &egv1a1.RemoteJWKS{} }), "both localJWKS and remoteJWKS"},
		{local(func(p *egv1a1.JWTProvider) { p.LocalJWKS.Inline = nil }), "There are no keys"},
		{local(func(p *egv1a1.JWTProvider) { p.LocalJWKS.Type = new(egv1a1.LocalJWKSTypeValueRef) }), "leads to no keys"},
		{local(toHeader("x-user", "sub")), ""},
		{local(toHeader("x-user", "a..b")), "empty name"},
		{local(toHeader("connection", "sub")), "managed by Envoy"},
		{local(toHeader("Authorization", "sub")), "A token is read from"},
		{local(func(p *egv1a1.JWTProvider) {
			p.ExtractFrom = &egv1a1.JWTExtractor{Headers: []egv1a1.JWTHeaderExtractor{{Name: "x token"}}}
		}), "is not a header name"},
		{local(func(p *egv1a1.JWTProvider) {
			p.ExtractFrom = &egv1a1.JWTExtractor{Cookies: []string{""}}
		}), "A name is empty"},
		{remoteOf(func(*egv1a1.RemoteJWKS) {}), ""},
		{remoteOf(func(r *egv1a1.RemoteJWKS) { r.URI = "issuer.example/keys" }), "no URL"},
		{remoteOf(func(r *egv1a1.RemoteJWKS) { r.URI = "https://me:secret@issuer.example/" }), "no URL"},
		{remoteOf(func(r *egv1a1.RemoteJWKS) { r.BackendRefs = nil }), ""},
		{remoteOf(func(r *egv1a1.RemoteJWKS) { r.BackendRefs = make([]egv1a1.BackendRef, 2) }), ""},
		{remoteOf(func(r *egv1a1.RemoteJWKS) { r.BackendRefs = []egv1a1.BackendRef{{Weight: new(uint32)}} }),
			"No backend would get requests"},
		{remoteOf(func(r *egv1a1.RemoteJWKS) { r.FailedRefetchDuration = new(gwv1.Duration("1s")) }), "remove it"},
		{remoteOf(func(r *egv1a1.RemoteJWKS) { r.CacheDuration = new(gwv1.Duration("0s")) }), "not above zero"},
		{remoteOf(func(r *egv1a1.RemoteJWKS) {
			r.BackendSettings = &egv1a1.ClusterSettings{Retry: &egv1a1.Retry{NumRetries: new(int32(-1))}}
		}), "is negative"},
	}
	for _, tt := range tests {
		a := model.Attached{Feature: Feature{}.Name(), Spec: &tt.spec, Path: "spec.jwt"}
		featuretest.Expect(t, Feature{}.Check(a, &model.Rule{}), tt.want)
	}
}

// The references of several providers are told apart by their order.
func TestReferences(t *testing.T) {
	valueRef := func(p *egv1a1.JWTProvider) {
		p.LocalJWKS = &egv1a1.LocalJWKS{
			Type: new(egv1a1.LocalJWKSTypeValueRef), ValueRef: &gwv1.LocalObjectReference{Kind: "ConfigMap", Name: "keys"},
		}
	}
	spec := egv1a1.JWT{Providers: []egv1a1.JWTProvider{
		remoteOf(func(*egv1a1.RemoteJWKS) {}).Providers[0], local(valueRef).Providers[0],
		local(func(*egv1a1.JWTProvider) {}).Providers[0], remoteOf(func(*egv1a1.RemoteJWKS) {}).Providers[0],
		local(valueRef).Providers[0],
	}}
	a := model.Attached{Spec: &spec, Path: "spec.jwt"}
	var paths []string
	for _, ref := range (Feature{}).References(a) {
		paths = append(paths, ref.Path)
	}
	want := "spec.jwt.providers[0].remoteJWKS.backendRefs[0] spec.jwt.providers[1].localJWKS.valueRef " +
		"spec.jwt.providers[3].remoteJWKS.backendRefs[0] spec.jwt.providers[4].localJWKS.valueRef"
	if got := strings.Join(paths, " "); got != want {
		t.Errorf("references %s, want %s", got, want)
	}
	a.Backends = []model.BackendKey{featuretest.Service("a"), featuretest.Service("b")}
	a.Objects = []model.Object{
		featuretest.Object{Data: map[string]string{"z": "1", "y": "2"}}.Model(),
		featuretest.Object{Data: map[string]string{"jwks": "3", "a": "4"}}.Model(),
	}
	got := sources(a)
	if got[0].backends[0] != a.Backends[0] || got[3].backends[0] != a.Backends[1] || got[1].keys != "2" ||
		got[2].keys != keys || got[4].keys != "3" {
		t.Errorf("sources %+v", got)
	}
}

package pipeline_test

import (
	"slices"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/credentialinjector"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/xds"
)

func token(value string) source.Object {
	return source.Object{Ref: refOf("", model.KindSecret, "token"), Object: &corev1.Secret{
		ObjectMeta: meta("token"), Data: map[string][]byte{"credential": []byte(value), "other": []byte("x")},
	}}
}

// injected are a route and the HTTPRouteFilter that gives its requests a credential.
func injected() []source.Object {
	r := route("r", "a.example", "/", "b")
	r.Object.(*gwv1.HTTPRoute).Spec.Rules[0].Filters = []gwv1.HTTPRouteFilter{{
		Type: gwv1.HTTPRouteFilterExtensionRef,
		ExtensionRef: &gwv1.LocalObjectReference{
			Group: model.GroupEnvoyGateway, Kind: model.KindHTTPRouteFilter, Name: "f",
		},
	}}
	return []source.Object{backend("b"), r, {
		Ref: refOf(model.GroupEnvoyGateway, model.KindHTTPRouteFilter, "f"), Object: &egv1a1.HTTPRouteFilter{
			ObjectMeta: meta("f"),
			Spec: egv1a1.HTTPRouteFilterSpec{CredentialInjection: &egv1a1.HTTPCredentialInjectionFilter{
				Credential: egv1a1.InjectedCredential{ValueRef: gwv1.SecretObjectReference{Name: "token"}},
			}},
		},
	}}
}

// A route that uses the value of a Secret needs a cluster that is there for it, and is not told to Envoy before. When
// the value changes the secret does, and nothing else. When the route goes, both do.
func TestSecretValue(t *testing.T) {
	const name = "secretvalue/ns/token/credential"
	var pushed []string
	p := newPipeline(func(o *pipeline.Options) {
		o.Chain = feature.NewChain(credentialinjector.Feature{})
		o.Serve = func(_ model.ProxyName, changes []xds.Change) uint64 {
			for _, c := range changes {
				what := c.Type.String() + " " + c.Name
				if c.Resource == nil {
					what = "no " + what
				}
				pushed = append(pushed, what)
			}
			return 1
		}
	})
	p.Apply(append(append(base(), injected()...), token("one")), nil, nil)
	var needs []string
	for _, r := range p.Resources(proxy)[xds.Routes] {
		for part := range r.Parts.All() {
			needs = append(needs, part.Needs...)
		}
	}
	for _, want := range []string{"cluster " + name, "secret " + name} {
		if !slices.Contains(needs, name) || !slices.Contains(pushed, want) {
			t.Errorf("the route needs %v, and pushed are %v: want %s", needs, pushed, want)
		}
	}
	for _, r := range p.Resources(proxy)[xds.Secret] {
		shown, err := envoy.Render(xds.Secret, r)
		if err != nil || strings.Contains(string(shown), "b25l") { // "one" in base64
			t.Errorf("the secret is shown as %s, %v", shown, err)
		}
	}

	pushed = nil
	p.Apply([]source.Object{token("two")}, nil, nil)
	if diff := cmp.Diff([]string{"secret " + name}, pushed); diff != "" {
		t.Errorf("for a new value: %s", diff)
	}
	pushed = nil
	p.Apply(nil, []model.Ref{refOf(model.GroupGateway, model.KindHTTPRoute, "r")}, nil)
	for _, want := range []string{"no cluster " + name, "no secret " + name} {
		if !slices.Contains(pushed, want) {
			t.Errorf("without the route %v is pushed, want %q", pushed, want)
		}
	}
}

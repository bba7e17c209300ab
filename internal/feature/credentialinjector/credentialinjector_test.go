package credentialinjector

import (
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/google/go-cmp/cmp"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[egv1a1.HTTPCredentialInjectionFilter](t, Feature{})
}

// A credential of a backend replaces that of its rule for the same header, whatever its case, and no other.
func TestOneForEachHeader(t *testing.T) {
	scope := &feature.Scope{}
	for _, header := range []string{"", "X-Key", "Authorization"} {
		Feature{}.HTTPFilters(scope, attached(header, "x"))
	}
	var names []string
	for _, f := range scope.Filters {
		names = append(names, f.GetName())
	}
	if diff := cmp.Diff([]string{filter + "/authorization", filter + "/x-key"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestReferences(t *testing.T) {
	group, kind, namespace := gwv1.Group(""), gwv1.Kind("Secret"), gwv1.Namespace("vault")
	a := attached("", "")
	a.Spec.(*egv1a1.HTTPCredentialInjectionFilter).Credential.ValueRef = gwv1.SecretObjectReference{
		Group: &group, Kind: &kind, Namespace: &namespace, Name: "token",
	}
	want := []resolve.Reference{{Path: "spec.credentialInjection.credential.valueRef", Object: &resolve.ObjectReference{
		Kind: "Secret", Namespace: "vault", Name: "token",
	}}}
	if diff := cmp.Diff(want, Feature{}.References(a)); diff != "" {
		t.Error(diff)
	}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name, header, credential string
		beside                   []model.Attached
		want                     string
	}{
		{"a token", "", "Bearer abc", nil, ""},
		{"nothing", "", "", nil, "has nothing under the key credential"},
		{"a line break at the end", "", "Bearer abc\n", nil, "maybe a line break at its end"},
		{"a header more", "", "a\r\nx-admin: yes", nil, "control characters"},
		{"the longest", "", strings.Repeat("x", largest), nil, ""},
		{"longer", "", strings.Repeat("x", largest+1), nil, "shorten it to 16384"},
		{"the host", "Host", "a.example", nil, "cannot be the host"},
		{"a header of Envoy's", "Transfer-Encoding", "chunked", nil, "managed by Envoy"},
		{"no header", "a b", "x", nil, "not a header name"},
		{"one for another header", "", "x", []model.Attached{attached("x-key", "y")}, ""},
		{"two for a header", "", "x", []model.Attached{attached("AUTHORIZATION", "y")}, "keep one of them"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := attached(tt.header, tt.credential)
			rule := &model.Rule{Attached: append([]model.Attached{a}, tt.beside...)}
			problems := Feature{}.Check(a, rule)
			featuretest.Expect(t, problems, tt.want)
			for _, p := range problems {
				if strings.Contains(p.Message, "abc") {
					t.Errorf("the message quotes the credential: %s", p.Message)
				}
			}
		})
	}
}

// attached is a filter of its own for a header, with a credential.
func attached(header, credential string) model.Attached {
	return model.Attached{
		Feature: Feature{}.Name(), Path: "spec.credentialInjection", Via: "spec.rules[0].filters[" + header + "]",
		Spec: &egv1a1.HTTPCredentialInjectionFilter{Header: &header},
		Objects: []model.Object{{
			Ref:  model.Ref{Kind: model.KindSecret, Name: model.Name{Namespace: "default", Name: "token"}},
			Data: map[string][]byte{"credential": []byte(credential)},
		}},
	}
}

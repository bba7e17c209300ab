package apikeyauth

import (
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[egv1a1.APIKeyAuth](t, Feature{})
}

func TestCheckKeys(t *testing.T) {
	secret := func(data ...string) featuretest.Object {
		o := featuretest.Object{Name: "keys", Data: map[string]string{}}
		for i := 0; i < len(data); i += 2 {
			o.Data[data[i]] = data[i+1]
		}
		return o
	}
	tests := []struct {
		secrets []featuretest.Object
		want    string
	}{
		{[]featuretest.Object{secret("alice", "s3cret")}, ""},
		{[]featuretest.Object{secret("alice", "s3cret"), secret("alice", "s3cret", "bob", "other")}, ""},
		{[]featuretest.Object{secret("alice", "s3cret"), secret("bob", "s3cret\n")}, "alice and bob have the same key"},
		{[]featuretest.Object{secret("alice", "")}, "key of client alice"},
		{[]featuretest.Object{secret("alice", "\n")}, "key of client alice"},
		{[]featuretest.Object{secret("alice", "s3cret\x00")}, "key of client alice"},
		{[]featuretest.Object{secret()}, "no keys"},
		{[]featuretest.Object{{Kind: "ConfigMap", Name: "keys", Data: map[string]string{"alice": "s3cret"}}}, "not a Secret"},
	}
	for _, tt := range tests {
		a := attached(&egv1a1.APIKeyAuth{ExtractFrom: from("x-key")})
		for _, o := range tt.secrets {
			a.Objects = append(a.Objects, o.Model())
		}
		problems := Feature{}.Check(a, &model.Rule{})
		featuretest.Expect(t, problems, tt.want)
		for _, p := range problems {
			if strings.Contains(p.Message, "s3cret") {
				t.Errorf("the message shows a key: %s", p.Message)
			}
		}
	}
}

func TestCheckSpec(t *testing.T) {
	tests := []struct {
		spec egv1a1.APIKeyAuth
		want string
	}{
		{egv1a1.APIKeyAuth{ExtractFrom: from("x-key")}, ""},
		{egv1a1.APIKeyAuth{}, "No place is named"},
		{egv1a1.APIKeyAuth{ExtractFrom: []*egv1a1.ExtractFrom{{}, nil}}, "No place is named"},
		{egv1a1.APIKeyAuth{ExtractFrom: from("x key")}, "is not a header name"},
		{egv1a1.APIKeyAuth{ExtractFrom: []*egv1a1.ExtractFrom{{Params: []string{""}}}}, "A name is empty"},
		{egv1a1.APIKeyAuth{ExtractFrom: from("x-key"), ForwardClientIDHeader: new("upgrade")}, "managed by Envoy"},
	}
	for _, tt := range tests {
		a := attached(&tt.spec)
		a.Objects = []model.Object{featuretest.Object{Data: map[string]string{"alice": "key"}}.Model()}
		featuretest.Expect(t, Feature{}.Check(a, &model.Rule{}), tt.want)
	}
}

func from(headers ...string) []*egv1a1.ExtractFrom { return []*egv1a1.ExtractFrom{{Headers: headers}} }

func attached(spec *egv1a1.APIKeyAuth) model.Attached {
	return model.Attached{Feature: Feature{}.Name(), Spec: spec, Path: "spec.apiKeyAuth"}
}

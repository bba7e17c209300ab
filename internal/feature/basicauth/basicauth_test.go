package basicauth

import (
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

const hash = "{SHA}piGucRdTwGb7+i3S1svNik60+fw="

func TestGolden(t *testing.T) {
	featuretest.Golden[egv1a1.BasicAuth](t, Feature{})
}

func TestCheckFile(t *testing.T) {
	for file, want := range map[string]string{
		"alice:" + hash:                          "",
		"alice:" + hash + "\n\n# x\nbob:" + hash: "",
		"":                                       "no users",
		"# nobody":                               "no users",
		"alice":                                  "line 1 is not USER:HASH",
		":" + hash:                               "line 1 is not USER:HASH",
		"\nalice:$apr1$a$b":                      "line 2 has an MD5 hash (apr1)",
		"alice:$2y$05$abc":                       "bcrypt",
		"alice:$5$abc":                           "SHA-256",
		"alice:secret":                           "no SHA hash",
		"alice:{SHA}c2hvcnQ=":                    "broken",
		"alice:{SHA}?":                           "broken",
		"alice:" + hash + "\nalice:" + hash:      "lines 1 and 2",
	} {
		secret := featuretest.Object{Name: "users", Data: map[string]string{".htpasswd": file}}.Model()
		problems := Feature{}.Check(attached(&egv1a1.BasicAuth{}, secret), &model.Rule{})
		featuretest.Expect(t, problems, want)
		for _, p := range problems {
			if strings.Contains(p.Message, "alice") || strings.Contains(p.Message, "secret") {
				t.Errorf("the message shows what is in the Secret: %s", p.Message)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	users := map[string]string{".htpasswd": "alice:" + hash}
	tests := []struct {
		spec   egv1a1.BasicAuth
		secret featuretest.Object
		want   string
	}{
		{egv1a1.BasicAuth{}, featuretest.Object{Data: users}, ""},
		{egv1a1.BasicAuth{}, featuretest.Object{Kind: "ConfigMap", Data: users}, "is not a Secret"},
		{egv1a1.BasicAuth{}, featuretest.Object{Data: map[string]string{"users": "x"}}, "has no key .htpasswd"},
		{egv1a1.BasicAuth{ForwardUsernameHeader: new("te")}, featuretest.Object{Data: users}, "managed by Envoy"},
	}
	for _, tt := range tests {
		featuretest.Expect(t, Feature{}.Check(attached(&tt.spec, tt.secret.Model()), &model.Rule{}), tt.want)
	}
}

func attached(spec *egv1a1.BasicAuth, secret model.Object) model.Attached {
	return model.Attached{Feature: Feature{}.Name(), Spec: spec, Path: "spec.basicAuth", Objects: []model.Object{secret}}
}

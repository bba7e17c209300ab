package directresponse

import (
	"bytes"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[egv1a1.HTTPDirectResponseFilter](t, Feature{})
}

// Binary data is no text: what looks like an operator in it is left alone.
func TestBinaryBody(t *testing.T) {
	body := []byte("\x89PNG %% %REQ(:path)%\xff")
	r := featuretest.NewRoute(&model.Rule{}, featuretest.PrefixMatch("/"))
	Feature{}.ApplyRoute(r, inConfigMap(map[string][]byte{"logo.png": body}))
	answer := r.Proto.GetDirectResponse()
	if got := answer.GetBody().GetInlineBytes(); !bytes.Equal(got, body) || answer.GetBodyFormat() != nil {
		t.Errorf("got %q as the body, want %q", answer, body)
	}
}

func TestCheck(t *testing.T) {
	code := func(n int) model.Attached { return attached(egv1a1.HTTPDirectResponseFilter{StatusCode: &n}) }
	body := func(text string) model.Attached {
		return attached(egv1a1.HTTPDirectResponseFilter{Body: &egv1a1.CustomResponseBody{Inline: &text}})
	}
	contentType := "text/plain\r\nx: y"
	header := gwv1.HTTPHeaderFilter{Set: []gwv1.HTTPHeader{{Name: "Transfer-Encoding", Value: "chunked"}}}
	tests := []struct {
		name string
		a    model.Attached
		rule model.Rule
		want string
	}{
		{"the default", attached(egv1a1.HTTPDirectResponseFilter{}), model.Rule{}, ""},
		{"the largest status", code(599), model.Rule{}, ""},
		{"an informational status", code(100), model.Rule{}, "use 200 to 599"},
		{"no status", code(600), model.Rule{}, "use 200 to 599"},
		{"an error for gRPC", code(403), model.Rule{GRPC: true}, ""},
		{"success for gRPC", attached(egv1a1.HTTPDirectResponseFilter{}), model.Rule{GRPC: true}, "has no message"},
		{"the longest body", body(strings.Repeat("x", feature.MaxDirectResponse)), model.Rule{}, ""},
		{"a longer body", body(strings.Repeat("x", feature.MaxDirectResponse+1)), model.Rule{}, "shorten it to 1048576"},
		{"a hostile body", body(strings.Repeat("%A(", feature.MaxDirectResponse/3)), model.Rule{}, ""},
		{"the environment", body("%ENVIRONMENT(HOME)%"), model.Rule{}, "environment of the proxy"},
		{"an empty ConfigMap", inConfigMap(nil), model.Rule{}, "response.body"},
		{"a content type that splits", attached(egv1a1.HTTPDirectResponseFilter{ContentType: &contentType}), model.Rule{},
			"control characters"},
		{"a header that frames", attached(egv1a1.HTTPDirectResponseFilter{Header: &header}), model.Rule{},
			"managed by Envoy"},
		{"besides a mirror", code(200), besides("RequestMirror"), "cannot be combined with RequestMirror"},
		{"besides a redirect", code(200), besides("RequestRedirect"), "cannot be combined with RequestRedirect"},
		{"besides headers", code(200), besides("ResponseHeaderModifier"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.rule.Attached = append(tt.rule.Attached, tt.a)
			featuretest.Expect(t, Feature{}.Check(tt.a, &tt.rule), tt.want)
		})
	}
}

func attached(spec egv1a1.HTTPDirectResponseFilter) model.Attached {
	return model.Attached{Feature: Feature{}.Name(), Spec: &spec, Path: "spec.directResponse"}
}

func inConfigMap(data map[string][]byte) model.Attached {
	byRef := egv1a1.ResponseValueTypeValueRef
	a := attached(egv1a1.HTTPDirectResponseFilter{Body: &egv1a1.CustomResponseBody{Type: &byRef}})
	a.Objects = []model.Object{{Ref: model.Ref{Kind: model.KindConfigMap}, Data: data}}
	return a
}

func besides(other string) model.Rule {
	return model.Rule{Attached: []model.Attached{{Feature: other}}}
}

package body

import (
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
)

func inline(text string) *egv1a1.CustomResponseBody {
	return &egv1a1.CustomResponseBody{Type: new(egv1a1.ResponseValueTypeInline), Inline: &text}
}

func referred(data map[string][]byte) (*egv1a1.CustomResponseBody, []model.Object) {
	spec := &egv1a1.CustomResponseBody{
		Type: new(egv1a1.ResponseValueTypeValueRef), ValueRef: &gwv1.LocalObjectReference{Kind: "ConfigMap", Name: "page"},
	}
	return spec, []model.Object{{Ref: model.Ref{Kind: model.KindConfigMap}, Data: data}}
}

// TestEnvoy says what a body becomes: data, or a format if it has operators, and of a ConfigMap the key that is meant
// for it, or else the first.
func TestEnvoy(t *testing.T) {
	keyed, page := referred(map[string][]byte{"a": []byte("first"), key: []byte("100%")})
	unkeyed, other := referred(map[string][]byte{"b": []byte("second"), "a": []byte("first %PROTOCOL%")})
	binary, raw := referred(map[string][]byte{"a": {0xff, '%'}})
	for name, tt := range map[string]struct {
		spec            *egv1a1.CustomResponseBody
		objects         []model.Object
		data, formatted string
	}{
		"none":          {nil, nil, "", ""},
		"empty":         {inline(""), nil, "", ""},
		"data":          {inline("50%"), nil, "50%", ""},
		"format":        {inline("50% %PROTOCOL%"), nil, "", "50%% %PROTOCOL%"},
		"own key":       {keyed, page, "100%", ""},
		"no key of its": {unkeyed, other, "", "first %PROTOCOL%"},
		"binary":        {binary, raw, "\xff%", ""},
	} {
		if message := Check(tt.spec, tt.objects); message != "" {
			t.Errorf("%s: refused: %s", name, message)
		}
		data, format := Envoy(tt.spec, tt.objects)
		got := data.GetInlineString() + string(data.GetInlineBytes())
		if got != tt.data || format.GetTextFormatSource().GetInlineString() != tt.formatted {
			t.Errorf("%s: got %v and %v, want %q or the format %q", name, data, format, tt.data, tt.formatted)
		}
	}
}

func TestCheck(t *testing.T) {
	empty, nothing := referred(nil)
	for want, message := range map[string]string{
		"put the body under the key response.body": Check(empty, nothing),
		"needs valueRef":        Check(&egv1a1.CustomResponseBody{Type: new(egv1a1.ResponseValueTypeValueRef)}, nil),
		"shows too much":        Check(inline("%ENVIRONMENT(HOME)%"), nil),
		"shorten it to 1048576": Check(inline(strings.Repeat("a", feature.MaxDirectResponse+1)), nil),
	} {
		if !strings.Contains(message, want) {
			t.Errorf("got %q, want %q", message, want)
		}
	}
}

func TestReference(t *testing.T) {
	spec, _ := referred(nil)
	if ref, ok := Reference(spec, "spec.body"); !ok || ref.Path != "spec.body.valueRef" || ref.Object.Name != "page" {
		t.Errorf("got %+v, %v", ref, ok)
	}
	for _, spec := range []*egv1a1.CustomResponseBody{nil, inline("a"), {Type: new(egv1a1.ResponseValueTypeValueRef)}} {
		if ref, ok := Reference(spec, "spec.body"); ok {
			t.Errorf("%+v refers to %+v", spec, ref)
		}
	}
}

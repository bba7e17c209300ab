// Package body is the body that a gateway answers with in the place of a backend, written in a filter or a policy or in
// a ConfigMap (Envoy Gateway: CustomResponseBody).
//
// A text with command operators that may be used is a format for Envoy, any other is data; see package format.
package body

import (
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/format"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// key is the key of a ConfigMap that holds the body.
const key = "response.body"

// Reference returns the reference to the ConfigMap that holds a body, and whether it is in one. path is that of the
// body, which may be nil.
func Reference(spec *egv1a1.CustomResponseBody, path string) (resolve.Reference, bool) {
	if spec == nil || spec.Type == nil || *spec.Type != egv1a1.ResponseValueTypeValueRef || spec.ValueRef == nil {
		return resolve.Reference{}, false
	}
	return resolve.Reference{Path: path + ".valueRef", Object: resolve.LocalReference(*spec.ValueRef)}, true
}

// Check returns what is wrong with a body as one sentence, empty if nothing is. objects are what its reference leads
// to, if it has one.
func Check(spec *egv1a1.CustomResponseBody, objects []model.Object) string {
	text, found := read(spec, objects)
	switch {
	case spec == nil:
		return ""
	case len(objects) == 0 && spec.Type != nil && *spec.Type == egv1a1.ResponseValueTypeValueRef:
		return "The type ValueRef needs valueRef: name a ConfigMap"
	case !found:
		return fmt.Sprintf("%s is empty: put the body under the key %s", objects[0].Ref, key)
	case len(text) > feature.MaxDirectResponse:
		return fmt.Sprintf("The body is %d bytes long: shorten it to %d", len(text), feature.MaxDirectResponse)
	case !utf8.Valid(text):
		return ""
	}
	_, _, err := format.Text(string(text))
	if err != nil {
		return "The body shows too much: " + err.Error()
	}
	return ""
}

// Envoy returns a body that has been checked as Envoy has it: as data or as a format, and neither if it is empty.
func Envoy(
	spec *egv1a1.CustomResponseBody, objects []model.Object,
) (*corev3.DataSource, *corev3.SubstitutionFormatString) {
	text, _ := read(spec, objects)
	if len(text) == 0 {
		return nil, nil
	}
	if !utf8.Valid(text) {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: text}}, nil
	}
	formatted, dynamic, err := format.Text(string(text))
	if err != nil {
		return nil, nil // refused by Check
	}
	source := &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: formatted}}
	if !dynamic {
		return source, nil
	}
	return nil, &corev3.SubstitutionFormatString{
		Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: source},
	}
}

// read returns the body, and whether there is any: that of a ConfigMap is under its key, or else the first value in the
// order of the keys.
func read(spec *egv1a1.CustomResponseBody, objects []model.Object) ([]byte, bool) {
	switch {
	case spec == nil:
		return nil, false
	case len(objects) == 0:
		if spec.Inline == nil {
			return nil, true
		}
		return []byte(*spec.Inline), true
	}
	data := objects[0].Data
	if text, ok := data[key]; ok {
		return text, true
	}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		return data[name], true
	}
	return nil, false
}

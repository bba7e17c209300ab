package coverage

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/google/go-cmp/cmp"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// whole are the types whose parts are not fields of their own: what they refer to is resolved before features see it.
// Kubernetes' own types are like them: they are passed on as they are.
var whole = []reflect.Type{
	reflect.TypeFor[gwv1.SecretObjectReference](), reflect.TypeFor[gwv1.LocalObjectReference](),
	reflect.TypeFor[gwv1.BackendObjectReference](), reflect.TypeFor[egv1a1.BackendRef](),
	reflect.TypeFor[egv1a1.ClusterSettings](), reflect.TypeFor[gwv1.ObjectReference](),
}

// isLeaf reports whether a type, which is no pointer, is that of a leaf field.
func isLeaf(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		_, text := reflect.PointerTo(t).MethodByName("UnmarshalJSON")
		return text || slices.Contains(whole, t) || strings.HasPrefix(t.PkgPath(), "k8s.io/")
	case reflect.Slice:
		return t.Elem().Kind() == reflect.Uint8
	default:
		return true
	}
}

// member is a field of a struct as JSON has it.
type member struct {
	Name string
	Type reflect.Type
}

// members returns the fields of a struct, those of inlined structs included.
func members(t reflect.Type) []member {
	var out []member
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous && name == "":
			out = append(out, members(plain(field.Type))...)
		case name != "" && name != "-":
			out = append(out, member{Name: name, Type: field.Type})
		}
	}
	return out
}

func plain(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// leaves returns the paths of the leaf fields of a type: "global.rules[].limit.requests".
func leaves(t reflect.Type) []string { return appendLeaves(nil, t, "", nil) }

func appendLeaves(out []string, t reflect.Type, path string, around []reflect.Type) []string {
	t = plain(t)
	switch {
	case isLeaf(t):
		return append(out, path)
	case t.Kind() == reflect.Slice:
		return appendLeaves(out, t.Elem(), path+"[]", around)
	case slices.Contains(around, t):
		return out
	}
	for _, m := range members(t) {
		out = appendLeaves(out, m.Type, join(path, m.Name), append(around, t))
	}
	return out
}

func join(path, name string) string { return strings.TrimPrefix(path+"."+name, ".") }

// place is where a leaf field stands in a document.
type place struct {
	// Path is that of the field, as leaves has it.
	Path string
	// Steps lead to its value: names of members and indexes of lists.
	Steps []any
	Value any
}

// places returns where a document of a type has leaf fields.
func places(doc any, t reflect.Type) []place { return appendPlaces(nil, t, place{Value: doc}) }

func appendPlaces(out []place, t reflect.Type, at place) []place {
	t = plain(t)
	into := func(path string, step, value any) place {
		return place{Path: path, Steps: append(slices.Clone(at.Steps), step), Value: value}
	}
	switch value := at.Value.(type) {
	case []any:
		if isLeaf(t) {
			return append(out, at)
		}
		for i, element := range value {
			out = appendPlaces(out, t.Elem(), into(at.Path+"[]", i, element))
		}
	case map[string]any:
		if isLeaf(t) {
			return append(out, at)
		}
		for _, m := range members(t) {
			if inner, ok := value[m.Name]; ok {
				out = appendPlaces(out, m.Type, into(join(at.Path, m.Name), m.Name, inner))
			}
		}
	default:
		out = append(out, at)
	}
	return out
}

// replaced returns a copy of a document with another value at a place; without it if the value is gone.
func replaced(doc any, steps []any, value any) any {
	if len(steps) == 0 {
		return value
	}
	switch step := steps[0].(type) {
	case int:
		list := slices.Clone(doc.([]any))
		if list[step] = replaced(list[step], steps[1:], value); list[step] == (gone{}) {
			list = slices.Delete(list, step, step+1)
		}
		return list
	default:
		out := map[string]any{}
		for key, inner := range doc.(map[string]any) {
			out[key] = inner
		}
		key := step.(string)
		if out[key] = replaced(out[key], steps[1:], value); out[key] == (gone{}) {
			delete(out, key)
		}
		return out
	}
}

// gone is the value of what is to be left out.
type gone struct{}

func TestLeaves(t *testing.T) {
	type inner struct {
		Deep  *int32 `json:"deep,omitempty"`
		Again *struct {
			Text string `json:"text"`
		} `json:"again"`
	}
	type Base struct {
		Kind string `json:"kind"`
	}
	type spec struct {
		Base   `json:",inline"`
		List   []inner                    `json:"list"`
		Names  map[string]string          `json:"names"`
		Secret gwv1.SecretObjectReference `json:"secret"`
	}
	want := []string{"kind", "list[].deep", "list[].again.text", "names", "secret"}
	if diff := cmp.Diff(want, leaves(reflect.TypeFor[spec]())); diff != "" {
		t.Errorf("leaves (-want +got):\n%s", diff)
	}
	doc := map[string]any{"kind": "x", "list": []any{map[string]any{"deep": 1}, map[string]any{"deep": 2}}}
	found := places(doc, reflect.TypeFor[spec]())
	if len(found) != 3 || found[2].Path != "list[].deep" || found[2].Value != 2 {
		t.Errorf("places are %v", found)
	}
	got := replaced(doc, found[2].Steps, gone{})
	left := map[string]any{"kind": "x", "list": []any{map[string]any{"deep": 1}, map[string]any{}}}
	if diff := cmp.Diff(left, got); diff != "" {
		t.Errorf("without the last (-want +got):\n%s", diff)
	}
}

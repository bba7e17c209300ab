package envoygateway_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/envoygateway"
)

// leaves returns the paths of the leaf fields of a Go type, as JSON names them.
func leaves(t reflect.Type, path string) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	// What has a type of its own in YAML is one value, and an EnvoyProxy is checked as one.
	_, text := reflect.PointerTo(t).MethodByName("UnmarshalJSON")
	if t.Kind() != reflect.Struct || text || t == reflect.TypeFor[egv1a1.EnvoyProxySpec]() {
		return []string{path}
	}
	var out []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		below := path
		if name != "" {
			below = strings.TrimPrefix(path+"."+name, ".")
		}
		out = append(out, leaves(t.Field(i).Type, below)...)
	}
	return out
}

// covering returns the most specific entry that is for a path.
func covering(path string) *envoygateway.Field {
	for at := path; at != ""; {
		if i := slices.IndexFunc(envoygateway.Fields, func(f envoygateway.Field) bool { return f.Path == at }); i >= 0 {
			return &envoygateway.Fields[i]
		}
		at, _ = cutLast(at)
	}
	return nil
}

func cutLast(path string) (before, last string) {
	if i := strings.LastIndex(path, "."); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

// Of every field of the API it is known what becomes of it, and nothing is said of fields that there are not.
func TestFieldsAreThoseOfTheAPI(t *testing.T) {
	used := map[string]bool{}
	for _, path := range leaves(reflect.TypeFor[egv1a1.EnvoyGatewaySpec](), "") {
		f := covering(path)
		if f == nil {
			t.Errorf("%s: nothing says what becomes of it: add it to Fields", path)
			continue
		}
		used[f.Path] = true
	}
	for _, f := range envoygateway.Fields {
		if !used[f.Path] {
			t.Errorf("%s: there is no such field", f.Path)
		}
		if f.Text == "" || (f.Verdict == envoygateway.Applied) != (f.In != 0) && f.Verdict != envoygateway.Always {
			t.Errorf("%s: it is not said what it does, or where", f.Path)
		}
	}
}

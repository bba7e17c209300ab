package coverage

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/all"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

// grantable are the types of references that can lead to another namespace.
var grantable = []reflect.Type{
	reflect.TypeFor[gwv1.SecretObjectReference](), reflect.TypeFor[gwv1.BackendObjectReference](),
	reflect.TypeFor[gwv1.ObjectReference](),
}

// TestA02ReferencesNeedGrants has every reference in every policy that can lead to another namespace do so, without a
// ReferenceGrant there. The references are found by their types: one in a new field is among them.
func TestA02ReferencesNeedGrants(t *testing.T) {
	tried := map[string]bool{}
	for _, api := range apis {
		for _, m := range members(api.spec) {
			for _, f := range all.Chain().Features() {
				if f.Name() != api.kind+"."+m.Name {
					continue
				}
				for _, file := range featuretest.Files(t, testdata(f)) {
					a := abroad{t: t, kind: api.kind, member: m, tried: tried}
					a.try(featuretest.Read(t, file, plain(m.Type)).Input.Spec)
				}
			}
		}
	}
	for field, admitted := range tried {
		if !admitted {
			t.Logf("%s is refused by the schema beside what is in its golden files", field)
		}
	}
	if len(tried) == 0 {
		t.Error("there are no references to try")
	}
}

// abroad has references in a field of a policy lead to another namespace.
type abroad struct {
	t    *testing.T
	kind string
	member
	// tried are the fields with references, and whether the schema admits one of their golden files.
	tried map[string]bool
}

func (a *abroad) try(spec json.RawMessage) {
	a.t.Helper()
	var doc any
	if err := json.Unmarshal(spec, &doc); err != nil {
		a.t.Fatal(err)
	}
	for _, at := range places(doc, plain(a.Type)) {
		if _, isObject := at.Value.(map[string]any); !isObject || !leadsAbroad(plain(a.Type), at.Path) {
			continue
		}
		field := a.kind + "." + a.Name + "." + at.Path
		out := a.policyWith(replaced(doc, at.Steps, replaced(at.Value, []any{"namespace"}, "foreign")))
		a.tried[field] = a.tried[field] || !out.refused
		if !out.refused && !strings.Contains(out.said, "ReferenceGrant") {
			a.t.Errorf("%s leads to another namespace, and nothing is said of a ReferenceGrant:\n%s", field, out.said)
		}
	}
}

// leadsAbroad reports whether the field at a path has one of the types that are grantable, or one around it.
func leadsAbroad(t reflect.Type, path string) bool {
	for step := range strings.SplitSeq(path, ".") {
		name, lists, _ := strings.Cut(step, "[")
		for t = plain(t); name != "" && t.Kind() == reflect.Struct; {
			at := slices.IndexFunc(members(t), func(m member) bool { return m.Name == name })
			if at < 0 {
				return false
			}
			t, name = plain(members(t)[at].Type), ""
		}
		for range strings.Count(lists, "]") {
			t = plain(t.Elem())
		}
	}
	if slices.Contains(grantable, t) {
		return true
	}
	if t.Kind() != reflect.Struct || t.NumField() == 0 {
		return false
	}
	return t.Field(0).Anonymous && slices.Contains(grantable, t.Field(0).Type)
}

// policyWith returns what becomes of a policy of a route with one field, or of a Gateway if routes can have none.
func (a *abroad) policyWith(value any) outcome {
	a.t.Helper()
	target := map[string]any{"group": model.GroupGateway, "kind": model.KindHTTPRoute, "name": "shop"}
	if a.kind == model.KindClientTrafficPolicy {
		target["kind"], target["name"] = model.KindGateway, "gw"
	}
	spec := map[string]any{"targetRefs": []any{target}, a.Name: value}
	if a.kind == model.KindHTTPRouteFilter {
		delete(spec, "targetRefs")
	}
	w := readWorlds(a.t, "testdata/policy")[0]
	w.objects[0]["kind"] = a.kind
	return w.with(a.t, spec)
}

// TestLeadsAbroad says which references can lead to another namespace.
func TestLeadsAbroad(t *testing.T) {
	type spec struct {
		Secrets []gwv1.SecretObjectReference `json:"secrets"`
		Local   gwv1.LocalObjectReference    `json:"local"`
		Inner   *struct {
			Backend gwv1.BackendObjectReference `json:"backend"`
		} `json:"inner"`
	}
	api := reflect.TypeFor[spec]()
	for path, want := range map[string]bool{
		"secrets[]": true, "local": false, "inner.backend": true, "inner": false, "nothing": false,
	} {
		if leadsAbroad(api, path) != want {
			t.Errorf("%s leads abroad: %v", path, !want)
		}
	}
}

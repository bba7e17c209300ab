package featuretest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
)

// refusedFile is the file beside golden files that lists what a feature refuses: see [Refusal].
const refusedFile = "refused.yaml"

// Files returns the golden files in a folder, sorted.
func Files(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(files, func(file string) bool { return filepath.Base(file) == refusedFile })
}

// Case is what a golden file asks of a feature.
type Case struct {
	File  string
	Input Input
	api   reflect.Type
}

// Read returns what a golden file asks of a feature with that API type.
func Read(t *testing.T, file string, api reflect.Type) *Case {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := bytes.Cut(text, []byte("---\n"))
	c := &Case{File: file, api: api}
	if err := yaml.UnmarshalStrict(head, &c.Input); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if _, err := decode(c.Input.Spec, api); err != nil {
		t.Fatalf("%s: spec: %v", file, err)
	}
	return c
}

// Outcome is what a feature makes of a spec.
type Outcome struct {
	// Envoy is what it adds to Envoy's configuration, as JSON values: to the route, the HTTP filters, the cluster.
	Envoy map[string]any
	// Shared are the HTTP filters that it adds where they are for several routes, as JSON values.
	Shared []any
	// References are those to other objects.
	References []string
	// Refused is what it refuses, in which case there is nothing else.
	Refused []string
}

// Render returns what a feature makes of a spec in the place of that of the golden file.
func (c *Case) Render(t *testing.T, f feature.Feature, spec json.RawMessage) Outcome {
	t.Helper()
	value, err := decode(spec, c.api)
	if err != nil {
		return Outcome{Refused: []string{err.Error()}}
	}
	a := c.Input.attached(f, value)
	r := c.Input.route()
	all, chain := append(c.Input.beside(), a), feature.NewChain(f)
	if checker, ok := f.(feature.Checker); ok {
		rule := *r.Rule
		rule.Attached = all
		var refused []string
		for _, p := range checker.Check(a, &rule) {
			refused = append(refused, a.Path+p.Path+": "+p.Message)
		}
		if len(refused) > 0 {
			return Outcome{Refused: refused}
		}
	}
	chain.ApplyRoute(r, []model.Attached{a})
	scope := &feature.Scope{Route: r}
	chain.Filters(scope, all)
	cluster, endpoints := c.Input.cluster(t), twoZones()
	chain.ApplyCluster(cluster, []model.Attached{a})
	chain.ApplyEndpoints(endpoints, []model.Attached{a})
	out := Outcome{Envoy: describe(t, r, scope, cluster, endpoints)}
	if chain.ToService([]model.Attached{a}) {
		out.Envoy["endpoint"] = "that of the Service"
	}
	describeLogs(t, chain.AccessLogs([]model.Attached{a}), out.Envoy)
	if strings.Contains(f.Name(), ".") { // a field of a policy, which can be that of a Gateway
		several := &feature.Scope{}
		chain.Filters(several, all)
		for _, f := range several.Filters {
			out.Shared = append(out.Shared, jsonValue(t, f))
		}
	}
	maps.Copy(out.Envoy, listeners(t, chain, a, c.Input.Hostnames))
	for _, ref := range chain.References(a) {
		text, err := json.Marshal(ref)
		if err != nil {
			t.Fatal(err)
		}
		out.References = append(out.References, string(text))
	}
	return out
}

// decode returns a spec as features are given it: a slice, or else a pointer.
func decode(spec json.RawMessage, api reflect.Type) (any, error) {
	if len(spec) == 0 {
		return nil, errors.New("it is missing")
	}
	value := reflect.New(api)
	decoder := json.NewDecoder(bytes.NewReader(spec))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value.Interface()); err != nil {
		return nil, fmt.Errorf("not a %s: %w", api, err)
	}
	if api.Kind() == reflect.Slice {
		return value.Elem().Interface(), nil
	}
	return value.Interface(), nil
}

// Refusal is a field that a feature refuses, whatever its value: an entry of refused.yaml beside the golden files.
type Refusal struct {
	// Field is the path in the feature's API type, without indexes: "zoneAware.preferLocal.force".
	Field string `json:"field"`
	// Says is part of the message with which it is refused.
	Says string `json:"says"`
	// Input has the spec with the field, and what else that needs.
	Input `json:",inline"`
}

// Refusals returns what is listed in a folder, nothing if there is no list.
func Refusals(t *testing.T, folder string) []Refusal {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, refusedFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []Refusal
	if err := yaml.UnmarshalStrict(text, &out); err != nil {
		t.Fatalf("%s: %v", filepath.Join(folder, refusedFile), err)
	}
	return out
}

// expect fails the test unless the field is refused with the message.
func (r *Refusal) expect(t *testing.T, f feature.Feature, api reflect.Type) {
	t.Helper()
	if value, err := decode(r.Spec, api); err != nil {
		t.Fatalf("%s: %v, %v", r.Field, value, err)
	}
	c := &Case{Input: r.Input, api: api}
	refused := c.Render(t, f, r.Spec).Refused
	if !slices.ContainsFunc(refused, func(message string) bool { return strings.Contains(message, r.Says) }) {
		t.Errorf("%s is refused with %q, want %q", r.Field, refused, r.Says)
	}
}

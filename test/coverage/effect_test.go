package coverage

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
)

// maxSettings is how many settings of Envoy are named for a field. One that has more makes something as a whole.
const maxSettings = 3

// effect is what a change of a leaf field was seen to change.
type effect struct {
	// Settings are those of Envoy, or else aReference or onlyChoice.
	Settings []string
	// File is the golden file that shows it.
	File string
}

// String is how the reference says it.
func (e effect) String() string {
	if slices.Contains([]string{aReference, onlyChoice}, e.Settings[0]) {
		return e.Settings[0]
	}
	return "`" + strings.Join(e.Settings, "`, `") + "`"
}

// probe finds out what the leaf fields of a feature do.
type probe struct {
	t       *testing.T
	feature feature.Feature
	// api is the feature's API type, folder where its golden files are.
	api    reflect.Type
	folder string
	schema *openAPISchema
	// seen are the values of fields in all golden files: where the schema does not list them, others that there are.
	seen map[string][]any
}

// effects changes every leaf field in the golden files, one by one, and returns what that changed of what the feature
// makes of them.
func (p *probe) effects() map[string]effect {
	p.t.Helper()
	out := map[string]effect{}
	p.seen = map[string][]any{}
	files := featuretest.Files(p.t, p.folder)
	docs := make([]any, len(files))
	for i, file := range files {
		if err := json.Unmarshal(featuretest.Read(p.t, file, p.api).Input.Spec, &docs[i]); err != nil {
			p.t.Fatal(err)
		}
		for _, at := range places(docs[i], p.api) {
			if text, ok := at.Value.(string); ok {
				p.seen[at.Path] = append(p.seen[at.Path], text)
			}
		}
	}
	for i, file := range files {
		c := featuretest.Read(p.t, file, p.api)
		before, doc := c.Render(p.t, p.feature, c.Input.Spec), docs[i]
		for _, at := range places(doc, p.api) {
			settings := p.change(c, doc, at, before)
			if known, ok := out[at.Path]; settings != nil && (!ok || len(settings) < len(known.Settings)) {
				out[at.Path] = effect{Settings: settings, File: file}
			}
		}
	}
	return out
}

// change returns what is changed by the first change of a field that is not refused and changes something.
func (p *probe) change(c *featuretest.Case, doc any, at place, before featuretest.Outcome) []string {
	p.t.Helper()
	enum := p.schema.at(at.Path).enum()
	implied := len(enum) > 0
	for _, other := range others(at.Value, slices.Concat(enum, p.seen[at.Path])) {
		spec, err := json.Marshal(replaced(doc, at.Steps, other))
		if err != nil {
			p.t.Fatal(err)
		}
		after := c.Render(p.t, p.feature, spec)
		if after.Refused != nil {
			continue
		}
		if settings := differences(before.Envoy, after.Envoy); len(settings) > 0 {
			return settings
		}
		if settings := differences(shared(before), shared(after)); len(settings) > 0 {
			return settings
		}
		if !slices.Equal(before.References, after.References) {
			return []string{aReference}
		}
		implied = implied && (other == gone{} || !p.admitted(spec))
	}
	if implied {
		return []string{onlyChoice}
	}
	return nil
}

// aReference stands for the effect of a field that leads to another object.
const aReference = "a reference"

// onlyChoice stands for the effect of a field of which the schema admits no other value: what is beside it decides.
const onlyChoice = "follows from the fields beside it"

// admitted reports whether the schema of the kind admits a spec of the feature.
func (p *probe) admitted(spec json.RawMessage) bool {
	kind, field, _ := strings.Cut(p.feature.Name(), ".")
	object := map[string]any{
		"apiVersion": egv1a1.GroupVersion.String(), "kind": kind, "metadata": map[string]any{"name": "a"},
		"spec": map[string]any{field: spec},
	}
	if kind != model.KindHTTPRouteFilter {
		object["spec"].(map[string]any)["targetRefs"] = []any{
			map[string]any{"group": model.GroupGateway, "kind": model.KindGateway, "name": "a"},
		}
	}
	text, err := json.Marshal(object)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, d := range resource.Decode(resource.Document{Text: text, Format: resource.JSON}) {
		if len(d.Problems) > 0 {
			return false
		}
	}
	return true
}

// shared is what filters are for several routes.
func shared(o featuretest.Outcome) map[string]any { return map[string]any{"httpFilters": o.Shared} }

// others returns other values for that of a field, ending with none at all.
func others(value any, enum []any) []any {
	var out []any
	for _, e := range enum {
		if e != value {
			out = append(out, e)
		}
	}
	switch value := value.(type) {
	case bool:
		out = append(out, !value)
	case float64:
		out = append(out, value+1, value-1)
	case string:
		if d, err := time.ParseDuration(value); err == nil {
			out = append(out, (2 * d).String())
		}
		out = append(out, value+"x")
		if at := strings.LastIndexAny(value, "0123456789"); at >= 0 {
			digit := byte('1')
			if value[at] > '0' {
				digit = value[at] - 1
			}
			out = append(out, value[:at]+string(digit)+value[at+1:])
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			for _, other := range others(value[key], nil) {
				out = append(out, replaced(value, []any{key}, other))
			}
		}
	}
	return append(out, gone{})
}

// differences returns the settings in which two configurations differ, the shortest of them if there are many.
func differences(a, b map[string]any) []string {
	before, after := map[string]string{}, map[string]string{}
	flatten(before, "", a)
	flatten(after, "", b)
	found := map[string]bool{}
	for path, value := range before {
		if other, ok := after[path]; !ok || other != value {
			found[setting(path)] = true
		}
	}
	for path := range after {
		if _, ok := before[path]; !ok {
			found[setting(path)] = true
		}
	}
	out := slices.SortedFunc(maps.Keys(found), func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(a, "."), strings.Count(b, ".")), cmp.Compare(a, b))
	})
	return out[:min(len(out), maxSettings)]
}

// flatten collects the scalars of a configuration by path. Elements of lists that have a name go by it.
func flatten(out map[string]string, path string, value any) {
	switch value := value.(type) {
	case map[string]any:
		if len(value) == 0 && strings.Count(path, "\x00") > 1 {
			out[path] = "{}" // that it is there says something
		}
		for key, inner := range value {
			flatten(out, path+"\x00"+key, inner)
		}
	case []any:
		for i, inner := range value {
			step := "[" + strconv.Itoa(i) + "]"
			if named, ok := inner.(map[string]any); ok && named["name"] != nil {
				step = fmt.Sprintf("[%v]", named["name"])
			}
			flatten(out, path+step, inner)
		}
	default:
		out[path] = fmt.Sprint(value)
	}
}

// setting returns the name of a setting for readers: without indexes and the wrapping of extensions.
func setting(path string) string {
	var steps []string
	for step := range strings.SplitSeq(strings.TrimPrefix(path, "\x00"), "\x00") {
		name, index, list := strings.Cut(step, "[")
		index, _, _ = strings.Cut(index, "]")
		_, err := strconv.Atoi(index)
		switch {
		case name == "@type" || name == "typed_config" || name == "value" && len(steps) > 0:
			continue
		case name == "httpFilters":
			steps = append(steps, index)
		case list && err != nil:
			steps = append(steps, name+"["+index+"]")
		default:
			steps = append(steps, name)
		}
	}
	return strings.Join(steps, ".")
}

func TestDifferences(t *testing.T) {
	a := map[string]any{"httpFilters": []any{map[string]any{
		"name": "envoy.filters.http.x", "typed_config": map[string]any{"@type": "X", "list": []any{"a", "b"}, "old": true},
	}}, "cluster": map[string]any{"n": 1.0}}
	b := map[string]any{"httpFilters": []any{map[string]any{
		"name": "envoy.filters.http.x", "typed_config": map[string]any{"@type": "X", "list": []any{"a", "c"}},
	}}, "cluster": map[string]any{"n": 2.0}}
	want := []string{"cluster.n", "envoy.filters.http.x.list", "envoy.filters.http.x.old"}
	slices.SortFunc(want, func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(a, "."), strings.Count(b, ".")), cmp.Compare(a, b))
	})
	if got := differences(a, b); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := differences(a, a); len(got) > 0 {
		t.Errorf("the same differs in %q", got)
	}
}

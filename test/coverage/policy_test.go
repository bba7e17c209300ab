package coverage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/all"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource/schema"
)

//go:generate go test -run ^TestEveryField$ . -update

const (
	// root is that of the module, and reference the page of all fields in it, made by TestEveryField.
	root      = "../.."
	reference = root + "/docs/reference/policies.md"
	// pkg is where the packages of features are.
	pkg = "github.com/sluice-gateway/sluice/"
)

// apis are the kinds of Envoy Gateway's API whose fields are features: their specs, and the names of their CRDs.
var apis = []struct {
	kind, plural string
	spec         reflect.Type
}{
	{model.KindBackendTrafficPolicy, "backendtrafficpolicies", reflect.TypeFor[egv1a1.BackendTrafficPolicySpec]()},
	{model.KindClientTrafficPolicy, "clienttrafficpolicies", reflect.TypeFor[egv1a1.ClientTrafficPolicySpec]()},
	{model.KindEnvoyExtensionPolicy, "envoyextensionpolicies", reflect.TypeFor[egv1a1.EnvoyExtensionPolicySpec]()},
	{model.KindHTTPRouteFilter, "httproutefilters", reflect.TypeFor[egv1a1.HTTPRouteFilterSpec]()},
	{model.KindSecurityPolicy, "securitypolicies", reflect.TypeFor[egv1a1.SecurityPolicySpec]()},
}

// elsewhere are the fields that are no features: what they say, and the test of it.
var elsewhere = map[string]struct{ says, file, test string }{
	"targetRef":       {"where the policy holds", "internal/resolve/policed_test.go", "TestPolicyLevels"},
	"targetRefs":      {"where the policy holds", "internal/resolve/policed_test.go", "TestPolicyLevels"},
	"targetSelectors": {"where the policy holds", "internal/resolve/policed_test.go", "TestPolicySelectors"},
	"mergeType":       {"how policies are merged", "internal/resolve/policed_test.go", "TestMergedPolicies"},
	"ClientTrafficPolicy.http3": {
		"`listener.udp_listener_config.quic_options` on UDP, `alt-svc` on TCP", "test/e2e/http3_test.go", "TestHTTP3",
	},
	"HTTPRouteFilter.matches": {"`route.match`", "internal/resolve/routefilter_test.go", "TestHTTPRouteFilter"},
}

// unclaimed are the fields that are refused because there is no feature for them, and why.
var unclaimed = map[string]string{}

// TestEveryField says that every leaf field of the API has an effect, which a file whose outcome another test asserts
// shows, or is refused, and that the reference says so.
//
// A field has an effect if changing or removing its value in such a file changes what the program makes of the file.
func TestEveryField(t *testing.T) {
	features := map[string]feature.Feature{}
	for _, f := range all.Chain().Features() {
		features[f.Name()] = f
	}
	var page bytes.Buffer
	page.WriteString(preamble)
	for _, api := range apis {
		page.WriteString(heading(api.kind))
		sch := openAPI(t, api.plural)
		for _, m := range members(api.spec) {
			name := api.kind + "." + m.Name
			if row := unfeatured(t, m.Name, name); row != "" {
				page.WriteString(row)
				continue
			}
			f, ok := features[name]
			if why, none := unclaimed[name]; ok == none {
				t.Errorf("%s has a feature: %v. Is it among those that have none?", name, ok)
			} else if none {
				fmt.Fprintf(&page, "| `%s` | | refused: %s | |\n", m.Name, why)
				continue
			}
			t.Run(name, func(t *testing.T) { page.WriteString(every(t, f, m, sch.at(m.Name))) })
		}
	}
	for _, api := range configured {
		page.WriteString(heading(api.kind))
		t.Run(api.kind, func(t *testing.T) {
			page.WriteString(everyConfigured(t, api.kind, api.spec, openAPI(t, api.plural)))
		})
	}
	featuretest.Generated(t, reference, page.Bytes())
}

func heading(kind string) string {
	return fmt.Sprintf("\n## %s\n\n| Field | Default | Becomes | Shown by |\n| --- | --- | --- | --- |\n", kind)
}

// unfeatured returns the row of a field that is no feature, nothing for one that is.
func unfeatured(t *testing.T, field, name string) string {
	t.Helper()
	is, ok := elsewhere[field]
	if !ok {
		is, ok = elsewhere[name]
	}
	if !ok {
		return ""
	}
	text, err := os.ReadFile(filepath.Join(root, is.file))
	if err != nil || !bytes.Contains(text, []byte("func "+is.test+"(")) {
		t.Errorf("%s: no %s in %s: %v", name, is.test, is.file, err)
	}
	return fmt.Sprintf("| `%s` | | %s | [%s](../../%s) |\n", field, is.says, is.test, is.file)
}

// every fails the test for every leaf of a field that has neither an effect nor a refusal, and returns the rows of the
// others for the reference.
func every(t *testing.T, f feature.Feature, m member, sch *openAPISchema) string {
	t.Helper()
	api := m.Type
	if api.Kind() == reflect.Pointer {
		api = api.Elem()
	}
	folder := testdata(f)
	found := (&probe{t: t, feature: f, api: api, folder: folder, schema: sch}).effects()
	refused := map[string]string{}
	for _, r := range featuretest.Refusals(t, folder) {
		refused[r.Field] = r.Says
	}
	return (&listing{t: t, within: m.Name, folder: folder, schema: sch}).rows(leaves(api), found, refused)
}

// listing makes rows of the reference.
type listing struct {
	t *testing.T
	// within is the field that all are part of, empty for a whole spec.
	within string
	folder string
	schema *openAPISchema
}

// rows returns the rows of all leaf fields, and fails the test for those that have neither an effect nor a refusal.
func (l *listing) rows(fields []string, found map[string]effect, refused map[string]string) string {
	l.t.Helper()
	var rows strings.Builder
	for _, path := range fields {
		field := strings.Trim(l.within+"."+path, ".")
		if strings.HasPrefix(path, "[]") {
			field = l.within + path
		}
		effect, ok := found[path]
		says, no := refusedBy(refused, path)
		switch {
		case ok && no:
			l.t.Errorf("%s is listed as refused, but %s shows an effect", field, effect.File)
		case no:
			fmt.Fprintf(&rows, "| `%s` | | refused: %s | |\n", field, says)
		case ok:
			file, err := filepath.Rel(root, effect.File)
			if err != nil {
				l.t.Fatal(err)
			}
			fmt.Fprintf(&rows, "| `%s` | %s | %s | [%s](../../%s) |\n", field, l.schema.at(path).defaulted(), effect,
				filepath.Base(file), file)
		default:
			l.t.Errorf("%s has to be in a file in %s such that a change of it has an effect, or in refused.yaml", field,
				l.folder)
		}
	}
	for path := range refused {
		if !slices.ContainsFunc(fields, func(leaf string) bool { return within(leaf, path) }) {
			l.t.Errorf("refused.yaml lists %q, and there is no such field", path)
		}
	}
	return rows.String()
}

// refusedBy looks a field up in what is refused: itself, or something that it is part of.
func refusedBy(refused map[string]string, path string) (says string, ok bool) {
	for field, says := range refused {
		if within(path, field) {
			return says, true
		}
	}
	return "", false
}

// within reports whether a field is another or part of it.
func within(path, of string) bool {
	rest, ok := strings.CutPrefix(path, of)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// testdata returns the folder of a feature's golden files: that of its package, or one with its name inside of it.
func testdata(f feature.Feature) string {
	folder := filepath.Join(root, strings.TrimPrefix(reflect.TypeOf(f).PkgPath(), pkg), "testdata")
	if own := filepath.Join(folder, f.Name()); isFolder(own) {
		return own
	}
	return folder
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// openAPISchema is what is used of a schema in a CRD.
type openAPISchema struct {
	Properties map[string]*openAPISchema `json:"properties"`
	Items      *openAPISchema            `json:"items"`
	Enum       []any                     `json:"enum"`
	AllOf      []*openAPISchema          `json:"allOf"`
	Default    any                       `json:"default"`
}

// openAPI returns the schema of the spec of a kind.
func openAPI(t *testing.T, plural string) *openAPISchema {
	t.Helper()
	text, err := schema.Of(egv1a1.GroupName, plural, egv1a1.GroupVersion.Version)
	if err != nil {
		t.Fatal(err)
	}
	out := &openAPISchema{}
	if err := json.Unmarshal(text, out); err != nil {
		t.Fatal(err)
	}
	return out.at("spec")
}

// at returns the schema of a field, which may be empty.
func (s *openAPISchema) at(path string) *openAPISchema {
	for step := range strings.SplitSeq(path, ".") {
		name, lists, _ := strings.Cut(step, "[")
		if name != "" && s != nil {
			s = s.Properties[name]
		}
		for range strings.Count(lists, "]") {
			if s != nil {
				s = s.Items
			}
		}
	}
	return s
}

func (s *openAPISchema) enum() []any {
	if s == nil {
		return nil
	}
	for _, part := range s.AllOf {
		if len(part.Enum) > 0 {
			return part.Enum
		}
	}
	return s.Enum
}

func (s *openAPISchema) defaulted() string {
	if s == nil || s.Default == nil {
		return ""
	}
	text, err := json.Marshal(s.Default)
	if err != nil {
		return ""
	}
	return "`" + string(text) + "`"
}

const preamble = `# Fields of policies

Every field of the policies, Backends and EnvoyProxies of Envoy Gateway's API, the default that its CRD gives it, and
what it becomes in Envoy: settings of the route, of the cluster of a backend, of a listener or of an HTTP filter (by its
name), or in the objects of a fleet, three of them at most. The last column is the file that shows it. What is refused,
or has no effect, is said in the status of the object.

This page is generated by the test that every field is on it.
`

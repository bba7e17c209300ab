package coverage

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/feature/all"
	"github.com/sluice-gateway/sluice/internal/fleet/kube"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/resolve"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// configured are the kinds of Envoy Gateway's API that are no policies: all of the program decides what they do.
var configured = []struct {
	kind, plural string
	spec         reflect.Type
}{
	{model.KindBackend, "backends", reflect.TypeFor[egv1a1.BackendSpec]()},
	{model.KindEnvoyProxy, "envoyproxies", reflect.TypeFor[egv1a1.EnvoyProxySpec]()},
}

// world is a file of objects, of which the first is changed.
type world struct {
	file    string
	objects []map[string]any
}

// readWorlds returns the files in a folder but the list of what is refused.
func readWorlds(t *testing.T, folder string) []world {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var out []world
	for _, file := range files {
		if filepath.Base(file) == "refused.yaml" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		w := world{file: file}
		for doc := range strings.SplitSeq(string(text), "\n---\n") {
			object := map[string]any{}
			if err := yaml.Unmarshal([]byte(doc), &object); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			w.objects = append(w.objects, object)
		}
		out = append(out, w)
	}
	return out
}

// outcome is what the program makes of a world.
type outcome struct {
	// made are the configuration of Envoy and the objects of the fleets, as JSON values.
	made map[string]any
	// said is all that it says about the objects.
	said string
	// refused says that a schema refuses an object.
	refused bool
}

// with returns what the program makes of the world with another spec of the object that is changed.
func (w *world) with(t *testing.T, spec any) outcome {
	t.Helper()
	first := map[string]any{}
	for key, value := range w.objects[0] {
		first[key] = value
	}
	first["spec"] = spec
	var set []source.Object
	for _, object := range append([]map[string]any{first}, w.objects[1:]...) {
		text, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range resource.Decode(resource.Document{Text: text, Format: resource.JSON}) {
			if d.Object == nil {
				return outcome{said: problems(d.Problems), refused: true}
			}
			set = append(set, source.Object{Ref: d.Ref, Object: d.Object})
		}
	}
	return run(t, set)
}

func problems(list []resource.Problem) string {
	var out strings.Builder
	for _, p := range list {
		out.WriteString(p.String() + "\n")
	}
	return out.String()
}

// run takes objects through the program as it runs on Kubernetes.
func run(t *testing.T, set []source.Object) outcome {
	t.Helper()
	var fleets []*resolve.Fleet
	var said strings.Builder
	p := pipeline.New(pipeline.Options{
		Controllers: []string{"sluice.dev/gateway-controller"}, Chain: all.Chain(), Bind: "0.0.0.0", Workers: 1,
		Fleets: &resolve.FleetOptions{Namespace: "sluice-system", Check: kube.Check},
		Fleet:  func(_ model.ProxyName, f *resolve.Fleet) { fleets = append(fleets, f) },
		Proxy:  func(gateway model.Name) model.ProxyName { return model.ProxyName(gateway.String()) },
		Publish: func(s pipeline.Status) {
			text, err := json.Marshal(s.Status)
			if err != nil {
				t.Fatal(err)
			}
			said.Write(text)
		},
		SystemCAs: "/etc/ssl/certs/ca-certificates.crt", LocalBackends: true,
	})
	if faults := p.Apply(set, nil, nil).Result.Faults; len(faults) > 0 {
		t.Fatal(faults[0])
	}
	for _, issue := range p.Issues() {
		said.WriteString(issue.Message + "\n")
	}
	out := outcome{made: map[string]any{}}
	for _, f := range fleets {
		if f != nil {
			out.add(t, p, f)
		}
	}
	out.said = said.String()
	return out
}

// add adds what a fleet is, and what its Envoys are told.
func (o *outcome) add(t *testing.T, p *pipeline.Pipeline, f *resolve.Fleet) {
	t.Helper()
	objects, err := kube.Render(f, kube.Settings{
		EnvoyImage: "envoy:v1", SluiceImage: "sluice:v1", Namespace: "sluice-system", Port: 18000, Service: "sluice",
		Server: "sluice.sluice-system.svc.cluster.local", Identity: "spiffe://example.com/server",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		o.made[object.GetKind()] = object.Object
	}
	resources := p.Resources(f.Proxy)
	for _, typ := range []xds.Type{xds.Cluster, xds.Endpoints, xds.Listener, xds.Routes, xds.Secret} {
		var list []any
		for _, r := range resources[typ] {
			text, err := envoy.Render(typ, r)
			if err != nil {
				t.Fatal(err)
			}
			var value any
			if err := json.Unmarshal(text, &value); err != nil {
				t.Fatal(err)
			}
			list = append(list, value)
		}
		o.made[strings.ToLower(typ.String())] = list
	}
}

// worldEffects changes every leaf field in the worlds of a kind, one by one, and returns what that changed.
func worldEffects(t *testing.T, worlds []world, api reflect.Type, schema *openAPISchema) map[string]effect {
	t.Helper()
	out := map[string]effect{}
	for i := range worlds {
		w := &worlds[i]
		spec := w.objects[0]["spec"]
		before := w.with(t, spec)
		if before.refused || strings.Contains(before.said, "is not valid") {
			t.Errorf("%s: %s", w.file, before.said)
		}
		for _, at := range places(spec, api) {
			settings := w.change(t, spec, at, before, schema.at(at.Path).enum())
			if known, ok := out[at.Path]; settings != nil && (!ok || len(settings) < len(known.Settings)) {
				out[at.Path] = effect{Settings: settings, File: w.file}
			}
		}
	}
	return out
}

// change returns what is changed by the first change of a field that changes something.
func (w *world) change(t *testing.T, spec any, at place, before outcome, enum []any) []string {
	t.Helper()
	implied := len(enum) > 0
	for _, other := range others(at.Value, enum) {
		after := w.with(t, replaced(spec, at.Steps, other))
		if settings := differences(before.made, after.made); !after.refused && len(settings) > 0 {
			return settings
		}
		implied = implied && (after.refused || other == gone{})
	}
	if implied {
		return []string{onlyChoice}
	}
	return nil
}

// worldRefusals returns the fields that are refused whatever their value, after checking that they are.
func worldRefusals(t *testing.T, folder string, worlds []world) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "refused.yaml"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var list []struct {
		Field string `json:"field"`
		Says  string `json:"says"`
		Spec  any    `json:"spec"`
	}
	if err := yaml.UnmarshalStrict(text, &list); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, r := range list {
		out[r.Field] = r.Says
		if said := worlds[0].with(t, r.Spec).said; !strings.Contains(said, r.Says) {
			t.Errorf("%s: %q is not in what is said:\n%s", r.Field, r.Says, said)
		}
	}
	return out
}

// everyConfigured is like every for a kind that is no policy.
func everyConfigured(t *testing.T, kind string, api reflect.Type, schema *openAPISchema) string {
	t.Helper()
	folder := filepath.Join(root, "test/coverage/testdata", kind)
	worlds := readWorlds(t, folder)
	if len(worlds) == 0 {
		t.Fatalf("no files in %s", folder)
	}
	found := worldEffects(t, worlds, api, schema)
	refused := worldRefusals(t, folder, worlds)
	return (&listing{t: t, folder: folder, schema: schema}).rows(leaves(api), found, refused)
}

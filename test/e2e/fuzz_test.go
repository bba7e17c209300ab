package e2e

import (
	"flag"
	"hash/fnv"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/feature/all"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/source/file"
	"github.com/sluice-gateway/sluice/internal/xds"
	"github.com/sluice-gateway/sluice/test/program"
)

// envoyShare is the share of the inputs, 1 in so many, that Envoy is asked about while fuzzing: it takes longer than
// all the rest. Seeds, and what fuzzing has found before, are always checked.
const envoyShare = 50

// FuzzYAMLToEnvoy takes arbitrary YAML through the whole pipeline. Whatever people write, nothing may panic, the result
// must be the same for one worker and for many, each resource must keep to the constraints of its Protobuf definition,
// and Envoy must take the whole configuration.
func FuzzYAMLToEnvoy(f *testing.F) {
	paths, err := filepath.Glob(filepath.Join(examples, "*", "*.yaml"))
	if err != nil || len(paths) == 0 {
		f.Fatalf("no examples to start from: %v", err)
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(content))
	}
	secure, err := os.ReadFile(filepath.Join("testdata", "secure.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		plain.Replace(gatewayYAML) + "---" + plain.Replace(backendsYAML) +
			plain.Replace(route("a", "[a.example]", [2]string{"a", `[{path: {type: RegularExpression, value: "/[a-z]+"}}]`})),
		plain.Replace(gatewayYAML) + slice("a", "IPv6", "80", `[{addresses: ["::1"], conditions: {ready: false}}]`),
		plain.Replace(gatewayYAML) + string(secure),
	} {
		f.Add(seed)
	}
	binary, _ := program.Envoy(shared.binary)
	fuzzing := flag.Lookup("test.fuzz").Value.String() != "" || fuzzWorker()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "input.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		one, many := translate(t, path, 1), translate(t, path, 4)
		if diff := cmp.Diff(bodies(one), bodies(many)); diff != "" {
			t.Errorf("one worker and four make different configurations:\n%s", diff)
		}
		messages := decode(t, one)
		if binary != "" && (!fuzzing || sampled(text)) {
			checkEnvoyTakes(t, binary, messages)
		}
	})
}

// fuzzWorker reports whether the process is one that the fuzzer started to do its work.
func fuzzWorker() bool { return flag.Lookup("test.fuzzworker").Value.String() == "true" }

func sampled(text string) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(text))
	return h.Sum32()%envoyShare == 0
}

const proxy model.ProxyName = "local"

// translate does what `sluice translate` does, in this process.
func translate(t *testing.T, path string, workers int) map[xds.Type][]*xds.Resource {
	t.Helper()
	source, err := file.New(file.Options{Paths: []string{path}, Workers: workers})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := source.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := pipeline.New(pipeline.Options{
		Controllers: []string{"sluice.dev/gateway-controller"},
		Proxy:       func(model.Name) model.ProxyName { return proxy },
		Proxies:     []model.ProxyName{proxy}, Chain: all.Chain(), Bind: "0.0.0.0", Workers: workers,
		LocalBackends: true, Alone: true,
		Addresses: pipeline.Addresses(netip.MustParseAddr("127.0.0.1")),
	})
	if out := p.Apply(batch.Set, batch.Delete, nil); len(out.Result.Faults) > 0 {
		t.Fatalf("a stage failed: %v", out.Result.Faults)
	}
	return p.Resources(proxy)
}

// bodies returns the bytes of resources by type and name.
func bodies(resources map[xds.Type][]*xds.Resource) map[string]string {
	out := map[string]string{}
	for typ, list := range resources {
		for _, r := range list {
			body := string(r.Body)
			for p := range r.Parts.All() {
				body += string(p.Body)
			}
			out[typ.String()+" "+r.Name] = body
		}
	}
	return out
}

// decode returns resources as messages, and fails the test for those that break a constraint of their definition.
func decode(t *testing.T, resources map[xds.Type][]*xds.Resource) *static {
	t.Helper()
	out := &static{}
	for _, typ := range []xds.Type{xds.Cluster, xds.Endpoints, xds.Secret, xds.Listener, xds.Routes} {
		for _, r := range resources[typ] {
			m, err := envoy.Message(typ, r)
			if err != nil {
				t.Fatal(err)
			}
			if v, ok := m.(interface{ ValidateAll() error }); !ok {
				t.Fatalf("%T cannot be validated", m)
			} else if err := v.ValidateAll(); err != nil {
				t.Errorf("%s %s: %v", typ, r.Name, err)
			}
			out.add(m)
		}
	}
	return out
}

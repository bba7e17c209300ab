package pipeline_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/feature/all"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/source/file"
)

// orders is in how many random orders the objects of a generated world arrive.
var orders = flag.Int("orders", 10, "random orders of arrival to try in TestAnyOrderGivesTheSameBytes")

// worldSize is about how many objects a generated world has.
const worldSize = 2000

// generator makes objects that interact in the ways in which configurations do: hosts and paths that several routes
// want, policies for the same target, references across namespaces with and without a grant, and mistakes.
type generator struct {
	rng *rand.Rand
	out strings.Builder
	n   int
}

func (g *generator) pick(from ...string) string { return from[g.rng.IntN(len(from))] }
func (g *generator) name(kind string, of int) string {
	return fmt.Sprintf("%s%d", kind, g.rng.IntN(of))
}
func (g *generator) namespace() string { return g.pick("a", "b", "c") }

// add writes an object. One in three has an age, of which there are few, so that many are as old as others.
func (g *generator) add(version, kind, name, spec string) {
	g.n++
	age := ""
	if g.rng.IntN(3) == 0 {
		age = fmt.Sprintf(", creationTimestamp: 2026-01-01T00:00:0%dZ", g.rng.IntN(4))
	}
	fmt.Fprintf(&g.out, "---\napiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: %s%s}\n%s\n", version, kind,
		fmt.Sprintf("%s-%d", name, g.n), g.namespace(), age, spec)
}

const (
	coreVersion  = "gateway.networking.k8s.io/v1"
	envoyVersion = "gateway.envoyproxy.io/v1alpha1"
)

// named writes an object under a name that others refer to, once in each namespace.
func (g *generator) named(version, kind, name, spec string) {
	for _, ns := range []string{"a", "b", "c"} {
		g.n++
		fmt.Fprintf(&g.out, "---\napiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: %s}\n%s\n", version, kind,
			name, ns, spec)
	}
}

// generate returns the YAML of a world.
func generate(seed uint64) string {
	g := &generator{rng: rand.New(rand.NewPCG(seed, 11))}
	for i := range 4 {
		listeners := fmt.Sprintf("  - {name: http, protocol: HTTP, port: %d, allowedRoutes: {namespaces: {from: %s}}}\n",
			8080+i%2, g.pick("All", "Same"))
		listeners += fmt.Sprintf("  - {name: two, protocol: HTTP, port: %d, hostname: \"*.example.com\"}\n", 8082+i%3)
		g.named(coreVersion, "Gateway", fmt.Sprintf("gw%d", i),
			"spec:\n  gatewayClassName: sluice\n  allowedListeners: {namespaces: {from: All}}\n  listeners:\n"+listeners)
	}
	for i := range 60 {
		g.named(envoyVersion, "Backend", fmt.Sprintf("be%d", i), fmt.Sprintf(
			"spec: {endpoints: [{ip: {address: 10.0.%d.%d, port: 80}}]}", i, 1+g.rng.IntN(200)))
	}
	for g.n < worldSize {
		switch g.rng.IntN(10) {
		case 0, 1, 2, 3, 4:
			g.route()
		case 5:
			g.add(coreVersion, "ReferenceGrant", "grant", fmt.Sprintf("spec: {from: [{group: %s, kind: %s, namespace: %s}], "+
				"to: [{group: %s, kind: Backend}]}", model.GroupGateway, g.pick("HTTPRoute", "GRPCRoute"), g.namespace(),
				model.GroupEnvoyGateway))
		case 6:
			g.add(coreVersion, "ListenerSet", "set", fmt.Sprintf("spec: {parentRef: {name: %s, namespace: %s}, "+
				"listeners: [{name: x, protocol: HTTP, port: %d}]}", g.name("gw", 5), g.namespace(), 8080+g.rng.IntN(6)))
		default:
			g.policy()
		}
	}
	return g.out.String()
}

func (g *generator) route() {
	rule := func() string {
		return fmt.Sprintf("  - matches: [{path: {type: %s, value: /p%d}}]\n    backendRefs: [{group: %s, kind: Backend, "+
			"name: %s, namespace: %s, weight: %d}, {group: %s, kind: Backend, name: %s}]\n",
			g.pick("PathPrefix", "Exact"), g.rng.IntN(6), model.GroupEnvoyGateway, g.name("be", 62), g.namespace(),
			g.rng.IntN(3), model.GroupEnvoyGateway, g.name("be", 60))
	}
	const spec = "spec:\n  parentRefs: [{name: %s, namespace: %s%s}, {name: %s}]\n" +
		"  hostnames: [%s, %s.example.com]\n  rules:\n%s%s"
	g.add(coreVersion, "HTTPRoute", "route", fmt.Sprintf(spec, g.name("gw", 5), g.namespace(),
		g.pick("", ", sectionName: http", ", sectionName: none"), g.name("gw", 4), g.pick(`"*.example.com"`, "x.example.org"),
		g.name("h", 80), rule(), rule()))
}

func (g *generator) policy() {
	target := fmt.Sprintf("targetRefs: [{group: %s, kind: %s, name: %s}]", model.GroupGateway,
		g.pick("Gateway", "Gateway", "HTTPRoute"), g.pick(g.name("gw", 4), fmt.Sprintf("route-%d", g.rng.IntN(worldSize))))
	switch g.rng.IntN(4) {
	case 0:
		g.add(envoyVersion, "BackendTrafficPolicy", "btp", fmt.Sprintf("spec: {%s, retry: {numRetries: %d}, "+
			"loadBalancer: {type: %s}}", target, 1+g.rng.IntN(4), g.pick("Random", "RoundRobin")))
	case 1:
		g.add(envoyVersion, "SecurityPolicy", "sp", fmt.Sprintf("spec: {%s, authorization: {defaultAction: %s, "+
			"rules: [{action: Allow, principal: {clientCIDRs: [10.%d.0.0/16]}}]}}", target, g.pick("Deny", "Allow"),
			g.rng.IntN(9)))
	case 2:
		g.add(envoyVersion, "SecurityPolicy", "sp", fmt.Sprintf("spec: {%s, extAuth: {http: {backendRefs: [{group: %s, "+
			"kind: Backend, name: %s, namespace: %s, port: 80}]}}}", target, model.GroupEnvoyGateway, g.name("be", 62),
			g.namespace()))
	default:
		g.add(envoyVersion, "ClientTrafficPolicy", "ctp", fmt.Sprintf("spec: {%s, timeout: {http: {idleTimeout: %ds}}}",
			strings.Replace(target, "HTTPRoute", "Gateway", 1), 1+g.rng.IntN(5)))
	}
}

// outcome is all that a pipeline says about its objects: what Envoy is told, and the statuses.
type outcome struct {
	*pipeline.Pipeline
	statuses map[string]string
}

func newOutcome(t *testing.T) *outcome {
	t.Helper()
	o := &outcome{statuses: map[string]string{}}
	o.Pipeline = newPipeline(func(opts *pipeline.Options) {
		opts.Controllers = []string{"sluice.dev/gateway-controller"}
		opts.Chain, opts.Features, opts.Alone = all.Chain(), all.Supported, true
		opts.Publish = func(s pipeline.Status) {
			if s.Status == nil {
				delete(o.statuses, s.Ref.String())
				return
			}
			text, err := json.Marshal(s.Status)
			if err != nil {
				t.Error(err)
			}
			o.statuses[s.Ref.String()] = string(text)
		}
	})
	return o
}

// generated reads the objects of a generated world as sluice run does.
func generated(t *testing.T) []source.Object {
	t.Helper()
	path := filepath.Join(t.TempDir(), "world.yaml")
	if err := os.WriteFile(path, []byte(generate(1)), 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := file.New(file.Options{Paths: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := src.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(batch.Problems) > 0 {
		t.Fatalf("%d problems, the first: %v", len(batch.Problems), batch.Problems[0])
	}
	return batch.Set
}

// TestAnyOrderGivesTheSameBytes: 2,000 objects give the same bytes for Envoy and the same statuses, all at once, one by
// one, in batches of any size and order, and when some of them came and went before.
func TestAnyOrderGivesTheSameBytes(t *testing.T) {
	objects := generated(t)
	want := newOutcome(t)
	want.Apply(objects, nil, nil)
	wanted := contents(want.Pipeline)
	issues := len(want.Issues())
	if len(objects) < worldSize || len(wanted) < 200 || issues < 200 || len(want.statuses) < worldSize/2 {
		t.Fatalf("the world is not what it is for: %d objects, %d resources, %d issues, %d statuses", len(objects),
			len(wanted), issues, len(want.statuses))
	}
	rng := rand.New(rand.NewPCG(5, 5))
	for order := range *orders {
		got := newOutcome(t)
		arrive(got, objects, rng, order == 0)
		if diff := cmp.Diff(wanted, contents(got.Pipeline)); diff != "" {
			t.Fatalf("order %d: Envoy is told something else:\n%.4000s", order, diff)
		}
		if diff := cmp.Diff(want.statuses, got.statuses); diff != "" {
			t.Fatalf("order %d: the statuses are others:\n%.4000s", order, diff)
		}
	}
}

// arrive gives objects to a pipeline in a random order, one by one or in batches. A tenth of them is removed again on
// the way, and comes back in the end.
func arrive(to *outcome, objects []source.Object, rng *rand.Rand, singly bool) {
	shuffled := slices.Clone(objects)
	rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	var removed []source.Object
	for rest := shuffled; len(rest) > 0; {
		n := min(len(rest), 1+rng.IntN(500))
		if singly {
			n = 1
		}
		to.Apply(rest[:n], nil, nil)
		var remove []model.Ref
		for _, o := range rest[:n] {
			if rng.IntN(10) == 0 {
				remove = append(remove, o.Ref)
				removed = append(removed, o)
			}
		}
		if len(remove) > 0 {
			to.Apply(nil, remove, nil)
		}
		rest = rest[n:]
	}
	to.Apply(removed, nil, nil)
}

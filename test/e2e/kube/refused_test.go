package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/test/cluster"
	"github.com/sluice-gateway/sluice/test/release"
	"github.com/sluice-gateway/sluice/test/wasm"
)

// strict goes behind spec.provider of an EnvoyProxy. It has Envoy take smaller regular expressions than Sluice
// thinks, so that it refuses what Sluice has nothing against.
const strict = `
  bootstrap:
    type: JSONPatch
    jsonPatches:
    - op: add
      path: /layered_runtime/layers/-
      value: {name: strict, static_layer: {re2.max_program_size.error_level: 150}}
`

// soon is how long what is good may take to be live, whatever is bad beside it.
const soon = 5 * time.Second

// flaw is something that only Envoy has something against.
type flaw struct {
	name string
	// bad and good are manifests of it. With edit, what is bad was good before.
	bad, good string
	edit      bool
	// object is where the object is whose status says so by a condition, in these words of Envoy.
	object, condition, words string
	// path is what the host NAME.example, or host, is asked for; empty if there is nothing to see. It is answered with
	// while as long as it is bad, and then with mended in the answer.
	host, path string
	while      int
	mended     string
}

// TestRefusedByEnvoy has Envoy refuse what Sluice takes: routes, a cluster, a Wasm module, a listener. Beside them
// the others are served, by new Envoys, too, and by new control planes with another leader; they take edits soon. At
// no time does a status of what is refused say anything but Envoy's own words, and what is mended is live soon.
func TestRefusedByEnvoy(t *testing.T) {
	w := begin(t)
	const envoys = 2
	address := w.quickstartWith(replicas(envoys)+strict, envoys)
	w.apply(backend(w.ns, "two", 1))
	w.eventually("a pod of the other backend", func() error {
		pods, err := w.pods(w.ns, "app=two")
		if err == nil && (len(pods) == 0 || !isReady(pods[0])) {
			err = errors.New("it is not ready")
		}
		return err
	})
	flaws := w.flaws(w.serveModule())
	traffic := w.load(address, "one.example", "one")
	for _, f := range flaws {
		if f.edit {
			w.apply(f.good)
			w.eventually(f.name+" to be served", func() error { return w.atEach(f.heals(w)) })
		}
		w.apply(f.bad)
		w.says(f.object, f.condition, f.words)
	}
	end := w.keepsSaying(flaws)
	stage := 0
	check := func(what string) {
		t.Helper()
		t.Log(what)
		stage++
		w.besideFlaws(flaws, stage)
	}
	check("bad objects are there")
	w.replaced(envoys, func() {
		w.kubectl("-n", w.ns, "delete", "pods", "-l", gatewayLabel+"=gateway", "--wait=false")
	})
	check("all Envoys are new")
	w.newReplica(false)
	check("a replica is new")
	w.newReplica(true)
	check("another replica leads, and all are new")
	end()
	for _, f := range flaws {
		w.apply(f.good)
		began := time.Now()
		w.within(soon, f.name+" to be served", func() error { return w.atEach(f.heals(w)) })
		w.t.Logf("%s: served after %v", f.name, time.Since(began).Round(time.Millisecond))
		w.eventually("the status of "+f.name, func() error {
			if w.saysNow(f.object, f.condition, f.words) == nil {
				return errors.New("it still says that Envoy refuses it")
			}
			return nil
		})
	}
	traffic.none()
}

// flaws are what is refused, with a Wasm module at a URL.
func (w *world) flaws(module string) []flaw {
	routes := func(name string) string { return routePath(w.ns, name) }
	rule := func(match string) string {
		return "rules: [{matches: [{path: " + match + "}], backendRefs: [{name: two, port: 80}]}]"
	}
	const words = "regex '/[a-z]{200}' RE2 program size"
	refusedPath := rule(`{type: RegularExpression, value: "/[a-z]{200}"}`)
	return []flaw{
		{
			name: "edited", edit: true, object: routes("edited"), condition: "Programmed=False", words: words,
			bad: w.routeOf("edited", "edited.example", refusedPath), path: "/b", while: http.StatusOK, mended: from("two"),
			good: w.routeOf("edited", "edited.example", rule(`{type: RegularExpression, value: "/[a-z]+"}`)),
		}, {
			// It shares a virtual host with a good one, which goes on.
			name: "beside", object: routes("beside"), condition: "Programmed=False", words: words,
			bad:  w.routeOf("beside", "one.example", refusedPath),
			good: w.routeOf("beside", "one.example", rule(`{type: RegularExpression, value: "/besi[a-z]+"}`)),
			host: "one.example", path: "/beside", while: http.StatusOK, mended: from("two"),
		}, {
			name: "cluster", edit: true, object: policyPath(w.ns, "backendtrafficpolicies", "cluster"),
			condition: "Accepted=False", words: "must support HTTP/2 for gRPC healthchecking",
			bad: w.checkedBy("{type: GRPC}"), good: w.checkedBy("{type: HTTP, http: {path: /}}"),
			path: "/", while: http.StatusOK, mended: from("two"),
		}, {
			name: "module", object: routes("module"), condition: "Programmed=False", words: "Unable to create Wasm plugin",
			bad: w.runs("module", "two", module, ""), good: w.runs("module", "two", module, "config: it-runs"),
			path: "/", while: http.StatusNotFound, mended: "it-runs",
		}, {
			name: "listener", object: gatewayPath(w.ns, "listener"), condition: "Programmed=False",
			words: "unable to open file '/no/such/dir/log'", bad: w.logsTo("/no/such/dir/log"), good: w.logsTo("/dev/null"),
		},
	}
}

// routeOf is an HTTPRoute of a host with rules in YAML's flow style.
func (w *world) routeOf(name, host, rules string) string {
	return fmt.Sprintf(`
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s, namespace: %s}
spec:
  parentRefs: [{name: gateway}]
  hostnames: [%s]
  %s
`, name, w.ns, host, rules)
}

// checkedBy is a route whose backend is checked in some way.
func (w *world) checkedBy(active string) string {
	return route(w.ns, "cluster", "cluster.example", "two") + fmt.Sprintf(`
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: cluster, namespace: %s}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: cluster}]
  healthCheck: {active: %s}
`, w.ns, active)
}

// runs is a route of a host of its own to a backend, with a Wasm module from a URL.
func (w *world) runs(name, backend, url, more string) string {
	return route(w.ns, name, name+".example", backend) + fmt.Sprintf(`
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: %[1]s}]
  wasm: [{code: {type: HTTP, http: {url: %[3]q}}, %[4]s}]
`, name, w.ns, url, more)
}

// logsTo is a Gateway with an Envoy of its own whose access log is a file.
func (w *world) logsTo(file string) string {
	own := listeners(w.ns, "listener", "{name: http, protocol: HTTP, port: 80}")
	return strings.Replace(own, "name: proxy", "name: listener", 1) + fmt.Sprintf(`
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: listener, namespace: %s}
spec:
  concurrency: 1
  telemetry: {accessLog: {settings: [{format: {type: Text, text: x}, sinks: [{type: File, file: {path: %s}}]}]}}
`, w.ns, file)
}

// serveModule serves a Wasm module to the pods until the end of the test, and returns its URL.
func (w *world) serveModule() string {
	w.t.Helper()
	l, err := w.Listen(w.t.Context(), "tcp", cluster.ControlIP+":0")
	if err != nil {
		w.t.Fatal(err)
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
			_, _ = out.Write(wasm.Module()) // the client notices
		}),
		ReadHeaderTimeout: patience,
	}
	go func() { _ = server.Serve(l) }() // it ends with Close
	w.t.Cleanup(func() { _ = server.Close() })
	return "http://" + l.Addr().String() + "/module.wasm"
}

// besideFlaws says that a good route is served by each Envoy and another one is live soon, and that each flaw is
// answered and reported as it should be.
func (w *world) besideFlaws(flaws []flaw, stage int) {
	w.t.Helper()
	w.post(routePath(w.ns, ""), routeTo(w.ns, stage, "two"))
	w.within(soon, "a good route", func() error {
		return w.atEach(func(address string) error { return w.answered(address, hostOf(stage), "two") })
	})
	err := w.atEach(func(address string) error { return w.answered(address, "one.example", "one") })
	if err != nil {
		w.t.Error(err)
	}
	for _, f := range flaws {
		w.says(f.object, f.condition, f.words)
		if f.path == "" {
			continue
		}
		err := w.atEach(func(address string) error { return w.answeredWith(address, f.hostname(), f.path, f.while, "") })
		if err != nil {
			w.t.Errorf("%s, while it is bad: %v", f.name, err)
		}
	}
}

func (f flaw) hostname() string {
	if f.host != "" {
		return f.host
	}
	return f.name + ".example"
}

// heals says what an Envoy lacks of what is mended.
func (f flaw) heals(w *world) func(address string) error {
	return func(address string) error {
		if f.path == "" {
			return nil
		}
		return w.answeredWith(address, f.hostname(), f.path, http.StatusOK, f.mended)
	}
}

// newReplica replaces one replica of the control plane, the leader or another one, and returns when it is ready and one
// of them leads.
func (w *world) newReplica(leader bool) {
	w.t.Helper()
	leads := w.leader()
	for _, p := range w.controlled(controlPlanes) {
		if (p.Name == leads) != leader {
			continue
		}
		w.kubectl("-n", release.Default.Namespace, "delete", "pod", p.Name)
		w.eventually("the replica to be gone", func() error {
			now, err := w.replicas()
			if _, there := pod(now, p.Name); err == nil && there {
				err = errors.New("it is still there")
			}
			return err
		})
	}
	w.controlled(controlPlanes)
	w.eventually("a leader", func() error {
		return w.leads(func(name string) bool { return (name != leads) == leader })
	})
}

// keepsSaying follows the objects of flaws: each state of them has to say what Envoy refuses, until end is called.
func (w *world) keepsSaying(flaws []flaw) (end func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	byCollection := map[string]map[string]flaw{}
	for _, f := range flaws {
		collection, name := path.Split(f.object)
		if byCollection[collection] == nil {
			byCollection[collection] = map[string]flaw{}
		}
		byCollection[collection][name] = f
	}
	var followed sync.WaitGroup
	for collection, own := range byCollection {
		followed.Go(func() {
			err := w.followAll(ctx, strings.TrimSuffix(collection, "/"), func(object json.RawMessage) error {
				var o conditioned
				if err := json.Unmarshal(object, &o); err != nil {
					return err
				}
				if f, ok := own[o.Metadata.Name]; ok {
					if err := o.has(f.condition, f.words); err != nil {
						w.t.Errorf("a state of a status: %v", err)
					}
				}
				return nil
			})
			if !errors.Is(err, context.Canceled) {
				w.t.Errorf("the objects of %s were followed only until: %v", collection, err)
			}
		})
	}
	end = func() { cancel(); followed.Wait() }
	w.t.Cleanup(end)
	return end
}

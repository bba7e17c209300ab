package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
)

// buildModule builds the dynamic module of testdata and returns its path. Without a C compiler it skips the test.
func buildModule(t *testing.T) string {
	t.Helper()
	compiler, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("there is no C compiler to build a module with")
	}
	out := filepath.Join(t.TempDir(), "libprobe.so")
	build := exec.Command(compiler, "-shared", "-fPIC", "-o", out, "testdata/module.c")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the module: %v: %s", err, text)
	}
	return out
}

// moduleGateway is a Gateway whose EnvoyProxy registers modules by name and path.
func moduleGateway(modules ...[2]string) string {
	registered := ""
	for _, m := range modules {
		registered += fmt.Sprintf("\n  - {name: %s, source: {local: {path: %s}}, doNotClose: true}", m[0], m[1])
	}
	return `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: sluice
  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: proxy}}
  listeners: [{name: http, protocol: HTTP, port: ${HTTP}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: proxy}
spec:
  dynamicModules:` + registered + "\n"
}

// modulePolicy is an EnvoyExtensionPolicy of a Gateway or a route with dynamic modules.
func modulePolicy(name, kind, target, modules string) string {
	return fmt.Sprintf(`
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: {name: %s}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: %s, name: %s}]
  dynamicModule: %s
`, name, kind, target, modules)
}

// TestDynamicModule runs a module that the operator has registered, on the routes of a Gateway and on one of its own,
// and lets nobody in where one cannot be run.
func TestDynamicModule(t *testing.T) {
	t.Parallel()
	module := buildModule(t)
	known := moduleGateway([2]string{"probe", module}, [2]string{"gone", module + ".gone"})
	in := start(t, files{
		"gateway.yaml": known, "backends.yaml": backendsYAML,
		"routes.yaml": hostRoute("plain", `[{backendRefs: [{${one}}]}]`) + hostRoute("own", `[{backendRefs: [{${two}}]}]`) +
			hostRoute("unknown", `[{backendRefs: [{${three}}]}]`),
		"policies.yaml": modulePolicy("all", "Gateway", "gw", "[{name: probe, filterName: gateway}]") +
			modulePolicy("own", "HTTPRoute", "own",
				"[{name: probe, filterName: first, config: {a: 1}}, {name: probe, filterName: last}]") +
			modulePolicy("unknown", "HTTPRoute", "unknown", "[{name: other}]"),
	})
	in.want(t, request{host: "plain.example"}, expect{backend: "one", received: []string{"x-module: gateway"}})
	in.want(t, request{host: "own.example"}, expect{backend: "two", received: []string{`x-module: first {"a":1}, last`}})
	for _, host := range []string{"plain.example", "own.example"} {
		in.must(t, request{host: host, header: []string{"x-refuse: 1"}}, expect{status: 418, body: "refused by the module"})
	}
	in.must(t, request{host: "unknown.example"}, expect{status: 500})
	in.condition(t, conditionWant{kind: "EnvoyExtensionPolicy", name: "default/unknown",
		condition: "Accepted=False/Invalid", message: `no module "other" is registered for the Gateway`})
	in.condition(t, conditionWant{kind: "EnvoyExtensionPolicy", name: "default/own", condition: "Accepted=True/Accepted"})

	t.Run("not registered any more", func(t *testing.T) {
		in.write("gateway.yaml", moduleGateway([2]string{"gone", module + ".gone"}))
		in.want(t, request{host: "plain.example"}, expect{status: 500})
		in.want(t, request{host: "own.example"}, expect{status: 500})
		in.write("gateway.yaml", known)
		in.want(t, request{host: "own.example"}, expect{backend: "two"})
	})
	for name, modules := range map[string]string{
		"not there": "[{name: gone}]", "a module that does not start": "[{name: probe, filterName: broken}]",
	} {
		t.Run(name, func(t *testing.T) {
			in.write("policies.yaml", modulePolicy("all", "Gateway", "gw", modules))
			in.condition(t, conditionWant{kind: "EnvoyExtensionPolicy", name: "default/all",
				condition: "Accepted=False/Invalid", message: "the version before it stays in force"})
			in.must(t, request{host: "plain.example"}, expect{backend: "one", received: []string{"x-module: gateway"}})
		})
		t.Run(name+", in a new policy", func(t *testing.T) {
			in.write("policies.yaml", modulePolicy("new", "Gateway", "gw", modules))
			in.want(t, request{host: "plain.example"}, expect{status: 500})
			in.condition(t, conditionWant{kind: "EnvoyExtensionPolicy", name: "default/new",
				condition: "Accepted=False/Invalid", message: "are answered with 500"})
			in.write("policies.yaml", modulePolicy("all", "Gateway", "gw", "[{name: probe, filterName: gateway}]"))
			in.want(t, request{host: "plain.example"}, expect{backend: "one", received: []string{"x-module: gateway"}})
		})
	}
}

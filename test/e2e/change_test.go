package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
)

// TestEditsUnderLoad changes a route's backend, weights, filters and rule order five times a second while it is under
// load: no request may be lost.
func TestEditsUnderLoad(t *testing.T) {
	t.Parallel()
	edit := func(rules string) string {
		return `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: edited}
spec:
  parentRefs: [{name: gw}]
  hostnames: [edited.example]
  rules:` + rules
	}
	const header = `{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-a, value: b}]}}`
	versions := []string{
		edit("\n  - backendRefs: [{${one}}]"),
		edit("\n  - backendRefs: [{${two}}]"),
		edit("\n  - backendRefs: [{${one}, weight: 3}, {${three}, weight: 1}]"),
		edit("\n  - backendRefs: [{${one}, weight: 1}, {${three}, weight: 3, filters: [" + header + "]}]"),
		edit("\n  - {filters: [" + header + "], backendRefs: [{${two}}]}"),
		edit("\n  - {matches: [{path: {value: /x}}], backendRefs: [{${one}}]}\n  - backendRefs: [{${three}}]"),
		edit("\n  - backendRefs: [{${three}}]\n  - {matches: [{path: {value: /x}}], backendRefs: [{${two}}]}"),
		edit(" [{filters: [{type: RequestMirror, requestMirror: {backendRef: {${two}}}}], backendRefs: [{${one}}]}]"),
		edit(" [{timeouts: {request: 5s}, retry: {attempts: 1, codes: [503]}, backendRefs: [{${one}}]}]"),
	}
	in := start(t, files{"edited.yaml": versions[0]})
	in.want(t, request{host: "edited.example"}, expect{backend: "one"})
	stop := load.Start(load.Config{
		Address: in.address("HTTP"), Conns: 4, Rate: 1500,
		Requests: []load.Request{
			load.NewRequest("edited.example", "/", nil), load.NewRequest("edited.example", "/x/y", nil),
		},
	})
	for i := range 40 {
		in.write("edited.yaml", versions[(i+1)%len(versions)])
		time.Sleep(200 * time.Millisecond)
	}
	if got := stop(); got.Failed() > 0 || got.Sent < 1000 {
		t.Errorf("%v, want none failed of at least 1000", got)
	}
	in.write("edited.yaml", versions[1])
	in.want(t, request{host: "edited.example"}, expect{backend: "two"})
}

// TestListenersUnderLoad adds, changes and removes other listeners and routes: what is served already must not notice.
func TestListenersUnderLoad(t *testing.T) {
	t.Parallel()
	in := start(t, files{"route.yaml": route("kept", "[kept.example]", [2]string{"kept", `[{path: {value: /}}]`})})
	stop := load.Start(load.Config{
		Address: in.address("HTTP"), Conns: 4, Rate: 1000,
		Requests: []load.Request{load.NewRequest("kept.example", "/", nil)},
	})
	const second = gatewayYAML + `
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: second}
spec:
  gatewayClassName: sluice
  listeners:
  - {name: spare, protocol: HTTP, port: ${SPARE}}
`
	for i := range 8 {
		in.write("gateway.yaml", second)
		in.condition(t, conditionWant{kind: "Gateway", name: "default/second", condition: "Programmed=True/Programmed"})
		in.write("more.yaml", route("more", fmt.Sprintf("[more-%d.example]", i), [2]string{"more", `[{path: {value: /}}]`}))
		in.want(t, request{host: fmt.Sprintf("more-%d.example", i)}, expect{backend: "one"})
		in.write("gateway.yaml", gatewayYAML)
		in.remove("more.yaml")
		in.want(t, request{host: fmt.Sprintf("more-%d.example", i)}, expect{status: 404})
	}
	if got := stop(); got.Failed() > 0 || got.Sent < 500 {
		t.Errorf("%v, want none failed of at least 500", got)
	}
}

// TestSymlinkSwap changes a folder as the kubelet changes a mounted ConfigMap: files are links through ..data, which is
// swapped to a new folder by a rename.
func TestSymlinkSwap(t *testing.T) {
	t.Parallel()
	in := prepare(t, nil)
	mount := filepath.Join(in.config, "mounted")
	publish := func(version, content string) {
		dir := filepath.Join(mount, "..v"+version)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "route.yaml"), []byte(in.expand(content)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("..v"+version, filepath.Join(mount, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(mount, "..data_tmp"), filepath.Join(mount, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	version := func(name string) string {
		return route("mounted", "[mounted.example]", [2]string{name, `[{path: {value: /}}]`})
	}
	publish("1", version("first"))
	if err := os.Symlink(filepath.Join("..data", "route.yaml"), filepath.Join(mount, "route.yaml")); err != nil {
		t.Fatal(err)
	}
	in.run()
	in.waitReady()
	in.want(t, request{host: "mounted.example"}, expect{header: []string{"x-rule: first"}})
	publish("2", version("second"))
	in.want(t, request{host: "mounted.example"}, expect{header: []string{"x-rule: second"}})
	if err := os.RemoveAll(filepath.Join(mount, "..v1")); err != nil {
		t.Fatal(err)
	}
	publish("3", version("third"))
	in.want(t, request{host: "mounted.example"}, expect{header: []string{"x-rule: third"}})
}

// TestFolders reads folders below, notices new ones, and forgets what is in one that goes.
func TestFolders(t *testing.T) {
	t.Parallel()
	in := start(t, files{"a/b/deep.yaml": route("deep", "[deep.example]", [2]string{"deep", `[{path: {value: /}}]`})})
	in.must(t, request{host: "deep.example"}, expect{backend: "one"})
	in.write("new/c/route.yml", route("new", "[new.example]", [2]string{"new", `[{path: {value: /}}]`}))
	in.want(t, request{host: "new.example"}, expect{backend: "one"})
	in.write("notes.txt", "not YAML: {")
	if err := os.Rename(filepath.Join(in.config, "new"), filepath.Join(in.root, "staging", "away")); err != nil {
		t.Fatal(err)
	}
	in.want(t, request{host: "new.example"}, expect{status: 404})
	if err := os.Rename(filepath.Join(in.root, "staging", "away"), filepath.Join(in.config, "back")); err != nil {
		t.Fatal(err)
	}
	in.want(t, request{host: "new.example"}, expect{backend: "one"})
	in.must(t, request{host: "deep.example"}, expect{backend: "one"})
}

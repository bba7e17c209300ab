package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sluice-gateway/sluice/internal/fetch/fetchtest"
	"github.com/sluice-gateway/sluice/test/wasm"
)

// wasmServers are where the modules of TestWasm are.
type wasmServers struct {
	modules, registry string
	sum, digest       string
	// ready has the server find late.wasm.
	ready atomic.Bool
}

func serveModules(t *testing.T) *wasmServers {
	t.Helper()
	module, over := wasm.Module(), make(chan struct{})
	sum := sha256.Sum256(module)
	s := &wasmServers{sum: hex.EncodeToString(sum[:])}
	modules := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/hangs.wasm":
			select {
			case <-r.Context().Done():
			case <-over:
			}
		case r.URL.Path == "/module.wasm", r.URL.Path == "/late.wasm" && s.ready.Load():
			_, _ = w.Write(module) // the client notices
		case r.URL.Path == "/page.wasm":
			_, _ = w.Write([]byte("<html>")) // the client notices
		default:
			http.NotFound(w, r)
		}
	}))
	registry := &fetchtest.Registry{User: "anna", Password: "secret"}
	s.digest = registry.Push("team/filter", "v1", fetchtest.Layer{
		Type: fetchtest.ArchiveType, Data: fetchtest.Archive([2]string{"plugin.wasm", string(module)}),
	})
	images := httptest.NewServer(registry)
	t.Cleanup(func() {
		close(over)
		modules.Close()
		images.Close()
	})
	s.modules, s.registry = modules.URL, strings.TrimPrefix(images.URL, "http://")
	return s
}

// TestWasm runs modules that come by HTTP and from a registry. One that cannot be fetched, is another than it should
// be, or does not start costs its own routes something, and heals.
func TestWasm(t *testing.T) {
	t.Parallel()
	s := serveModules(t)
	byHTTP := func(file, more string) string {
		return fmt.Sprintf("\n  - code: {type: HTTP, http: {url: '%s/%s.wasm'%s}}", s.modules, file, more)
	}
	const config = "\n    config: "
	const closed, open = "", "\n    failOpen: true"
	route := func(name, list string) string { return extendedRoute(name, "  wasm:"+list) }
	image := fmt.Sprintf("\n  - code: {type: Image, image: {url: 'oci://%s/team/filter:v1', sha256: %s, "+
		"pullSecretRef: {name: registry}}}", s.registry, s.digest)
	login := base64.StdEncoding.EncodeToString([]byte("anna:secret"))
	in := start(t, files{
		"secret.yaml": fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: registry}
type: kubernetes.io/dockerconfigjson
stringData: {.dockerconfigjson: '{"auths": {"%s": {"auth": "%s"}}}'}
`, s.registry, login),
		"routes.yaml": hostRoute("plain", "\n  - backendRefs: [{${one}}]") +
			route("http", byHTTP("module", ", sha256: "+s.sum)+config+"first") +
			route("image", image+config+"from the registry") +
			route("two", byHTTP("module", "")+config+"first"+byHTTP("module", "")+config+"{second: 2}") +
			route("other", byHTTP("module", ", sha256: "+s.digest)+config+"first"+closed) +
			route("page", byHTTP("page", "")) +
			route("hangs", byHTTP("hangs", "")+config+"first") +
			route("late", byHTTP("late", "")+config+"at last") +
			route("open", byHTTP("hangs", "")+config+"first"+open+byHTTP("module", "")+config+"second"),
		"broken.yaml": strings.TrimPrefix(route("broken", byHTTP("module", "")), "\n---"),
	})
	ask := func(host string) request { return request{host: host + ".example"} }
	in.want(t, ask("http"), expect{backend: "one", received: []string{`x-wasm: "first"`}})
	in.want(t, ask("image"), expect{backend: "one", received: []string{`x-wasm: "from the registry"`}})
	in.want(t, ask("two"), expect{backend: "one", body: `"X-Wasm":["\"first\"","{\"second\":2}"]`})
	in.want(t, ask("open"), expect{backend: "one", received: []string{`x-wasm: "second"`}})
	runChecks(t, in, map[string]check{
		"plain":            {ask("plain"), expect{backend: "one", received: []string{"x-wasm:"}}},
		"another checksum": {ask("other"), expect{status: 500}},
		"no module":        {ask("page"), expect{status: 500}},
		"hangs":            {ask("hangs"), expect{status: 500}},
		"not there yet":    {ask("late"), expect{status: 500}},
	})
	// Envoy itself refuses what does not start, until the policy is another.
	in.want(t, ask("broken"), expect{status: 404})
	in.condition(t, conditionWant{
		kind: "HTTPRoute", name: "default/broken", condition: "Programmed=False/Invalid",
		message: "Unable to create Wasm plugin",
	})
	policy := func(name, condition, message string) {
		t.Helper()
		in.condition(t, conditionWant{
			kind: "EnvoyExtensionPolicy", name: "default/" + name, condition: condition, message: message,
		})
	}
	policy("http", "Accepted=True/Accepted", "")
	policy("other", "Accepted=False/Invalid", "its SHA-256 is "+s.sum+", not "+s.digest)
	policy("page", "Accepted=False/Invalid", "not a Wasm module")
	policy("hangs", "Accepted=False/Pending", "is being fetched")
	policy("late", "Accepted=False/Invalid", "the server answers 404 Not Found")
	in.write("broken.yaml", strings.TrimPrefix(route("broken", byHTTP("module", "")+config+"now"), "\n---"))
	in.want(t, ask("broken"), expect{backend: "one", received: []string{`x-wasm: "now"`}})
	s.ready.Store(true)
	in.want(t, ask("late"), expect{backend: "one", received: []string{`x-wasm: "at last"`}})
	policy("late", "Accepted=True/Accepted", "")
}

// TestWasmOfGatewayRefused has Envoy refuse the module of a policy of the whole Gateway. Nobody gets by it, nor by the
// authentication that comes with it, but routes with policies of their own do not notice; and it heals.
func TestWasmOfGatewayRefused(t *testing.T) {
	t.Parallel()
	s := serveModules(t)
	module := fmt.Sprintf("  wasm:\n  - code: {type: HTTP, http: {url: '%s/module.wasm'}}\n", s.modules)
	ofGateway := func(kind, spec string) string {
		return `
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ` + kind + `
metadata: {name: gateway}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
` + spec
	}
	in := start(t, files{
		"users.yaml": `
apiVersion: v1
kind: Secret
metadata: {name: users}
stringData: {.htpasswd: "alice:{SHA}piGucRdTwGb7+i3S1svNik60+fw="}
`,
		"policy.yaml":   strings.TrimPrefix(ofGateway("EnvoyExtensionPolicy", module), "\n---"),
		"security.yaml": strings.TrimPrefix(ofGateway("SecurityPolicy", "  basicAuth: {users: {name: users}}"), "\n---"),
		"routes.yaml": hostRoute("plain", "\n  - backendRefs: [{${one}}]") +
			extendedRoute("own", module+"    config: own"),
	})
	alice := basic("alice", "open-sesame")
	ask := func(host string, header ...string) request { return request{host: host + ".example", header: header} }
	// The policies of a route are its own by kind: that of the Gateway still asks for the password.
	in.want(t, ask("own", alice), expect{backend: "one", received: []string{`x-wasm: "own"`}})
	in.must(t, ask("own"), expect{status: 401})
	in.want(t, ask("plain", alice), expect{status: 500})
	in.must(t, ask("plain"), expect{status: 500})
	in.write("policy.yaml", strings.TrimPrefix(ofGateway("EnvoyExtensionPolicy", module+"    config: all"), "\n---"))
	in.want(t, ask("plain", alice), expect{backend: "one", received: []string{`x-wasm: "all"`}})
	in.must(t, ask("plain"), expect{status: 401})
}

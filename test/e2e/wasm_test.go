package e2e

import (
	"bytes"
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
)

// wasmModule assembles a module of the Proxy-Wasm ABI 0.2.1 that adds the header x-wasm to requests, with its
// configuration as the value. Without a configuration it refuses to start.
func wasmModule() []byte {
	const i32, call, global, local = 0x7f, 0x10, 0x23, 0x20
	number := func(n int) []byte { // signed LEB128
		var out []byte
		for {
			b := byte(n & 0x7f)
			if n >>= 7; n == 0 && b&0x40 == 0 {
				return append(out, b)
			}
			out = append(out, b|0x80)
		}
	}
	text := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	size := func(b []byte) []byte { // unsigned LEB128; everything is shorter than 16 KiB
		if n := len(b); n >= 0x80 {
			return append([]byte{byte(n&0x7f | 0x80), byte(n >> 7)}, b...)
		}
		return append([]byte{byte(len(b))}, b...)
	}
	var out bytes.Buffer
	out.WriteString("\x00asm\x01\x00\x00\x00")
	section := func(id byte, items ...[]byte) {
		body := append([]byte{byte(len(items))}, bytes.Join(items, nil)...)
		out.WriteByte(id)
		out.Write(size(body))
	}
	signature := func(results int, params int) []byte {
		return bytes.Join([][]byte{{0x60, byte(params)}, bytes.Repeat([]byte{i32}, params), {byte(results)},
			bytes.Repeat([]byte{i32}, results)}, nil)
	}
	imported := func(name string, typ byte) []byte {
		return bytes.Join([][]byte{text("env"), text(name), {0, typ}}, nil)
	}
	exported := func(name string, kind, index byte) []byte { return append(text(name), kind, index) }
	code := func(instructions ...[]byte) []byte {
		return size(append(append([]byte{0}, bytes.Join(instructions, nil)...), 0x0b))
	}
	push := func(n int) []byte { return append([]byte{0x41}, number(n)...) }
	load := []byte{0x28, 2, 0}
	// The types: of the version, of allocating, of starting, of a request, and of what is imported.
	section(1, signature(0, 0), signature(1, 1), signature(1, 2), signature(1, 3), signature(1, 5))
	section(2, imported("proxy_add_header_map_value", 4), imported("proxy_get_buffer_bytes", 4))
	section(3, []byte{0}, []byte{1}, []byte{2}, []byte{3})
	section(5, []byte{0, 1})
	section(6, bytes.Join([][]byte{{i32, 1}, push(4096), {0x0b}}, nil))
	section(7, exported("memory", 2, 0), exported("proxy_abi_version_0_2_1", 0, 2),
		exported("proxy_on_memory_allocate", 0, 3), exported("proxy_on_configure", 0, 4),
		exported("proxy_on_request_headers", 0, 5))
	section(10,
		code(),
		code([]byte{global, 0, global, 0, local, 0, 0x6a, 0x24, 0}),
		// The configuration (buffer 7) is at the address that is put at 32, its size at 36.
		code(push(7), push(0), []byte{local, 1}, push(32), push(36), []byte{call, 1, 0x1a, local, 1}),
		code(push(0), push(16), push(6), push(32), load, push(36), load, []byte{call, 0, 0x1a}, push(0)),
	)
	section(11, bytes.Join([][]byte{{0}, push(16), {0x0b}, text("x-wasm")}, nil))
	return out.Bytes()
}

// wasmServers are where the modules of TestWasm are.
type wasmServers struct {
	modules, registry string
	sum, digest       string
	// ready has the server find late.wasm.
	ready atomic.Bool
}

func serveModules(t *testing.T) *wasmServers {
	t.Helper()
	module, over := wasmModule(), make(chan struct{})
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

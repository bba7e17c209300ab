package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/sluice-gateway/sluice/test/echo"
)

const examples = "../../examples"

// exampleChecks returns what has to come of requests to the examples. An example that needs more than requests has a
// function in exampleTests.
func exampleChecks() map[string][]check {
	return map[string][]check{
		"quickstart": {
			{request{path: "/two"}, expect{backend: "two"}},
			{request{path: "/old/page"}, expect{status: 301, header: []string{"location: http://any.example:${HTTP}/new/page"}}},
			{request{host: "api.localhost", path: "/v1/items"},
				expect{backend: "one", path: "/items", received: []string{"x-api-version: v1"}}},
			{request{path: "/"}, expect{}},
		},
		"canary": {
			{request{header: []string{"x-canary: always"}}, expect{backend: "two"}},
			{request{}, expect{}},
		},
		"cors": {
			{preflight("https://app.example.com"),
				expect{header: []string{"access-control-allow-origin: https://app.example.com"}}},
			{request{header: []string{"origin: https://example.net"}},
				expect{backend: "one", header: []string{"access-control-allow-origin:"}}},
		},
		"default-gateway": {{request{}, expect{backend: "one"}}},
		"listener-set": {
			{request{host: "shop.example.com"}, expect{backend: "one"}},
			{request{host: "platform.example.com"}, expect{status: 404}},
		},
		"external-auth": {
			{request{}, expect{status: 401}},
			{request{header: []string{"authorization: Bearer let-me-in"}},
				expect{backend: "one", received: []string{"x-auth-user: demo"}}},
		},
		"header": {
			{request{header: []string{"x-secret: 1"}}, expect{
				received: []string{"x-secret:", "x-env: demo", "x-via: sluice"}, header: []string{"x-served-by: one"},
			}},
		},
		"mirror": {
			{request{path: "/all/example"}, expect{backend: "one"}},
			{request{path: "/some/example"}, expect{backend: "one"}},
		},
		"redirect": {
			{request{host: "secure.localhost", path: "/page"},
				expect{status: 301, header: []string{"location: https://secure.localhost:443/page"}}},
			{request{path: "/old/page"}, expect{status: 302, header: []string{"location: http://any.example:${HTTP}/new/page"}}},
		},
		"reference-grant": {{request{}, expect{backend: "one"}}},
		"retry": {
			{request{path: once("/retry/example") + "?succeedAfter=2"}, expect{header: []string{"x-echo-attempt: 3"}}},
		},
		"rewrite": {
			{request{path: "/shop/cart"}, expect{host: "shop.internal", path: "/v2/store/cart"}},
			{request{path: "/health"}, expect{status: 204}},
		},
		"service": {{request{}, expect{backend: "one"}}},
		"timeout": {
			{request{path: "/?delay=100ms"}, expect{}},
			{request{path: "/?delay=2s"}, expect{status: 504}},
		},
		"unix-socket": {{request{}, expect{backend: "socket"}}},
	}
}

var exampleTests = map[string]func(*testing.T, *instance){
	"grpc": func(t *testing.T, in *instance) {
		conn, err := grpc.NewClient("passthrough:"+in.address("HTTP"),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		res, err := testpb.NewTestServiceClient(conn).UnaryCall(t.Context(), &testpb.SimpleRequest{})
		if err != nil || res.GetServerId() != "one" {
			t.Errorf("got %v, %v", res, err)
		}
	},
	"https": func(t *testing.T, in *instance) {
		pem, err := os.ReadFile(filepath.Join(in.config, "ca.pem"))
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		for host, backend := range map[string]string{"one.example.com": "one", "any.example.org": "two"} {
			in.must(t, request{host: host, port: "HTTPS", tls: &tls.Config{ServerName: host, RootCAs: roots}},
				expect{backend: backend})
		}
		in.must(t, request{host: "one.example.com", path: "/a"},
			expect{status: 301, header: []string{"location: https://one.example.com:${HTTPS}/a"}})
	},
	"session-persistence": func(t *testing.T, in *instance) {
		a, err := in.send(t.Context(), request{})
		if err != nil {
			t.Fatal(err)
		}
		cookie := "cookie: " + strings.SplitN(a.header.Get("set-cookie"), ";", 2)[0]
		for range 6 {
			in.must(t, request{header: []string{cookie}}, expect{backend: a.echo.Name})
		}
	},
	"websocket": func(t *testing.T, in *instance) {
		ws, err := in.dialWebSocket("any.example")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ws.Close() }()
		if err := sayHello(ws, "hello"); err != nil {
			t.Error(err)
		}
	},
}

// TestExamples serves every folder of examples/, with its ports replaced by free ones, and validates it.
func TestExamples(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	s, err := echo.ListenUnix("socket", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	entries, err := os.ReadDir(examples)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		if e.IsDir() {
			found = append(found, e.Name())
		}
	}
	known := slices.AppendSeq(slices.Collect(maps.Keys(exampleChecks())), maps.Keys(exampleTests))
	for _, name := range known {
		if !slices.Contains(found, name) {
			t.Errorf("there is no example %s", name)
		}
	}
	for _, name := range found {
		t.Run(name, func(t *testing.T) {
			if !slices.Contains(known, name) {
				t.Fatal("the example has no test")
			}
			runExample(t, name, socket)
		})
	}
}

func runExample(t *testing.T, name, socket string) {
	t.Helper()
	f, originals := readExample(t, name, socket)
	in := start(t, f)
	for _, c := range exampleChecks()[name] {
		in.must(t, c.request, c.expect)
	}
	if test, ok := exampleTests[name]; ok {
		test(t, in)
	}
	if stdout, stderr, code := sluice(t, "validate", originals); code != 0 {
		t.Errorf("sluice validate: exit status %d\n%s%s", code, stdout, stderr)
	}
}

// readExample returns the files of an example with variables for its ports, and the folder of the files as they are.
func readExample(t *testing.T, name, socket string) (files, string) {
	t.Helper()
	dir := filepath.Join(examples, name)
	if certificates := filepath.Join(dir, "certificates"); isFile(certificates) {
		scratch := t.TempDir()
		if err := os.CopyFS(scratch, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), certificates, scratch).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", certificates, err, out)
		}
		dir = scratch
	}
	variables := strings.NewReplacer("port: 8080", "port: ${HTTP}", "port: 8443", "port: ${HTTPS}", "9101", "${PORT_one}",
		"9102", "${PORT_two}", "/tmp/sluice-example.sock", socket)
	f := files{"gateway.yaml": "# The example has its own Gateway.\n"}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext != ".yaml" && ext != ".pem" {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		f[e.Name()] = variables.Replace(string(content))
	}
	return f, dir
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// TestClassOfEnvoyGateway serves what a user of Envoy Gateway has on one machine, as it is: a class of its controller,
// and a backend at the address that a server listens on.
func TestClassOfEnvoyGateway(t *testing.T) {
	t.Parallel()
	in := start(t, files{"gateway.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: eg}
spec:
  gatewayClassName: eg
  listeners: [{name: http, protocol: HTTP, port: ${HTTP}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: backend}
spec:
  parentRefs: [{name: eg}]
  hostnames: [www.example.com]
  rules:
  - backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: everywhere}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: everywhere}
spec:
  endpoints: [{ip: {address: 0.0.0.0, port: ${PORT_one}}}]
`})
	in.must(t, request{host: "www.example.com"}, expect{backend: "one"})
	in.condition(t, conditionWant{kind: "HTTPRoute", name: "default/backend", condition: "Accepted=True/Accepted"})
}

package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/test/echo"
)

// ownAddress returns an address of this machine that others could reach it by.
func ownAddress(t *testing.T) string {
	t.Helper()
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no address but loopback ones")
	return ""
}

// serveAt serves on a port of an address, securely if there is a certificate, and returns host:port.
func serveAt(t *testing.T, name, address string, cert *tls.Certificate) string {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	at := listener.Addr().String()
	if cert != nil {
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{*cert}})
	}
	s := echo.Serve(name, listener)
	t.Cleanup(func() { _ = s.Close() })
	return at
}

// resolver is a Backend that is a dynamic resolver.
func resolver(name, spec string) string {
	return fmt.Sprintf("\n---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {name: %s}\n"+
		"spec: {type: DynamicResolver%s}\n", name, spec)
}

// prefixRoute is a route for paths to a Backend, of the same name.
func prefixRoute(path, backend string) string {
	return fmt.Sprintf("\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: %[2]s}\n"+
		"spec: {parentRefs: [{name: gw}], rules: [{matches: [{path: {value: %[1]s}}], backendRefs: [{%[3]s%[2]s}]}]}\n",
		path, backend, backendGroup)
}

// TestDynamicResolver sends requests to the hosts that they are for, over TLS too, but not to those of the machine
// itself.
func TestDynamicResolver(t *testing.T) {
	t.Parallel()
	own, ca := ownAddress(t), newAuthority(t)
	far := serveAt(t, "far", own, nil)
	secure := serveAt(t, "secure", own, ca.certificate(t, own))
	wrong := serveAt(t, "wrong", own, ca.certificate(t, "other.example"))
	in := start(t, files{
		"backends2.yaml": resolver("any", "") + bundle("ca", ca) +
			resolver("secure", `, tls: {caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]}`) +
			resolver("insecure", `, tls: {insecureSkipVerify: true}`),
		"routes.yaml": prefixRoute("/", "any") + prefixRoute("/secure", "secure") + prefixRoute("/insecure", "insecure") +
			routeFilter("by-header", `{urlRewrite: {hostname: {type: Header, header: x-real}}}`) + `
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: by-header}
spec:
  parentRefs: [{name: gw}]
  rules:
  - matches: [{path: {value: /by-header}}]
    filters:
    - {type: ExtensionRef, extensionRef: {group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: by-header}}
    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: any}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: any}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: by-header}]
  dns: {lookupFamily: IPv4, dnsRefreshRate: 5s}
  loadBalancer: {type: Random}
  healthCheck: {active: {type: TCP, tcp: {}}}
`,
	})
	in.want(t, request{host: far}, expect{backend: "far", host: far})
	in.must(t, request{host: far, path: "/by-header", header: []string{"x-real: " + far}}, expect{backend: "far"})
	in.must(t, request{host: secure, path: "/secure"}, expect{backend: "secure"})
	in.must(t, request{host: wrong, path: "/secure"}, expect{status: 503})
	in.must(t, request{host: wrong, path: "/insecure"}, expect{backend: "wrong"})
	in.must(t, request{host: "nobody.invalid"}, expect{status: 503})
}

// TestA11DynamicResolver: no client gets to the machine itself by a dynamic resolver, whatever it calls it.
func TestA11DynamicResolver(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"backends2.yaml": resolver("any", ""),
		"routes.yaml":    prefixRoute("/", "any"),
	})
	port := in.vars["PORT_one"]
	in.must(t, request{host: "127.0.0.1:" + port}, expect{status: 503})
	for _, name := range []string{
		"localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.1", "127.9.9.9", "2130706433", "0x7f000001", "0177.0.0.1",
		"0.0.0.0", "0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]",
		"169.254.169.254", "[fe80::1]", "[fd00:ec2::254]",
	} {
		if status, body := in.raw(t, "GET / HTTP/1.1", "Host: "+name+":"+port, "Connection: close"); status == 200 {
			t.Errorf("%s is answered: %s", name, body)
		}
	}
}

// TestDynamicServerName passes TLS on to the server that clients ask for. Its port is 443, so this takes the right to
// listen there.
func TestDynamicServerName(t *testing.T) {
	t.Parallel()
	own := ownAddress(t)
	_, suffix, _ := strings.Cut(own, ".")
	hosts := `"*.` + suffix + `", "*.0.0.1"`
	in := start(t, files{
		"gateway.yaml": gatewayWith + `
  - {name: pass, protocol: TLS, port: ${HTTPS}, tls: {mode: Passthrough}}
  - {name: end, protocol: TLS, port: ${SPARE}, tls: {mode: Terminate, certificateRefs: [{name: end}]}}
`,
		"backends.yaml": resolver("any", ""),
		"secret.yaml":   newAuthority(t).secret(t, "end", "ecdsa", "end.example"),
		"routes.yaml": streamYAML("TLSRoute", "any", "{name: gw, sectionName: pass}", hosts, backend("any", 1)) +
			streamYAML("TLSRoute", "read", "{name: gw, sectionName: end}", hosts, backend("any", 1)),
	})
	in.condition(t, conditionWant{
		kind: "TLSRoute", name: "default/read", condition: "Accepted=False/UnsupportedValue", message: "Passthrough",
	})
	// Go asks for no address as a server name, so one takes the place of a name that is as long.
	name := strings.Repeat("a", len(own)-2) + ".b"
	hello := bytes.Replace(clientHelloFor(t, name), []byte(name), []byte(own), 1)
	loopback := bytes.Replace(clientHelloFor(t, "127.a.a.b"), []byte("127.a.a.b"), []byte("127.0.0.1"), 1)
	if got := in.exchangeRaw(t, "HTTPS", loopback); got != "" {
		t.Errorf("the machine itself answers %q", got)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(own, "443"))
	if err != nil {
		t.Skipf("what is passed on cannot be seen: %v", err)
	}
	defer func() { _ = listener.Close() }()
	conn, err := net.Dial("tcp", in.address("HTTPS"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write(hello); err != nil {
		t.Fatal(err)
	}
	if err := listener.(*net.TCPListener).SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	passed, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = passed.Close() }()
	got := make([]byte, len(hello))
	if _, err := io.ReadFull(passed, got); err != nil || !bytes.Equal(got, hello) {
		t.Errorf("the server gets %q (%v), want the client's own hello", got, err)
	}
}

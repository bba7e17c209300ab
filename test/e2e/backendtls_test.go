package e2e

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/sluice-gateway/sluice/test/bench/load"
	"github.com/sluice-gateway/sluice/test/echo"
)

// secureBackend is an echo server that speaks TLS and, if it is told to, cleartext on the same port.
type secureBackend struct {
	net.Listener
	config *tls.Config
	mixed  bool

	// requests counts those that arrived; closing has each answer end its connection.
	requests atomic.Int64
	closing  atomic.Bool

	mu sync.Mutex
	// handshakes are the connections whose clients asked for TLS, plain counts those in cleartext.
	handshakes []tls.ConnectionState
	plain      int
}

// serveSecurely starts an echo server that shows a certificate and, if it knows clients, asks them for theirs.
func serveSecurely(t *testing.T, name string, cert tls.Certificate, clients *x509.CertPool) *secureBackend {
	t.Helper()
	b := listenSecurely(t, cert, clients)
	s := echo.Serve(name, b)
	t.Cleanup(func() { _ = s.Close() })
	return b
}

// serveMixed starts a server that answers with its name and takes both TLS and cleartext.
func serveMixed(t *testing.T, name string, cert tls.Certificate) *secureBackend {
	t.Helper()
	b := listenSecurely(t, cert, nil)
	b.mixed = true
	s := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b.requests.Add(1)
		if b.closing.Load() {
			w.Header().Set("Connection", "close")
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, "{\"name\": %q}", name)
	})}
	go func() { _ = s.Serve(b) }()
	t.Cleanup(func() { _ = s.Close() })
	return b
}

func listenSecurely(t *testing.T, cert tls.Certificate, clients *x509.CertPool) *secureBackend {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &secureBackend{Listener: l}
	b.config = &tls.Config{
		Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}, ClientCAs: clients,
		VerifyConnection: func(state tls.ConnectionState) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.handshakes = append(b.handshakes, state)
			return nil
		},
	}
	if clients != nil {
		b.config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return b
}

// show replaces the certificate that the backend shows.
func (b *secureBackend) show(cert tls.Certificate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.config = b.config.Clone()
	b.config.Certificates = []tls.Certificate{cert}
}

// Accept looks at the first byte of a connection: 22 begins a TLS handshake.
func (b *secureBackend) Accept() (net.Conn, error) {
	conn, err := b.Listener.Accept()
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.mixed {
		return tls.Server(conn, b.config), nil
	}
	return &sniffed{Conn: conn, backend: b, config: b.config}, nil
}

// sniffed is a connection of which it is not known yet whether it is one of TLS.
type sniffed struct {
	net.Conn
	backend *secureBackend
	config  *tls.Config
	once    sync.Once
	chosen  net.Conn
}

// choose waits for the first byte.
func (s *sniffed) choose() net.Conn {
	s.once.Do(func() {
		r := bufio.NewReader(s.Conn)
		first, err := r.Peek(1)
		buffered := &bufferedConn{Conn: s.Conn, r: r}
		s.chosen = buffered
		if err != nil {
			return
		}
		if first[0] == 22 {
			s.chosen = tls.Server(buffered, s.config)
			return
		}
		s.backend.mu.Lock()
		defer s.backend.mu.Unlock()
		s.backend.plain++
	})
	return s.chosen
}

func (s *sniffed) Read(p []byte) (int, error)  { return s.choose().Read(p) }
func (s *sniffed) Write(p []byte) (int, error) { return s.choose().Write(p) }

type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// counts returns how many connections there were so far.
func (b *secureBackend) counts() (secure, plain int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.handshakes), b.plain
}

// last returns the last handshake that succeeded.
func (b *secureBackend) last() tls.ConnectionState {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.handshakes) == 0 {
		return tls.ConnectionState{}
	}
	return b.handshakes[len(b.handshakes)-1]
}

// object is a Backend of Envoy Gateway for the backend.
func (b *secureBackend) object(name string) string {
	return fmt.Sprintf("\n---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {name: %s}\n"+
		"spec: {endpoints: [{ip: {address: 127.0.0.1, port: %d}}]}\n", name, b.Addr().(*net.TCPAddr).Port)
}

// service is a Service with one port for the backend.
func (b *secureBackend) service(name, appProtocol string) string {
	return fmt.Sprintf(`
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {ports: [{name: secure, port: 443, appProtocol: %[3]q}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: secure, port: %[2]d}]
endpoints: [{addresses: [127.0.0.1]}]
`, name, b.Addr().(*net.TCPAddr).Port, appProtocol)
}

// securedBy is a BackendTLSPolicy of a Backend, or of the port of a Service.
func securedBy(name, target, validation string) string {
	return fmt.Sprintf("\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: %s}\n"+
		"spec: {targetRefs: [{%s}], validation: {%s}}\n", name, target, validation)
}

const backendGroup = "group: gateway.envoyproxy.io, kind: Backend, name: "

// trusting is a validation of a hostname by the CA certificates in a ConfigMap.
func trusting(configMap, hostname string) string {
	return fmt.Sprintf(`hostname: %s, caCertificateRefs: [{group: "", kind: ConfigMap, name: %s}]`, hostname, configMap)
}

// TestBackendTLS connects to backends with certificates that are right and wrong in every way.
func TestBackendTLS(t *testing.T) {
	t.Parallel()
	ca, foreign := newAuthority(t), newAuthority(t)
	cases := []struct {
		name, validation string
		// hosts are what the backend's certificate is for.
		hosts  []string
		status int
	}{
		{"right", trusting("ca", "right.example"), []string{"right.example"}, 200},
		{"wildcard", trusting("ca", "a.wild.example"), []string{"*.wild.example"}, 200},
		{"several-cas", `hostname: right.example, caCertificateRefs: [{group: "", kind: ConfigMap, name: foreign}, ` +
			`{group: "", kind: ConfigMap, name: ca}]`, []string{"right.example"}, 200},
		{"trust-bundle", `hostname: right.example, ` +
			`caCertificateRefs: [{group: certificates.k8s.io, kind: ClusterTrustBundle, name: bundle}]`,
			[]string{"right.example"}, 200},
		{"uri", trusting("ca", "sni.example") + `, subjectAltNames: [{type: URI, uri: "spiffe://mesh/one"}]`,
			[]string{"spiffe://mesh/one"}, 200},
		{"one-of-names", trusting("ca", "sni.example") + `, subjectAltNames: [{type: URI, uri: "spiffe://mesh/two"}, ` +
			`{type: Hostname, hostname: right.example}]`, []string{"right.example"}, 200},
		{"wildcard-name", trusting("ca", "sni.example") +
			`, subjectAltNames: [{type: Hostname, hostname: "*.right.example"}]`, []string{"a.right.example"}, 200},
		{"wrong-name", trusting("ca", "right.example"), []string{"wrong.example"}, 503},
		{"hostname-beside-names", trusting("ca", "right.example") +
			`, subjectAltNames: [{type: Hostname, hostname: other.example}]`, []string{"right.example"}, 503},
		{"wrong-uri", trusting("ca", "right.example") + `, subjectAltNames: [{type: URI, uri: "spiffe://mesh/one"}]`,
			[]string{"right.example", "spiffe://mesh/on", "spiffe://mesh/one/two"}, 503},
		{"wrong-ca", trusting("foreign", "right.example"), []string{"right.example"}, 503},
		{"system-ca", `hostname: right.example, wellKnownCACertificates: System`, []string{"right.example"}, 503},
		{"missing-ca", trusting("nowhere", "right.example"), []string{"right.example"}, 500},
		{"malformed-ca", trusting("malformed", "right.example"), []string{"right.example"}, 500},
	}
	f := files{"ca.yaml": bundle("ca", ca) + bundle("foreign", foreign) +
		"\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: malformed}\ndata: {ca.crt: nonsense}\n" +
		"\n---\napiVersion: certificates.k8s.io/v1beta1\nkind: ClusterTrustBundle\nmetadata: {name: bundle}\n" +
		fmt.Sprintf("spec: {trustBundle: %q}\n", bundleText(ca))}
	backends := map[string]*secureBackend{}
	for _, tc := range cases {
		b := serveMixed(t, tc.name, *ca.certificate(t, tc.hosts...))
		backends[tc.name] = b
		f[tc.name+".yaml"] = b.object(tc.name) + securedBy(tc.name, backendGroup+tc.name, tc.validation) +
			fmt.Sprintf("\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: %[1]s}\n"+
				"spec: {parentRefs: [{name: gw}], hostnames: [%[1]s.test], rules: [{backendRefs: [{%[2]s%[1]s}]}]}\n",
				tc.name, backendGroup)
	}
	in := start(t, f)
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			want := expect{status: tc.status}
			if tc.status == 200 {
				want.backend = tc.name
			}
			in.want(t, request{host: tc.name + ".test"}, want)
			_, plain := backends[tc.name].counts()
			if got := backends[tc.name].requests.Load(); plain > 0 || got > 0 != (tc.status == 200) {
				t.Errorf("the backend got %d requests, and %d connections in cleartext", got, plain)
			}
			_, validation, _ := strings.Cut(tc.validation, "hostname: ")
			if sni, _, _ := strings.Cut(validation, ","); tc.status == 200 && backends[tc.name].last().ServerName != sni {
				t.Errorf("the backend was asked for %q, want %q", backends[tc.name].last().ServerName, sni)
			}
		})
	}
	in.condition(t, conditionWant{kind: "BackendTLSPolicy", name: "default/right", condition: "Accepted=True/Accepted"})
	in.condition(t, conditionWant{kind: "BackendTLSPolicy", name: "default/missing-ca",
		condition: "Accepted=False/NoValidCACertificate"})
	in.condition(t, conditionWant{kind: "BackendTLSPolicy", name: "default/missing-ca",
		condition: "ResolvedRefs=False/InvalidCACertificateRef", message: "nowhere does not exist"})
}

// TestBackendTLSProtocols speaks gRPC and WebSocket over TLS, to a Service whose appProtocol says that it is secure.
func TestBackendTLSProtocols(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	b := serveSecurely(t, "secure", *ca.certificate(t, "secure.example"), nil)
	target := `group: "", kind: Service, sectionName: secure, name: `
	in := start(t, files{
		"ca.yaml": bundle("ca", ca), "backends.yaml": backendsYAML, "gateway.yaml": gatewayYAML,
		"secure.yaml": b.service("https", "https") + securedBy("https", target+"https", trusting("ca", "secure.example")) +
			b.service("wss", "kubernetes.io/wss") + securedBy("wss", target+"wss", trusting("ca", "secure.example")) +
			b.service("none", "https"),
		"routes.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: grpc}
spec: {parentRefs: [{name: gw}], hostnames: [grpc.example], rules: [{backendRefs: [{name: https, port: 443}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: wss}
spec: {parentRefs: [{name: gw}], hostnames: [wss.example], rules: [{backendRefs: [{name: wss, port: 443}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: none}
spec: {parentRefs: [{name: gw}], hostnames: [none.example], rules: [{backendRefs: [{name: none, port: 443}]}]}
`,
	})
	in.want(t, request{host: "wss.example"}, expect{backend: "secure", proto: "HTTP/1.1"})
	if got := b.last().NegotiatedProtocol; got != "http/1.1" {
		t.Errorf("HTTP was offered as %q, want http/1.1", got)
	}
	conn, err := grpc.NewClient("passthrough:"+in.address("HTTP"), grpc.WithAuthority("grpc.example"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := testpb.NewTestServiceClient(conn).UnaryCall(t.Context(), &testpb.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	if got := b.last().NegotiatedProtocol; got != "h2" {
		t.Errorf("gRPC was offered as %q, want h2", got)
	}
	ws, err := in.dialWebSocket("wss.example")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.Close() }()
	if err := sayHello(ws, "hello"); err != nil {
		t.Error(err)
	}
	in.must(t, request{host: "none.example"}, expect{status: 500})
	in.condition(t, conditionWant{kind: "HTTPRoute", name: "default/none",
		condition: "ResolvedRefs=False/UnsupportedProtocol", message: "attach a BackendTLSPolicy"})
}

// TestBackendTLSUnderLoad switches TLS to a backend on and off, replaces the CA, the name and the certificate of the
// backend, all under load: no request may be lost, and each of the changes has to take effect.
func TestBackendTLSUnderLoad(t *testing.T) {
	t.Parallel()
	old, renewed := newAuthority(t), newAuthority(t)
	b := serveMixed(t, "one", *old.certificate(t, "a.example", "b.example"))
	in := start(t, files{
		"gateway.yaml": gatewayYAML, "backends.yaml": b.object("one"), "ca.yaml": bundle("ca", old),
		"route.yaml": route("r", "[r.example]", [2]string{"r", `[{path: {value: /}}]`}),
	})
	in.want(t, request{host: "r.example"}, expect{backend: "one"})
	stop := load.Start(load.Config{
		Address: in.address("HTTP"), Conns: 4, Rate: 300,
		Requests: []load.Request{load.NewRequest("r.example", "/", nil)},
	})
	// reached waits until connections of the kind are made.
	reached := func(what string, is func(secure, plain int) bool) {
		t.Helper()
		eventually(t, func() error {
			if !is(b.counts()) {
				return fmt.Errorf("no connection %s", what)
			}
			return nil
		})
	}
	for _, hostname := range []string{"a.example", "b.example", "a.example"} {
		secure, _ := b.counts()
		in.write("policy.yaml", securedBy("p", backendGroup+"one", trusting("ca", hostname)))
		reached("for "+hostname, func(s, _ int) bool { return s > secure && b.last().ServerName == hostname })
		_, plain := b.counts()
		in.remove("policy.yaml")
		reached("in cleartext", func(_, p int) bool { return p > plain })
	}
	secure, _ := b.counts()
	in.write("policy.yaml", securedBy("p", backendGroup+"one", trusting("ca", "a.example")))
	reached("by TLS", func(s, _ int) bool { return s > secure })
	// From here on each request has a connection of its own, so that each is verified.
	b.closing.Store(true)
	in.rewrite(t, "ca.yaml", bundle("ca", old, renewed), "ConfigMap/default/ca")
	b.show(*renewed.certificate(t, "a.example"))
	in.rewrite(t, "ca.yaml", bundle("ca", renewed), "ConfigMap/default/ca")
	before := b.requests.Load()
	eventually(t, func() error {
		if got := b.requests.Load() - before; got < 50 {
			return fmt.Errorf("%d requests with the new certificate", got)
		}
		return nil
	})
	if got := stop(); got.Failed() > 0 || got.Sent < 100 {
		t.Errorf("%v, want none failed of at least 100", got)
	}
	in.write("ca.yaml", bundle("ca", old))
	in.want(t, request{host: "r.example"}, expect{status: 503})
}

// rewrite writes a file and waits until the change of an object in it is live.
func (in *instance) rewrite(t *testing.T, name, content, object string) {
	t.Helper()
	said := "live     " + object + " in"
	before := strings.Count(in.process.output.String(), said)
	in.write(name, content)
	eventually(t, func() error {
		if out := in.process.output.String(); strings.Count(out, said) == before {
			return fmt.Errorf("%q is not said again:\n%s", said, tail(out, 20))
		}
		return nil
	})
}

// TestClientCertificateToBackend has two Gateways show certificates of their own to a backend that asks for one.
func TestClientCertificateToBackend(t *testing.T) {
	t.Parallel()
	ca, clients, foreign := newAuthority(t), newAuthority(t), newAuthority(t)
	b := serveSecurely(t, "one", *ca.certificate(t, "one.example"), clients.pool)
	gateway := func(name, port, hostname, tls string) string {
		return fmt.Sprintf("\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: %s}\n"+
			"spec:\n  gatewayClassName: sluice\n  listeners: [{name: http, protocol: HTTP, port: ${%s}, hostname: %s}]\n"+
			"  tls: {%s}\n", name, port, hostname, tls)
	}
	shows := func(secret string) string { return "backend: {clientCertificateRef: {name: " + secret + "}}" }
	in := start(t, files{
		// Two Gateways share a port, and with it the route table: which certificate is shown depends on the host.
		"gateway.yaml": gateway("first", "HTTP", "first.example", shows("first")) +
			gateway("second", "HTTP", "second.example", shows("second")) +
			gateway("none", "HTTP", "none.example", "") +
			gateway("missing", "HTTP", "missing.example", shows("missing")) +
			gateway("untrusted", "SPARE", "untrusted.example", shows("untrusted")),
		"backends.yaml": b.object("one") + bundle("ca", ca) +
			securedBy("p", backendGroup+"one", trusting("ca", "one.example")),
		"secrets.yaml": clients.secret(t, "first", "ecdsa") + clients.secret(t, "second", "rsa") +
			foreign.secret(t, "untrusted", "ecdsa"),
		"route.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: first}, {name: second}, {name: none}, {name: missing}, {name: untrusted}]
  rules: [{backendRefs: [{${one}}]}]
`,
	})
	shown := func(host, want string) {
		t.Helper()
		in.want(t, request{host: host}, expect{backend: "one"})
		if peers := b.last().PeerCertificates; len(peers) != 1 || peers[0].Subject.CommonName != want {
			t.Errorf("%s: the backend was shown %v, want %s", host, peers, want)
		}
	}
	shown("first.example", "first")
	shown("second.example", "second")
	in.must(t, request{host: "none.example"}, expect{status: 503})
	in.must(t, request{host: "untrusted.example", port: "SPARE"}, expect{status: 503})
	in.must(t, request{host: "missing.example"}, expect{status: 500})
	in.condition(t, conditionWant{kind: "Gateway", name: "default/missing",
		condition: "ResolvedRefs=False/InvalidClientCertificateRef"})
	in.condition(t, conditionWant{kind: "Gateway", name: "default/missing", condition: "Programmed=True/Programmed"})
	// The Secret comes: only now is it shown.
	in.write("missing.yaml", clients.secret(t, "missing", "ecdsa"))
	shown("missing.example", "missing")
}

// TestBackendTLSOfStreams connects to one secure backend in every way that connections can: the client's own TLS goes
// through untouched, what the gateway decrypted is encrypted again, and TCP is encrypted.
func TestBackendTLSOfStreams(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	in := start(t, files{
		"gateway.yaml": gatewayWith + `
  - {name: pass, protocol: TLS, port: ${HTTPS}, hostname: pass.example, tls: {mode: Passthrough}}
  - {name: end, protocol: TLS, port: ${HTTPS}, hostname: end.example,
     tls: {mode: Terminate, certificateRefs: [{name: end}]}}
  - {name: tcp, protocol: TCP, port: ${SPARE}}
`,
		"backends.yaml": greeterYAML(map[string]int{
			"greeter": greet(t, "greeter", theirs.certificate(t, "pass.example", "backend.example")),
		}) + securedBy("p", backendGroup+"greeter", trusting("ca", "backend.example")),
		"ca.yaml": bundle("ca", theirs),
		"routes.yaml": ours.secret(t, "end", "ecdsa", "end.example") +
			streamYAML("TLSRoute", "tls", "{name: gw}", "pass.example, end.example", backend("greeter", 1)) +
			streamYAML("TCPRoute", "tcp", "{name: gw}", "", backend("greeter", 1)),
	})
	in.wantAnswer(t, "HTTPS", sni("pass.example", theirs), "greeter")
	in.wantAnswer(t, "HTTPS", sni("end.example", ours), "greeter")
	in.wantAnswer(t, "SPARE", nil, "greeter")
	// Without its CA the policy cannot be applied. That is of no matter to the client's own TLS.
	in.remove("ca.yaml")
	in.wantAnswer(t, "SPARE", nil, "")
	in.wantAnswer(t, "HTTPS", sni("end.example", ours), "")
	in.wantAnswer(t, "HTTPS", sni("pass.example", theirs), "greeter")
	in.write("ca.yaml", bundle("ca", ours))
	in.condition(t, conditionWant{kind: "BackendTLSPolicy", name: "default/p", condition: "Accepted=True/Accepted"})
	in.wantAnswer(t, "SPARE", nil, "")
	in.write("ca.yaml", bundle("ca", ours, theirs))
	in.wantAnswer(t, "SPARE", nil, "greeter")
	in.wantAnswer(t, "HTTPS", sni("end.example", ours), "greeter")
}

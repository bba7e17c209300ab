package e2e

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"
)

// allowing is a route that only requests from an address may take.
const allowing = everything + `---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: allowed}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: all}]
  authorization:
    defaultAction: Deny
    rules: [{name: one, action: Allow, principal: {clientCIDRs: [192.0.2.7/32]}}]
`

// TestA26ClientAddress: authorization goes by the address that the policy says, and nobody gets in by claiming one.
func TestA26ClientAddress(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"gateway.yaml": portsGateway, "backends.yaml": backendsYAML, "route.yaml": allowing,
		"policies.yaml": clientPolicy("hops", "http", "  clientIPDetection: {xForwardedFor: {numTrustedHops: 2}}\n") +
			clientPolicy("ranges", "https",
				"  clientIPDetection: {xForwardedFor: {trustedCIDRs: [127.0.0.0/8, 10.0.0.0/8]}}\n") +
			clientPolicy("header", "spare", "  clientIPDetection: {customHeader: {name: x-real-ip, failClosed: true}}\n"),
	})
	xff := func(addresses string) []string { return []string{"x-forwarded-for: " + addresses} }
	for _, tt := range []struct {
		name, port string
		header     []string
		status     int
	}{
		{"nothing said", "HTTP", nil, 403},
		{"the second from the right", "HTTP", xff("192.0.2.7, 10.0.0.1"), 200},
		{"before that the client can write what it wants", "HTTP", xff("192.0.2.7, 203.0.113.9, 10.0.0.1"), 403},
		{"fewer entries than proxies", "HTTP", xff("192.0.2.7"), 403},
		{"another header", "HTTP", []string{"x-real-ip: 192.0.2.7", "forwarded: for=192.0.2.7"}, 403},
		{"the connection's own header", "HTTP", append(xff("10.0.0.1, 10.0.0.2"), "connection: x-forwarded-for"), 400},
		{"the first that no proxy has", "HTTPS", xff("192.0.2.7, 10.0.0.1"), 200},
		{"one behind the client's", "HTTPS", xff("192.0.2.7, 203.0.113.9, 10.0.0.1"), 403},
		{"nothing said by a proxy", "HTTPS", nil, 403},
		{"the header", "SPARE", []string{"x-real-ip: 192.0.2.7"}, 200},
		{"another one", "SPARE", xff("192.0.2.7"), 403},
		{"what is no address", "SPARE", []string{"x-real-ip: me"}, 403},
	} {
		t.Run(tt.port+"/"+tt.name, func(t *testing.T) {
			in.must(t, request{port: tt.port, header: tt.header}, expect{status: tt.status})
		})
	}
	// While it cannot be said whose address a request has, nobody gets in by a wrong one.
	in.write("policies.yaml", clientPolicy("hops", "http",
		"  clientIPDetection: {xForwardedFor: {trustedCIDRs: [10.0.0.0/99]}}\n"))
	in.want(t, request{header: xff("192.0.2.7, 10.0.0.1")}, expect{status: 500})
	in.condition(t, conditionWant{kind: "ClientTrafficPolicy", name: "default/hops", condition: "Accepted=False/Invalid"})
}

// TestA32PathNormalization: what becomes of slashes is what the policy says, for routes and for what guards them.
func TestA32PathNormalization(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"gateway.yaml": portsGateway, "backends.yaml": backendsYAML,
		"route.yaml": everything + `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: admin}
spec:
  parentRefs: [{name: gw}]
  rules: [{matches: [{path: {type: PathPrefix, value: /a/admin}}], backendRefs: [{${two}}]}]
`,
		"policies.yaml": clientPolicy("keep", "http",
			"  path: {escapedSlashesAction: KeepUnchanged, disableMergeSlashes: true}\n") +
			clientPolicy("reject", "https", "  path: {escapedSlashesAction: RejectRequest}\n") +
			clientPolicy("forward", "spare", "  path: {escapedSlashesAction: UnescapeAndForward}\n"),
	})
	for _, tt := range []struct {
		port, path string
		want       expect
	}{
		{"HTTP", "/a%2Fadmin", expect{backend: "one", path: "/a%2Fadmin"}},
		{"HTTP", "/a//admin", expect{backend: "one", path: "/a//admin"}},
		{"HTTP", "/a/b/../admin", expect{backend: "two", path: "/a/admin"}},
		{"HTTPS", "/a%2Fadmin", expect{status: 400}},
		{"HTTPS", "/a%5cadmin", expect{status: 400}},
		{"HTTPS", "/a//admin", expect{backend: "two", path: "/a/admin"}},
		{"SPARE", "/a%2Fadmin", expect{backend: "two", path: "/a/admin"}},
	} {
		in.must(t, request{port: tt.port, path: tt.path}, tt.want)
	}
}

// TestClientHeaders: headers are changed before a route is chosen, and after everything else.
func TestClientHeaders(t *testing.T) {
	t.Parallel()
	const limited = "  rateLimit: {local: {rules: [{limit: {requests: 99, unit: Hour}}]}}\n"
	in := start(t, files{
		"gateway.yaml": portsGateway, "backends.yaml": backendsYAML,
		"route.yaml": everything + `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: marked}
spec:
  parentRefs: [{name: gw}]
  rules: [{matches: [{headers: [{name: x-mark, value: early}]}], backendRefs: [{${two}}]}]
`,
		"policies.yaml": clientPolicy("edit", "http", `  headers:
    earlyRequestHeaders:
      set: [{name: x-mark, value: early}, {name: x-percent, value: "%REQ(cookie)% 100%"}]
      add: [{name: x-list, value: b}]
      addIfAbsent: [{name: x-absent, value: new}]
      remove: [x-gone]
      removeOnMatch: [{type: Prefix, value: x-internal-}]
    lateResponseHeaders: {set: [{name: x-late, value: "yes"}], remove: [x-envoy-upstream-service-time]}
    requestID: PreserveOrGenerate
    withUnderscoresAction: DropHeader
    disableRateLimitHeaders: true
  healthCheck: {path: /healthz}
`) + trafficPolicy("all", "all", limited) + trafficPolicy("marked", "marked", limited) +
			clientPolicy("quiet", "https", `  headers:
    {enableEnvoyHeaders: false, withUnderscoresAction: Allow, requestID: Disable}
  http1: {http10: {}}
`),
	})
	in.must(t, request{header: []string{
		"x-mark: client", "x-list: a", "x-absent: old", "x-gone: 1", "x-internal-user: root", "x_score: 1",
		"x-request-id: mine", "cookie: secret",
	}}, expect{
		backend: "two",
		received: []string{"x-mark: early", "x-percent: %REQ(cookie)% 100%", "x-list: a, b", "x-absent: old", "x-gone:",
			"x-internal-user:", "x_score:", "x-request-id: mine"},
		header: []string{"x-late: yes", "x-envoy-upstream-service-time:"},
	})
	in.must(t, request{}, expect{backend: "two", received: []string{"x-absent: new"}})
	in.must(t, request{}, expect{backend: "two", header: []string{"x-ratelimit-remaining:", "x-ratelimit-reset:"}})
	in.must(t, request{path: "/healthz"}, expect{status: 200, header: []string{"x-echo-name:"}})
	in.must(t, request{port: "HTTPS", header: []string{"x_score: 1"}}, expect{
		backend: "one", received: []string{"x_score: 1", "x-request-id:"},
		header: []string{"x-envoy-upstream-service-time:"},
	})
	in.must(t, request{port: "SPARE", header: []string{"x_score: 1"}}, expect{status: 400})
	a, err := in.send(t.Context(), request{port: "SPARE"})
	if err != nil || a.header.Get("X-Ratelimit-Remaining") == "" {
		t.Errorf("without a policy the client is not told of its limit: %v, %v", a.header, err)
	}
	const old = "GET / HTTP/1.0\r\nHost: a.example\r\n\r\n"
	if got := in.exchangeRaw(t, "HTTPS", []byte(old)); !strings.Contains(got, " 200 OK") {
		t.Errorf("HTTP/1.0 with http10: %q", got)
	}
	if got := in.exchangeRaw(t, "SPARE", []byte(old)); !strings.Contains(got, " 426 ") {
		t.Errorf("HTTP/1.0 without http10: %q", got)
	}
}

// tlsGateway has HTTPS listeners on ${HTTPS} and ${SPARE}, which are named after the ports.
const tlsGateway = gatewayWith + `
  - {name: https, protocol: HTTPS, port: ${HTTPS}, tls: {certificateRefs: [{name: server}]}}
  - {name: spare, protocol: HTTPS, port: ${SPARE}, tls: {certificateRefs: [{name: server}]}}
`

// revoking is a ConfigMap with what an authority has revoked.
func (a *authority) revoking(t *testing.T, name string, serials ...*big.Int) string {
	t.Helper()
	list := &x509.RevocationList{
		Number: big.NewInt(int64(len(serials) + 1)), ThisUpdate: time.Now().Add(-time.Hour),
		NextUpdate: time.Now().Add(time.Hour),
	}
	for _, s := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: s, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
	return fmt.Sprintf("\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {ca.crl: %q}\n", name, text)
}

// TestA24ClientCertificate: clients with certificates that are right, wrong, missing, for another name and revoked.
// What cannot be validated is refused, and a new revocation list cuts no connection.
func TestA24ClientCertificate(t *testing.T) {
	t.Parallel()
	ca, clients, other := newAuthority(t), newAuthority(t), newAuthority(t)
	alice, bob := clients.certificate(t, "alice.example"), clients.certificate(t, "bob.example")
	mallory := other.certificate(t, "alice.example")
	policy := clientPolicy("strict", "https", `  tls:
    minVersion: "1.3"
    clientValidation:
      caCertificateRefs: [{kind: ConfigMap, name: clients}]
      crl: {refs: [{kind: ConfigMap, name: revoked}]}
      subjectAltNames: {dnsNames: [{type: Suffix, value: .example}]}
  headers: {xForwardedClientCert: {mode: SanitizeSet, certDetailsToAdd: [DNS]}}
`) + clientPolicy("lax", "spare", "  tls: {clientValidation: {mode: VerifyIfGiven, caCertificateRefs: "+
		"[{kind: ConfigMap, name: clients}]}}\n")
	in := start(t, files{
		"gateway.yaml": tlsGateway, "backends.yaml": backendsYAML, "route.yaml": everything,
		"secret.yaml": ca.secret(t, "server", "ecdsa", "a.example"), "ca.yaml": bundle("clients", clients),
		"crl.yaml": clients.revoking(t, "revoked"), "policy.yaml": policy,
	})
	with := func(port string, certificates ...*tls.Certificate) request {
		config := &tls.Config{ServerName: "a.example", RootCAs: ca.pool}
		for _, c := range certificates {
			config.Certificates = append(config.Certificates, *c)
		}
		return request{host: "a.example", port: port, tls: config, header: []string{"x-forwarded-client-cert: By=forged"}}
	}
	refused := func(name string, r request) {
		t.Helper()
		if a, err := in.send(t.Context(), r); err == nil {
			t.Errorf("%s: got %d, want no connection", name, a.status)
		}
	}
	a, err := in.send(t.Context(), with("HTTPS", alice))
	if err != nil {
		t.Fatal(err)
	}
	if got := a.echo.Headers.Get("X-Forwarded-Client-Cert"); !strings.Contains(got, "DNS=alice.example") ||
		strings.Contains(got, "forged") {
		t.Errorf("the backend is told %q of the certificate", got)
	}
	in.must(t, with("HTTPS", bob), expect{backend: "one"})
	refused("another CA", with("HTTPS", mallory))
	refused("none", with("HTTPS"))
	refused("another name", with("HTTPS", clients.certificate(t, "alice.test")))
	older := with("HTTPS", alice)
	older.tls.MaxVersion = tls.VersionTLS12
	refused("an older version of TLS", older)
	in.must(t, with("SPARE"), expect{backend: "one"})
	in.must(t, with("SPARE", alice), expect{backend: "one", received: []string{"x-forwarded-client-cert:"}})
	refused("an optional one of another CA", with("SPARE", mallory))

	open := in.client(with("HTTPS", bob))
	defer open.CloseIdleConnections()
	onOpen := func(when string) {
		t.Helper()
		if a, err := in.sendOn(t.Context(), open, with("HTTPS", bob)); err != nil || a.status != http.StatusOK {
			t.Errorf("%s the open connection gets %d: %v", when, a.status, err)
		}
	}
	onOpen("before the list")
	leaf, err := x509.ParseCertificate(bob.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	in.write("crl.yaml", clients.revoking(t, "revoked", leaf.SerialNumber))
	eventually(t, func() error {
		if _, err := in.send(t.Context(), with("HTTPS", bob)); err == nil {
			return fmt.Errorf("a client is let in whose certificate is revoked")
		}
		return nil
	})
	in.must(t, with("HTTPS", alice), expect{backend: "one"})
	onOpen("after the list")

	in.remove("ca.yaml") // nobody can be validated any more
	in.condition(t, conditionWant{
		kind: "ClientTrafficPolicy", name: "default/strict", condition: "Accepted=False/Invalid",
	})
	eventually(t, func() error {
		for _, port := range []string{"HTTPS", "SPARE"} {
			if a, err := in.send(t.Context(), with(port, alice)); err == nil {
				return fmt.Errorf("%s still answers, with %d", port, a.status)
			}
		}
		return nil
	})
}

// TestClientTLS: versions, ciphers, ALPN and resumption of sessions.
func TestClientTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	in := start(t, files{
		"gateway.yaml": tlsGateway, "backends.yaml": backendsYAML, "route.yaml": everything,
		"secret.yaml": ca.secret(t, "server", "ecdsa", "a.example"),
		"policy.yaml": clientPolicy("old", "https", `  tls:
    minVersion: "1.0"
    maxVersion: "1.2"
    alpnProtocols: [http/1.1]
    ecdhCurves: [P-256, X25519]
    signatureAlgorithms: [ecdsa_secp256r1_sha256]
    fingerprints: [JA3, JA4]
    session: {resumption: {stateless: {}}}
  headers: {earlyRequestHeaders: {set: [{name: x-ja4, value: "%TLS_JA4_FINGERPRINT%"}]}}
`) + clientPolicy("new", "spare", "  tls: {ciphers: [ECDHE-ECDSA-AES256-GCM-SHA384]}\n"),
	})
	connect := func(port string, version uint16, change func(*tls.Config)) (tls.ConnectionState, error) {
		config := &tls.Config{
			ServerName: "a.example", RootCAs: ca.pool, MinVersion: version, MaxVersion: version,
			NextProtos: []string{"h2", "http/1.1"},
		}
		if change != nil {
			change(config)
		}
		conn, err := tls.Dial("tcp", in.address(port), config)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState(), nil
	}
	for _, tt := range []struct {
		port    string
		version uint16
		alpn    string // empty for no connection
	}{
		{"HTTPS", tls.VersionTLS10, "http/1.1"},
		{"HTTPS", tls.VersionTLS12, "http/1.1"},
		{"HTTPS", tls.VersionTLS13, ""},
		{"SPARE", tls.VersionTLS11, ""},
		{"SPARE", tls.VersionTLS13, "h2"},
	} {
		state, err := connect(tt.port, tt.version, nil)
		if (err == nil) != (tt.alpn != "") || err == nil && state.NegotiatedProtocol != tt.alpn {
			t.Errorf("%s with %s: %q, %v; want %q", tt.port, tls.VersionName(tt.version), state.NegotiatedProtocol, err, tt.alpn)
		}
	}
	if state, err := connect("SPARE", tls.VersionTLS12, nil); err != nil ||
		state.CipherSuite != tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 {
		t.Errorf("the cipher is %s: %v", tls.CipherSuiteName(state.CipherSuite), err)
	}
	a, err := in.send(t.Context(), request{host: "a.example", port: "HTTPS", tls: sni("a.example", ca)})
	if got := a.echo.Headers.Get("X-Ja4"); err != nil || !strings.HasPrefix(got, "t12") && !strings.HasPrefix(got, "t13") {
		t.Errorf("the backend gets the fingerprint %q: %v", got, err)
	}
	for port, want := range map[string]bool{"HTTPS": true, "SPARE": false} {
		cache := tls.NewLRUClientSessionCache(1)
		keep := func(c *tls.Config) { c.ClientSessionCache = cache }
		if _, err := connect(port, tls.VersionTLS12, keep); err != nil {
			t.Fatal(err)
		}
		if state, err := connect(port, tls.VersionTLS12, keep); err != nil || state.DidResume != want {
			t.Errorf("%s: resumed %t, want %t: %v", port, state.DidResume, want, err)
		}
	}
}

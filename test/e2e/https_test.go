package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"
)

// authority signs certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{cert: cert, key: key, pool: pool}
}

// secret returns a Secret with a certificate for the hosts. kind is "ecdsa" or "rsa".
func (a *authority) secret(t *testing.T, name, kind string, hosts ...string) string {
	t.Helper()
	cert, key := a.issue(t, name, kind, hosts...)
	return tlsSecret(name, cert, key)
}

// issue returns a certificate and its key, both as PEM. Hosts with a scheme are URIs.
func (a *authority) issue(t *testing.T, name, kind string, hosts ...string) (certPEM, keyPEM []byte) {
	t.Helper()
	var public, private any
	switch kind {
	case "rsa":
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		public, private = key.Public(), key
	default:
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		public, private = key.Public(), key
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range hosts {
		if uri, err := url.Parse(host); err == nil && uri.Scheme != "" {
			template.URIs = append(template.URIs, uri)
			continue
		}
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		template.DNSNames = append(template.DNSNames, host)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// bundle returns a ConfigMap with the certificates of authorities.
func bundle(name string, authorities ...*authority) string {
	return fmt.Sprintf("\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {ca.crt: %q}\n",
		name, bundleText(authorities...))
}

func bundleText(authorities ...*authority) string {
	var b strings.Builder
	for _, a := range authorities {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
	}
	return b.String()
}

func tlsSecret(name string, cert, key []byte) string {
	return fmt.Sprintf(`
---
apiVersion: v1
kind: Secret
metadata: {name: %s}
type: kubernetes.io/tls
data: {tls.crt: %s, tls.key: %s}
`, name, base64.StdEncoding.EncodeToString(cert), base64.StdEncoding.EncodeToString(key))
}

// httpsGateway returns a Gateway with HTTPS listeners on ${HTTPS}: name, hostname ("" for any) and certificates of
// each.
func httpsGateway(listeners ...[3]string) string {
	var b strings.Builder
	b.WriteString(gatewayWith + `
`)
	for _, l := range listeners {
		hostname := ""
		if l[1] != "" {
			hostname = fmt.Sprintf("hostname: %q, ", l[1])
		}
		fmt.Fprintf(&b, "  - {name: %s, protocol: HTTPS, port: ${HTTPS}, %stls: {certificateRefs: [%s]}}\n",
			l[0], hostname, l[2])
	}
	return b.String()
}

// attach returns an HTTPRoute of a listener to a backend, for hostnames ("" for all of the listener's).
func attach(name, listener, hostnames, backend string) string {
	return fmt.Sprintf(`
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s}
spec:
  parentRefs: [{name: gw, sectionName: %s}]
  hostnames: [%s]
  rules: [{backendRefs: [{${%s}}]}]
`, name, listener, hostnames, backend)
}

// TestCertificate checks which certificate a client is shown for an SNI.
func TestCertificate(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	in := start(t, files{
		"gateway.yaml": httpsGateway(
			[3]string{"one", "one.example", "{name: one}"}, [3]string{"wild", "*.wild.example", "{name: wild}"},
			[3]string{"any", "", "{name: any}"},
			[3]string{"several", "*.several.example", "{name: first}, {name: second-rsa}, {name: second}"}),
		"backends.yaml": backendsYAML,
		"secrets.yaml": ca.secret(t, "one", "ecdsa", "one.example") + ca.secret(t, "wild", "ecdsa", "*.wild.example") +
			ca.secret(t, "any", "ecdsa", "fallback.example") + ca.secret(t, "first", "rsa", "1.several.example") +
			ca.secret(t, "second-rsa", "rsa", "2.several.example") + ca.secret(t, "second", "ecdsa", "2.several.example"),
		"routes.yaml": attach("one", "one", "", "one") + attach("wild", "wild", "", "two") +
			attach("any", "any", "", "three") + attach("several", "several", "", "one"),
	})
	tests := []struct {
		sni, host, proto string
		subject, backend string
	}{
		{"one.example", "one.example", "h1", "one", "one"},
		{"one.example", "one.example", "h2", "one", "one"},
		{"ONE.example", "one.example", "h1", "one", "one"},
		{"a.wild.example", "a.wild.example", "h2", "wild", "two"},
		{"a.b.wild.example", "a.b.wild.example", "h1", "wild", "two"},
		{"1.several.example", "1.several.example", "h1", "first", "one"},
		{"2.several.example", "2.several.example", "h1", "second", "one"}, // ECDSA before RSA for clients that can.
		{"wild.example", "wild.example", "h1", "any", "three"},
		{"other.example", "other.example", "h2", "any", "three"},
	}
	for _, tt := range tests {
		t.Run(tt.proto+" "+tt.sni, func(t *testing.T) {
			a, err := in.send(t.Context(), request{
				host: tt.host, port: "HTTPS", proto: tt.proto, tls: &tls.Config{ServerName: tt.sni},
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := in.check(expect{backend: tt.backend}, a); err != nil {
				t.Error(err)
			}
			if got := a.peer.PeerCertificates[0].Subject.CommonName; got != tt.subject {
				t.Errorf("got the certificate %q, want %q", got, tt.subject)
			}
			if want := map[string]string{"h1": "HTTP/1.1", "h2": "HTTP/2.0"}[tt.proto]; a.proto != want {
				t.Errorf("got %s, want %s", a.proto, want)
			}
		})
	}
	t.Run("no SNI", func(t *testing.T) {
		conn, err := tls.Dial("tcp", in.address("HTTPS"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if got := conn.ConnectionState().PeerCertificates[0].Subject.CommonName; got != "any" {
			t.Errorf("got the certificate %q, want %q", got, "any")
		}
	})
}

// TestCertificateRotation replaces the certificate of a listener while it serves.
func TestCertificateRotation(t *testing.T) {
	t.Parallel()
	old, renewed := newAuthority(t), newAuthority(t)
	in := start(t, files{
		"gateway.yaml":  httpsGateway([3]string{"one", "one.example", "{name: one}"}),
		"backends.yaml": backendsYAML,
		"secret.yaml":   old.secret(t, "one", "ecdsa", "one.example"),
		"route.yaml":    attach("one", "one", "", "one"),
	})
	verify := func(ca *authority) request {
		return request{host: "one.example", port: "HTTPS", tls: &tls.Config{ServerName: "one.example", RootCAs: ca.pool}}
	}
	in.want(t, verify(old), expect{backend: "one"})
	in.write("secret.yaml", renewed.secret(t, "one", "ecdsa", "one.example"))
	in.want(t, verify(renewed), expect{backend: "one"})
	if _, err := in.send(t.Context(), verify(old)); err == nil {
		t.Error("the old certificate is still served")
	}

	// A Secret that is broken or gone costs its listener only, and the status says it.
	in.write("secret.yaml", tlsSecret("one", []byte("nonsense"), []byte("nonsense")))
	in.condition(t, conditionWant{kind: "Gateway", name: "default/gw", listener: "one",
		condition: "ResolvedRefs=False/InvalidCertificateRef"})
	in.remove("secret.yaml")
	in.condition(t, conditionWant{kind: "Gateway", name: "default/gw", listener: "one",
		condition: "ResolvedRefs=False/InvalidCertificateRef", message: "does not exist"})
	in.write("secret.yaml", old.secret(t, "one", "ecdsa", "one.example"))
	in.want(t, verify(old), expect{backend: "one"})
}

// TestMisdirected sends requests for one host over a connection that was made for another, as browsers do when a
// certificate has both names.
func TestMisdirected(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	in := start(t, files{
		"gateway.yaml": httpsGateway([3]string{"one", "one.example", "{name: all}"},
			[3]string{"wild", "*.wild.example", "{name: all}"}, [3]string{"any", "", "{name: all}"}),
		"backends.yaml": backendsYAML,
		"secrets.yaml":  ca.secret(t, "all", "ecdsa", "one.example", "*.wild.example"),
		"routes.yaml": attach("one", "one", "", "one") + attach("wild", "wild", "", "two") +
			attach("any", "any", "", "three"),
	})
	tests := []struct {
		sni, host string
		want      expect
	}{
		{"one.example", "one.example", expect{backend: "one"}},
		{"one.example", "a.wild.example", expect{status: 421}},
		{"one.example", "unknown.example", expect{status: 421}},
		{"a.wild.example", "b.wild.example", expect{backend: "two"}},
		{"a.wild.example", "one.example", expect{status: 421}},
		{"unknown.example", "other.example", expect{backend: "three"}},
		{"unknown.example", "one.example", expect{status: 421}},
		{"unknown.example", "a.wild.example", expect{status: 421}},
	}
	for _, tt := range tests {
		t.Run(tt.sni+" "+tt.host, func(t *testing.T) {
			in.must(t, request{host: tt.host, port: "HTTPS", proto: "h2", tls: &tls.Config{ServerName: tt.sni}}, tt.want)
		})
	}
}

// TestA06ListenerIsolation checks that a request is served by the most specific listener only, even if that has no
// route for it.
func TestA06ListenerIsolation(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"gateway.yaml": gatewayWith + `
  - {name: any, protocol: HTTP, port: ${HTTP}}
  - {name: wild, protocol: HTTP, port: ${HTTP}, hostname: "*.example.com"}
  - {name: narrow, protocol: HTTP, port: ${HTTP}, hostname: "*.foo.example.com"}
  - {name: exact, protocol: HTTP, port: ${HTTP}, hostname: abc.foo.example.com}
  - {name: other-port, protocol: HTTP, port: ${SPARE}}
`,
		"backends.yaml": backendsYAML,
		"routes.yaml": path("any", "/any") + path("wild", "/wild") + path("narrow", "/narrow") + path("exact", "/exact") +
			path("other-port", "/other-port"),
	})
	hosts := map[string]string{
		"bar.com": "any", "bar.example.com": "wild", "bar.foo.example.com": "narrow", "abc.foo.example.com": "exact",
	}
	for host, owner := range hosts {
		for _, listener := range []string{"any", "wild", "narrow", "exact", "other-port"} {
			want := expect{status: 404}
			if listener == owner {
				want = expect{backend: "one"}
			}
			in.must(t, request{host: host, path: "/" + listener}, want)
		}
		in.must(t, request{host: host, path: "/other-port", port: "SPARE"}, expect{backend: "one"})
		in.must(t, request{host: host, path: "/" + owner, port: "SPARE"}, expect{status: 404})
	}
}

// path returns an HTTPRoute of a listener for a path to backend one.
func path(listener, path string) string {
	return fmt.Sprintf(`
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s}
spec:
  parentRefs: [{name: gw, sectionName: %s}]
  rules: [{matches: [{path: {value: %s}}], backendRefs: [{${one}}]}]
`, listener, listener, path)
}

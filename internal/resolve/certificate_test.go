package resolve

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/model"
)

func newCertificate(t testing.TB, key crypto.Signer) (chain, keyPEM []byte) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<33, 0), DNSNames: []string{"a.example.com"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func ecKey(t testing.TB, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func secretOf(namespace, name string, chain, key []byte) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: %s, namespace: %s}
type: kubernetes.io/tls
data: {tls.crt: %s, tls.key: %s}
`, name, namespace, base64.StdEncoding.EncodeToString(chain), base64.StdEncoding.EncodeToString(key))
}

// secretYAML is a good Secret in the namespace default.
func secretYAML(t testing.TB, name string) string {
	chain, key := newCertificate(t, ecKey(t, elliptic.P256()))
	return secretOf("default", name, chain, key)
}

const httpsListener = `{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}`

func TestCertificates(t *testing.T) {
	chain, key := newCertificate(t, ecKey(t, elliptic.P256()))
	otherChain, otherKey := newCertificate(t, ecKey(t, elliptic.P384()))
	rsaKey := func(bits int) crypto.Signer {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := func(k crypto.Signer) string {
		c, p := newCertificate(t, k)
		return secretOf("default", "cert", c, p)
	}
	crlf := func(b []byte) []byte { return []byte(strings.ReplaceAll(string(b), "\n", "\r\n")) }
	cases := []struct{ name, secret, want string }{
		{"P-256", secretOf("default", "cert", chain, key), ""},
		{"P-521", of(ecKey(t, elliptic.P521())), ""},
		{"P-224", of(ecKey(t, elliptic.P224())), "curve P-224 is not supported"},
		{"RSA 2048", of(rsaKey(2048)), ""},
		{"RSA 1024", of(rsaKey(1024)), "has 1024 bits"},
		{"Ed25519", of(edKey), ""},
		{"CRLF", secretOf("default", "cert", crlf(chain), crlf(key)), ""},
		{"chain of two", secretOf("default", "cert", append(append([]byte{}, chain...), otherChain...), key), ""},
		{"text around the PEM", secretOf("default", "cert", append([]byte("subject: a\n"), chain...), key), ""},
		{"wrong key", secretOf("default", "cert", chain, otherKey), "does not belong to the first certificate"},
		{"not PEM", secretOf("default", "cert", []byte("Hello world\n"), []byte("Hello world\n")),
			"holds no PEM certificate"},
		{"no key", secretOf("default", "cert", chain, chain), "holds no PEM private key"},
		{"broken key", secretOf("default", "cert", chain,
			[]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")), "cannot be parsed"},
		{"other Secret", secretOf("default", "other", chain, key), "does not exist"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, options(), classYAML, gatewayYAML("gw", httpsListener), tc.secret)
			cert, served := w.Certificates.Peek(inDefault("cert"))
			if tc.want == "" {
				if !served {
					t.Fatalf("not served: %s", w.gateway(inDefault("gw")))
				}
				if _, err := tls.X509KeyPair(cert.Chain, cert.Key); err != nil || strings.Contains(string(cert.Chain), "\r") {
					t.Errorf("what is served is not a canonical pair: %v", err)
				}
				return
			}
			gw, _ := w.Gateways.Peek(inDefault("gw"))
			if served || len(gw.Report) != 1 || gw.Report[0].Reason != "InvalidCertificateRef" ||
				!strings.Contains(gw.Report[0].Message, tc.want) {
				t.Errorf("served: %t, report: %v; want %q", served, gw.Report, tc.want)
			}
		})
	}
}

func TestCertificateReferences(t *testing.T) {
	chain, key := newCertificate(t, ecKey(t, elliptic.P256()))
	grant := func(from, to string) string {
		return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: certs}
spec:
  from: [%s]
  to: [%s]
`, from, to)
	}
	const gateways = `{group: gateway.networking.k8s.io, kind: Gateway, namespace: default}`
	const far = `{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert, namespace: certs}]}}`
	cases := []struct{ name, listener, grant, want string }{
		{"no grant", far, "", "RefNotPermitted"},
		{"grant for all", far, grant(gateways, `{group: "", kind: Secret}`), "ResolvedRefs"},
		{"grant by name", far, grant(gateways, `{group: "", kind: Secret, name: cert}`), "ResolvedRefs"},
		{"grant for another name", far, grant(gateways, `{group: "", kind: Secret, name: else}`), "RefNotPermitted"},
		{"grant for another kind", far, grant(gateways, `{group: "", kind: ConfigMap}`), "RefNotPermitted"},
		{"grant to another namespace", far,
			grant(`{group: gateway.networking.k8s.io, kind: Gateway, namespace: else}`, `{group: "", kind: Secret}`),
			"RefNotPermitted"},
		{"grant to another kind", far,
			grant(`{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}`, `{group: "", kind: Secret}`),
			"RefNotPermitted"},
		{"unsupported group", `{name: https, port: 443, protocol: HTTPS,
      tls: {certificateRefs: [{group: wrong.io, kind: Secret, name: cert}]}}`, "", "InvalidCertificateRef"},
		{"unsupported kind", `{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{kind: Wrong, name: cert}]}}`,
			"", "InvalidCertificateRef"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, options(), classYAML, gatewayYAML("gw", tc.listener), tc.grant,
				secretOf("certs", "cert", chain, key))
			st, _ := w.GatewayStatus.Peek(inDefault("gw"))
			if got := st.Listeners[0].Conditions[1].Reason; got != tc.want {
				t.Errorf("ResolvedRefs is %s, want %s: %s", got, tc.want, st.Listeners[0].Conditions[1].Message)
			}
			_, served := w.Certificates.Peek(model.Name{Namespace: "certs", Name: "cert"})
			if served != (tc.want == "ResolvedRefs") {
				t.Errorf("the certificate is served: %t", served)
			}
			if tc.want != "ResolvedRefs" || tc.grant == "" {
				return
			}
			w.delete(model.GroupGateway, model.KindReferenceGrant, "certs", "g")
			if w.Certificates.Len() != 0 || w.Ports.Len() != 0 {
				t.Error("the certificate is still served after its grant is gone")
			}
		})
	}
}

func TestOneGoodCertificateIsEnough(t *testing.T) {
	w := newWorld(t, options(), classYAML, secretYAML(t, "cert"), gatewayYAML("gw",
		`{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: gone}, {name: cert}]}}`))
	expect(t, "status", w.gateway(inDefault("gw")), `
		Accepted ResolvedRefs=False/ListenersNotResolved
		https [HTTPRoute,GRPCRoute] 0: Accepted ResolvedRefs=False/InvalidCertificateRef`)
	gw, _ := w.Gateways.Peek(inDefault("gw"))
	if got := gw.Listeners[0].Certificates; len(got) != 1 || got[0] != inDefault("cert") {
		t.Errorf("certificates: %v", got)
	}
}

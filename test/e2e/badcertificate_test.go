package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// badCertificates returns certificates and keys in good and bad forms as variables of an instance, in base64: CRT_NAME
// and KEY_NAME.
func badCertificates(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	add := func(name string, cert, key []byte) {
		out["CRT_"+name] = base64.StdEncoding.EncodeToString(cert)
		out["KEY_"+name] = base64.StdEncoding.EncodeToString(key)
	}
	cert, key := selfSigned(t, elliptic.P256(), time.Hour)
	_, otherKey := selfSigned(t, elliptic.P256(), time.Hour)
	expired, _ := selfSigned(t, elliptic.P256(), -time.Hour)
	smallCert, smallKey := selfSigned(t, elliptic.P224(), time.Hour)
	block := func(kind string, data ...byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data})
	}
	windows := func(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")) }
	// The name of the curve P-256, which OpenSSL puts before a key.
	parameters := block("EC PARAMETERS", 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7)
	add("good", cert, key)
	add("mismatch", cert, otherKey)
	add("badchain", append(bytes.Clone(cert), block("CERTIFICATE", 0, 0, 0)...), key)
	add("crlf", windows(cert), windows(key))
	add("oddpem", append([]byte("\ufeffBag Attributes\n  friendlyName: odd\n"), cert...), append(parameters, key...))
	add("expired", append(bytes.Clone(cert), expired...), key)
	add("empty", nil, nil)
	add("p224", smallCert, smallKey)
	return out
}

// selfSigned returns a certificate for all hosts of example that is valid for so long from now on, and its key.
func selfSigned(t *testing.T, curve elliptic.Curve, left time.Duration) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "example"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(left), DNSNames: []string{"*.example"},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})
}

package kube_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/sluice-gateway/sluice/internal/pki"
	"github.com/sluice-gateway/sluice/internal/pki/kube"
	"github.com/sluice-gateway/sluice/test/apiserver"
)

// TestRateLimitCertificate follows the Secret of the rate-limit service through its life.
func TestRateLimitCertificate(t *testing.T) {
	client, err := corev1client.NewForConfig(apiserver.Start(t).Config(apiserver.Admin))
	if err != nil {
		t.Fatal(err)
	}
	secrets := client.Secrets("default")
	now := time.Now()
	clock := func() time.Time { return now }
	keeper := kube.New(kube.Options{
		Secrets: secrets, Name: "authorities", Term: pki.DefaultTerm, Now: clock, RateLimit: "limits",
		Log: slog.New(slog.DiscardHandler),
	}, pki.NewAuthority(clock))
	read := func() map[string][]byte {
		t.Helper()
		if err := keeper.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		secret, err := secrets.Get(t.Context(), "limits", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return secret.Data
	}

	first := read()
	if _, err := tls.X509KeyPair(first["tls.crt"], first["tls.key"]); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(first["tls.crt"])
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(first["ca.crt"])
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now}); err != nil {
		t.Error(err)
	}
	if len(cert.URIs) != 1 || cert.URIs[0].String() != pki.RateLimit {
		t.Errorf("the certificate is of %v, want %s", cert.URIs, pki.RateLimit)
	}

	now = now.Add(time.Minute)
	if again := read(); !bytes.Equal(again["tls.crt"], first["tls.crt"]) {
		t.Error("a young certificate was replaced")
	}
	now = now.Add(pki.DefaultTerm.Leaf / 2)
	renewed := read()
	if bytes.Equal(renewed["tls.crt"], first["tls.crt"]) {
		t.Error("a certificate in the second half of its life was not replaced")
	}
	broken := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "limits"}, Type: corev1.SecretTypeTLS, Data: renewed}
	broken.Data["tls.crt"] = []byte("nothing")
	if _, err := secrets.Update(t.Context(), broken, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if mended := read(); bytes.Equal(mended["tls.crt"], broken.Data["tls.crt"]) {
		t.Error("what is no certificate was not replaced")
	}
}

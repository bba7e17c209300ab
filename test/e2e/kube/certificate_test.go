package kube

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
)

// certificate is one that signs itself: for a server, for a client, and its own CA. All are PEM.
type certificate struct{ chain, key []byte }

// newCertificate makes one for a host, with a serial number to know it by.
func newCertificate(t *testing.T, host string, serial int64) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return certificate{
		chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
}

func (c certificate) pair(t *testing.T) tls.Certificate {
	t.Helper()
	out, err := tls.X509KeyPair(c.chain, c.key)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// data are the fields of a Secret, of which JSON makes base64.
func (c certificate) data() map[string][]byte {
	return map[string][]byte{"tls.crt": c.chain, "tls.key": c.key}
}

// secret makes a Secret with a certificate.
func (w *world) secret(ns, name string, c certificate) {
	w.t.Helper()
	err := w.api.Post(w.t.Context(), strings.TrimSuffix(corePath(ns, "secrets", ""), "/"), map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
		"metadata": map[string]any{"name": name, "namespace": ns}, "data": c.data(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// askTLS sends one request over a new connection with TLS, and returns the answer's status and the serial number of the
// server's certificate.
func (w *world) askTLS(address, host string, own ...tls.Certificate) (status int, serial int64, err error) {
	conn := load.NewConn(address)
	defer conn.Close()
	conn.Use(func(ctx context.Context, network, to string) (net.Conn, error) {
		raw, err := w.Dial(ctx, network, to)
		if err != nil {
			return nil, err
		}
		// The certificates sign themselves; which one it is, is what is asked.
		out := tls.Client(raw, &tls.Config{ServerName: host, InsecureSkipVerify: true, Certificates: own})
		if err := out.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, err
		}
		serial = out.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
		return out, nil
	}, "")
	status, err = conn.Do(load.NewRequest(host, "/", nil))
	return status, serial, err
}

// TestCertificateRotated replaces a Secret every second, while clients connect anew all the time.
func TestCertificateRotated(t *testing.T) {
	w := begin(t)
	const host = "secure.example"
	w.secret(w.ns, "web", newCertificate(t, host, 1))
	w.apply(proxy(w.ns, "{envoyDeployment: {replicas: 1}}") + backend(w.ns, "one", 1) + route(w.ns, "one", host, "one") +
		listeners(w.ns, "gateway",
			"{name: https, protocol: HTTPS, port: 443, tls: {certificateRefs: [{name: web}]}}"))
	address := net.JoinHostPort(w.programmed(w.ns, "gateway"), "443")
	w.eventually("an answer", func() error {
		status, _, err := w.askTLS(address, host)
		if err == nil && status != 200 {
			err = fmt.Errorf("status %d", status)
		}
		return err
	})
	ctx, cancel := context.WithCancel(t.Context())
	seen := w.handshakes(ctx, address, host)
	times := scaled(15, 100)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := range times {
		<-tick.C
		patch, err := json.Marshal(map[string]any{"data": newCertificate(t, host, int64(i+2)).data()})
		if err != nil {
			t.Fatal(err)
		}
		w.patch(corePath(w.ns, "secrets", "web"), string(patch))
	}
	last := int64(times + 1)
	w.eventually("the last certificate to be shown", func() error {
		if newest := seen.newest(); newest != last {
			return fmt.Errorf("the newest is %d, want %d", newest, last)
		}
		return nil
	})
	cancel()
	seen.done.Wait()
	if len(seen.failures) > 0 || len(seen.serials) < times {
		t.Errorf("%d handshakes failed, the first so: %v; %d certificates of %d were seen",
			len(seen.failures), seen.failures[:min(1, len(seen.failures))], len(seen.serials), last)
	}
	t.Logf("%d handshakes", seen.count)
}

// handshakes are what new connections came to.
type handshakes struct {
	done     sync.WaitGroup
	mu       sync.Mutex
	count    int
	serials  map[int64]bool
	failures []error
}

// handshakes connects anew all the time, from several clients, until ctx ends.
func (w *world) handshakes(ctx context.Context, address, host string) *handshakes {
	out := &handshakes{serials: map[int64]bool{}}
	for range 4 {
		out.done.Go(func() {
			for ctx.Err() == nil {
				status, serial, err := w.askTLS(address, host)
				if err == nil && status != 200 {
					err = fmt.Errorf("status %d", status)
				}
				out.note(serial, err)
			}
		})
	}
	return out
}

func (h *handshakes) note(serial int64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count++
	if err != nil {
		h.failures = append(h.failures, err)
		return
	}
	h.serials[serial] = true
}

func (h *handshakes) newest() (out int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for serial := range h.serials {
		out = max(out, serial)
	}
	return out
}

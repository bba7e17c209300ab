package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/pki"
)

// authority returns one with a CA of its own.
func authority(t *testing.T) *pki.Authority {
	t.Helper()
	roster, err := pki.ParseRoster(nil, pki.DefaultTerm)
	if err != nil {
		t.Fatal(err)
	}
	if roster, _, err = roster.Advance(time.Now()); err != nil {
		t.Fatal(err)
	}
	a := pki.NewAuthority(time.Now)
	a.Set(roster)
	return a
}

// write puts what a Secret of type kubernetes.io/tls has into a folder.
func write(t *testing.T, dir string, p pki.Pair) {
	t.Helper()
	for name, data := range map[string][]byte{"tls.crt": p.Certificate, "tls.key": p.Key, "ca.crt": p.CA} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// clientOf is the configuration of an Envoy of the authority that talks to the rate-limit service.
func clientOf(t *testing.T, a *pki.Authority) *tls.Config {
	t.Helper()
	p, err := a.Issue("ns/gw")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(p.Certificate, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.CA)
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"},
		// The identity is in a URI, which the library does not look at.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if id, err := pki.Identity(state); err != nil || id != pki.RateLimit {
				t.Errorf("the server is %s (%v)", id, err)
			}
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots})
			return err
		},
	}
}

func TestServerFiles(t *testing.T) {
	dir := t.TempDir()
	if _, err := pki.ServerFiles(dir); err == nil {
		t.Error("a folder without a certificate is no error")
	}
	ours, theirs := authority(t), authority(t)
	issue := func(a *pki.Authority) {
		t.Helper()
		p, err := a.IssueRateLimit()
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, p)
	}
	issue(ours)
	config, err := pki.ServerFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	talk := func(client *tls.Config) error {
		_, _, err := connect(t, config, client)
		return err
	}
	if err := talk(clientOf(t, ours)); err != nil {
		t.Error(err)
	}
	if err := talk(clientOf(t, theirs)); err == nil {
		t.Error("a client of another authority was let in")
	}
	anonymous := clientOf(t, ours)
	anonymous.Certificates = nil
	if err := talk(anonymous); err == nil {
		t.Error("a client without a certificate was let in")
	}
	// Replaced files are used without being told of.
	issue(theirs)
	if err := talk(clientOf(t, theirs)); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	if err := talk(clientOf(t, theirs)); err == nil {
		t.Error("without an authority somebody was let in")
	}
}

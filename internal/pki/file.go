package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// ServerFiles returns the configuration of a server that holds the certificate in dir (tls.crt, tls.key) and talks to
// nobody without one of the authorities in ca.crt. The files are read for each connection: whoever replaces them need
// not tell. It returns an error if they cannot be used now.
func ServerFiles(dir string) (*tls.Config, error) {
	load := func() (*tls.Config, error) {
		cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		bundle, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
		if err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(bundle) {
			return nil, fmt.Errorf("certificate authority: %s has no certificate", filepath.Join(dir, "ca.crt"))
		}
		return serverConfig(cert, roots, time.Now), nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return load() },
	}, nil
}

// serverConfig is that of one connection.
func serverConfig(cert tls.Certificate, roots *x509.CertPool, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots,
		Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}, Time: now,
		// A ticket would let in a client whose certificate has expired since.
		SessionTicketsDisabled: true,
	}
}

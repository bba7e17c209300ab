package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// ServerConfig returns the configuration of a server that talks to nobody without a valid certificate. It follows the
// authority: each connection is held to what is trusted when it is made.
func (a *Authority) ServerConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			roots, err := a.trusted()
			if err != nil {
				return nil, err
			}
			cert, err := a.certificate()
			if err != nil {
				return nil, err
			}
			return serverConfig(*cert, roots, a.now), nil
		},
	}
}

// ClientConfig returns the configuration of a replica that talks to another one: it holds this replica's identity, and
// the server has to have that of the control plane.
func (a *Authority) ClientConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return a.certificate() },
		// Replicas are dialled by address, and known by their identity, which the library does not verify: so the
		// whole verification is in VerifyConnection, which is never skipped.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			roots, err := a.trusted()
			if err != nil {
				return err
			}
			return verifyControlPlane(state, roots, a)
		},
	}
}

func verifyControlPlane(state tls.ConnectionState, roots *x509.CertPool, a *Authority) error {
	if len(state.PeerCertificates) == 0 {
		return errNoCertificate
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: a.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("the server's certificate: %w", err)
	}
	id, err := Identity(state)
	if err != nil {
		return err
	}
	if id != ControlPlane {
		return fmt.Errorf("the server is %s, not %s", id, ControlPlane)
	}
	return nil
}

var errNoCertificate = errors.New("the peer has no certificate")

// Identity returns the identity in the certificate of the peer of a connection that was verified. A certificate that
// has none or several is an error.
func Identity(state tls.ConnectionState) (string, error) {
	if len(state.PeerCertificates) == 0 {
		return "", errNoCertificate
	}
	uris := state.PeerCertificates[0].URIs
	if len(uris) != 1 {
		return "", fmt.Errorf("the peer's certificate has %d URI names: one is its identity", len(uris))
	}
	return uris[0].String(), nil
}

package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// ca is a certificate authority with its key.
type ca struct {
	cert *x509.Certificate
	key  crypto.Signer
	// since is when it came into the list.
	since time.Time
}

const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY"
	// pemSince is the header that says since when a CA is in the list.
	pemSince = "Since"
	// backdate lets a certificate be used at once by machines whose clocks are behind.
	backdate = 5 * time.Minute
)

// newCA makes an authority that can sign leaves only.
func newCA(now time.Time, life time.Duration) (ca, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return ca{}, fmt.Errorf("key of a CA: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return ca{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Sluice CA " + serial.Text(16)[:8]},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(life),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return ca{}, fmt.Errorf("certificate of a CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return ca{}, fmt.Errorf("certificate of a CA: %w", err)
	}
	return ca{cert, key, now.UTC().Truncate(time.Second)}, nil
}

// newSerial returns a positive number of 127 random bits.
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("serial number: %w", err)
	}
	return n.SetBit(n, 126, 1), nil
}

// marshal appends the certificate and the key.
func (c ca) marshal(out []byte) ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return nil, fmt.Errorf("key of a CA: %w", err)
	}
	out = append(out, pem.EncodeToMemory(&pem.Block{
		Type: pemCertificate, Bytes: c.cert.Raw, Headers: map[string]string{pemSince: c.since.Format(time.RFC3339)},
	})...)
	return append(out, pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: key})...), nil
}

// parseCAs reads pairs of certificate and key.
func parseCAs(data []byte) ([]ca, error) {
	var out []ca
	var cert *x509.Certificate
	var since time.Time
	for {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil {
			break
		}
		if block.Type == pemCertificate {
			var err error
			if cert, err = x509.ParseCertificate(block.Bytes); err != nil {
				return nil, fmt.Errorf("CA certificate: %w", err)
			}
			if since, err = time.Parse(time.RFC3339, block.Headers[pemSince]); err != nil {
				since = cert.NotBefore
			}
			continue
		}
		c, err := join(cert, block)
		if err != nil {
			return nil, err
		}
		c.since = since
		out, cert = append(out, c), nil
	}
	if cert != nil || len(bytes.TrimSpace(data)) > 0 {
		return nil, errors.New("the list of CAs does not end with a key in PEM")
	}
	return out, nil
}

// join checks that a key is the certificate's, and the certificate's that of an authority.
func join(cert *x509.Certificate, block *pem.Block) (ca, error) {
	if cert == nil {
		return ca{}, errors.New("a CA's key comes without its certificate")
	}
	key, err := parseKey(block)
	if err != nil {
		return ca{}, fmt.Errorf("CA %q: %w", cert.Subject, err)
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !ok || !public.Equal(cert.PublicKey):
		return ca{}, fmt.Errorf("CA %q: the key is not the certificate's", cert.Subject)
	case !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return ca{}, fmt.Errorf("CA %q: the certificate may not sign others: it needs isCA", cert.Subject)
	}
	return ca{cert: cert, key: key}, nil
}

// parseKey reads a private key in any of the usual forms.
func parseKey(block *pem.Block) (crypto.Signer, error) {
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("private key: a %T cannot sign", key)
	}
	return signer, nil
}

// sortCAs orders authorities by age, and drops what is there twice. Those of the same second stay in the order in which
// they are kept: the last of them is the newest.
func sortCAs(all []ca) []ca {
	slices.SortStableFunc(all, func(a, b ca) int { return a.since.Compare(b.since) })
	var out []ca
	for _, c := range all {
		if !slices.ContainsFunc(out, c.same) {
			out = append(out, c)
		}
	}
	return out
}

// same says whether another authority has the same certificate.
func (c ca) same(other ca) bool { return c.cert.Equal(other.cert) }

package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/internal/model"
)

// ErrNotReady is returned before there is an authority.
var ErrNotReady = errors.New("there is no certificate authority yet")

// Authority issues certificates and says what is trusted, by the [Roster] that it was last given. It is safe for
// concurrent use.
type Authority struct {
	now     func() time.Time
	changed chan struct{}

	mu     sync.Mutex
	roster Roster
	roots  *x509.CertPool
	// own is the replica's certificate, and whose signature it has.
	own       *tls.Certificate
	ownRenew  time.Time
	ownSigner *x509.Certificate
	turn      *time.Timer
}

// NewAuthority returns an authority without any CA. now is the clock: time.Now, but in tests.
func NewAuthority(now func() time.Time) *Authority {
	return &Authority{now: now, changed: make(chan struct{}, 1)}
}

// Set takes a new list of authorities in use. Connections that are open stay.
func (a *Authority) Set(r Roster) {
	a.mu.Lock()
	defer a.mu.Unlock()
	roots := x509.NewCertPool()
	for _, c := range r.all {
		roots.AddCert(c.cert)
	}
	same := string(a.roster.Bundle()) == string(r.Bundle())
	a.roster, a.roots = r, roots
	if !same {
		a.notify()
	}
	a.awaitTurn()
}

// awaitTurn has those told who hold certificates when another authority starts to sign. The caller holds the lock.
func (a *Authority) awaitTurn() {
	if a.turn != nil {
		a.turn.Stop()
	}
	now := a.now()
	if at, ok := a.roster.turn(now); ok {
		a.turn = time.AfterFunc(at.Sub(now), func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.notify()
			a.awaitTurn()
		})
	}
}

func (a *Authority) notify() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// Changed is sent to when certificates that were issued should be issued again: another authority is trusted or signs.
// Several changes may be one message. There is one receiver.
func (a *Authority) Changed() <-chan struct{} { return a.changed }

// Pair is a certificate with its key and what its holder trusts, all in PEM.
type Pair struct {
	Certificate, Key, CA []byte
	// Renew is when to ask for another, NotAfter when it is too late.
	Renew, NotAfter time.Time
}

// Issue returns a new certificate for a proxy. It returns [ErrNotReady] while there is no authority.
func (a *Authority) Issue(proxy model.ProxyName) (Pair, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.issue(ProxyID(proxy), x509.ExtKeyUsageClientAuth)
}

// Proxy is [Authority.Issue] in the form in which the fleet manager asks.
func (a *Authority) Proxy(proxy model.ProxyName) (certificate, key, ca []byte, renew time.Time, err error) {
	p, err := a.Issue(proxy)
	return p.Certificate, p.Key, p.CA, p.Renew, err
}

// Bundle returns the certificates of all authorities that are trusted, in PEM.
func (a *Authority) Bundle() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.roster.Bundle()
}

// IssueRateLimit returns a new certificate for the rate-limit service. It returns [ErrNotReady] while there is no
// authority.
func (a *Authority) IssueRateLimit() (Pair, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.issue(RateLimit, x509.ExtKeyUsageServerAuth)
}

func (a *Authority) issue(id string, usage ...x509.ExtKeyUsage) (Pair, error) {
	if len(a.roster.all) == 0 {
		return Pair{}, ErrNotReady
	}
	now := a.now()
	signer := a.roster.all[a.roster.signer(now)]
	uri, err := url.Parse(id)
	if err != nil {
		return Pair{}, fmt.Errorf("identity: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return Pair{}, err
	}
	end := now.Add(a.roster.term.Leaf)
	if end.After(signer.cert.NotAfter) {
		end = signer.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: serial, URIs: []*url.URL{uri}, NotBefore: now.Add(-backdate), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: usage, BasicConstraintsValid: true,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("key for %s: %w", id, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, key.Public(), signer.key)
	if err != nil {
		return Pair{}, fmt.Errorf("certificate for %s: %w", id, err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("key for %s: %w", id, err)
	}
	return Pair{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: pkcs8}),
		CA:          a.roster.Bundle(), Renew: now.Add(end.Sub(now) / 2), NotAfter: end,
	}, nil
}

// certificate returns the replica's own certificate, a new one if it is old or another authority signs.
func (a *Authority) certificate() (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.roster.all) == 0 {
		return nil, ErrNotReady
	}
	now := a.now()
	signer := a.roster.all[a.roster.signer(now)].cert
	if a.own != nil && now.Before(a.ownRenew) && signer.Equal(a.ownSigner) {
		return a.own, nil
	}
	pair, err := a.issue(ControlPlane, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate of this replica: %w", err)
	}
	a.own, a.ownRenew, a.ownSigner = &cert, pair.Renew, signer
	return a.own, nil
}

// trusted returns the pool of the authorities of now.
func (a *Authority) trusted() (*x509.CertPool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.roots == nil {
		return nil, ErrNotReady
	}
	return a.roots, nil
}

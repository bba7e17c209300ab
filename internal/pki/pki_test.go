package pki_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pki"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// term is the usual one with CAs that live shorter, for the sake of the test's time.
var term = pki.Term{CA: 365 * day, Settle: pki.DefaultTerm.Settle, Leaf: pki.DefaultTerm.Leaf}

func TestIdentitiesAreInjective(t *testing.T) {
	names := []model.ProxyName{"a/b", "a%2Fb", "a", "a/b/c", "a//b", "a b", "class/x", "ä/ö"}
	seen := map[string]model.ProxyName{}
	for _, n := range names {
		id := pki.ProxyID(n)
		if other, ok := seen[id]; ok {
			t.Errorf("%q and %q are both %s", n, other, id)
		}
		seen[id] = n
		if got, err := pki.ProxyOf(id); err != nil || got != n {
			t.Errorf("%s is %q (%v), want %q", id, got, err, n)
		}
	}
	for _, id := range []string{
		pki.ControlPlane, "", "spiffe://sluice.dev/proxy/", "spiffe://other.dev/proxy/a/b", "spiffe://sluice.dev/proxy/%61",
		"spiffe://sluice.dev/proxyx/a",
	} {
		if got, err := pki.ProxyOf(id); err == nil {
			t.Errorf("%q is taken for the proxy %q", id, got)
		}
	}
}

// clock is a time that a test sets.
type clock struct{ now time.Time }

func (c *clock) read() time.Time { return c.now }

// advance takes a list to a time, through its form in the Secret.
func advance(t *testing.T, r pki.Roster, now time.Time) (pki.Roster, bool) {
	t.Helper()
	next, changed, err := r.Advance(now)
	if err != nil {
		t.Fatal(err)
	}
	data, err := next.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if next, err = pki.ParseRoster(data, term); err != nil {
		t.Fatal(err)
	}
	return next, changed
}

func certificates(t *testing.T, bundle []byte) []*x509.Certificate {
	t.Helper()
	var out []*x509.Certificate
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

func leaf(t *testing.T, p pki.Pair) *x509.Certificate {
	t.Helper()
	return certificates(t, p.Certificate)[0]
}

func verifies(t *testing.T, p pki.Pair, bundle []byte, at time.Time) bool {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	_, err := leaf(t, p).Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err == nil
}

func newRoster(t *testing.T) pki.Roster {
	t.Helper()
	r, err := pki.ParseRoster(nil, term)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestIssue(t *testing.T) {
	clk := &clock{start}
	a := pki.NewAuthority(clk.read)
	if _, err := a.Issue("ns/gw"); !errors.Is(err, pki.ErrNotReady) {
		t.Fatalf("without an authority: %v, want ErrNotReady", err)
	}
	roster, _ := advance(t, newRoster(t), start)
	a.Set(roster)
	select {
	case <-a.Changed():
	default:
		t.Error("nobody is told that there is an authority")
	}
	p, err := a.Issue("ns/gw")
	if err != nil {
		t.Fatal(err)
	}
	c := leaf(t, p)
	if len(c.URIs) != 1 || c.URIs[0].String() != "spiffe://sluice.dev/proxy/ns/gw" || len(c.DNSNames) > 0 {
		t.Errorf("its names are %v %v", c.URIs, c.DNSNames)
	}
	if key, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("its key is a %T", c.PublicKey)
	}
	if len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth || c.IsCA {
		t.Errorf("it can be used for more than a client: %v, CA %v", c.ExtKeyUsage, c.IsCA)
	}
	if p.Renew != start.Add(45*day) || p.NotAfter != start.Add(90*day) || !c.NotAfter.Equal(p.NotAfter) {
		t.Errorf("renew at %s, ends at %s", p.Renew, p.NotAfter)
	}
	if _, err := tls.X509KeyPair(p.Certificate, p.Key); err != nil {
		t.Error(err)
	}
	if !verifies(t, p, p.CA, start) {
		t.Error("it is not what its own bundle trusts")
	}
}

// Whoever renews in time always holds a certificate that all others trust, whichever of the lists they know.
func TestRotationOverlaps(t *testing.T) {
	clk := &clock{start}
	a := pki.NewAuthority(clk.read)
	roster := newRoster(t)
	type holder struct {
		pair    pki.Pair
		refresh time.Time
	}
	var proxies [3]holder
	signers := map[string]bool{}
	for ; clk.now.Before(start.Add(2 * 365 * day)); clk.now = clk.now.Add(11 * time.Hour) {
		var changed bool
		roster, changed = advance(t, roster, clk.now)
		a.Set(roster)
		for i := range proxies {
			h := &proxies[i]
			// What is told of a change arrives at each proxy at another time, but within the time for that.
			if changed {
				h.refresh = clk.now.Add(time.Duration(i) * 10 * time.Hour)
			}
			if h.pair.Key == nil || !clk.now.Before(h.pair.Renew) || !h.refresh.IsZero() && !clk.now.Before(h.refresh) {
				p, err := a.Issue("ns/gw")
				if err != nil {
					t.Fatal(err)
				}
				h.pair, h.refresh = p, time.Time{}
				signers[leaf(t, p).Issuer.String()] = true
			}
		}
		server, err := a.Issue("server")
		if err != nil {
			t.Fatal(err)
		}
		for i, h := range proxies {
			if !verifies(t, server, h.pair.CA, clk.now) {
				t.Fatalf("after %s proxy %d does not trust the server", clk.now.Sub(start), i)
			}
			if !verifies(t, h.pair, roster.Bundle(), clk.now) {
				t.Fatalf("after %s the server does not trust proxy %d", clk.now.Sub(start), i)
			}
		}
		if n := len(certificates(t, roster.Bundle())); n > 2 {
			t.Fatalf("after %s there are %d authorities", clk.now.Sub(start), n)
		}
	}
	if len(signers) < 4 {
		t.Errorf("in 2 years %d authorities have signed, want 4 or more", len(signers))
	}
}

func TestAdopt(t *testing.T) {
	other, _ := advance(t, newRoster(t), start.Add(-100*day))
	data, err := other.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(data), "-----BEGIN PRIVATE")
	certificate, key := data[:at], data[at:]

	clk := &clock{start}
	a := pki.NewAuthority(clk.read)
	roster, _ := advance(t, newRoster(t), start.Add(-day))
	a.Set(roster)
	before, err := a.Issue("ns/gw")
	if err != nil {
		t.Fatal(err)
	}
	roster, changed, err := roster.Adopt(certificate, key, start)
	if err != nil || !changed {
		t.Fatal(changed, err)
	}
	a.Set(roster)
	still, err := a.Issue("ns/gw")
	if err != nil {
		t.Fatal(err)
	}
	if leaf(t, still).Issuer.String() != leaf(t, before).Issuer.String() {
		t.Error("an old CA that has only just been adopted signs before anyone has heard of it")
	}
	if n := len(certificates(t, still.CA)); n != 2 {
		t.Errorf("%d CAs are trusted, want both", n)
	}
	clk.now = start.Add(25 * time.Hour)
	after, err := a.Issue("ns/gw")
	if err != nil {
		t.Fatal(err)
	}
	if leaf(t, after).Issuer.String() == leaf(t, before).Issuer.String() {
		t.Error("it does not sign though everybody has heard of it")
	}
	if _, changed, err = roster.Adopt(certificate, key, clk.now); changed || err != nil {
		t.Errorf("adopting it again changes the list: %v %v", changed, err)
	}
	own, err := roster.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	wrong := map[string][2][]byte{
		"no CA":           {before.Certificate, before.Key},
		"another's key":   {certificate, before.Key},
		"nothing":         {nil, nil},
		"no key":          {certificate, nil},
		"several in one":  {certificate, append(key, own...)},
		"garbage for key": {certificate, []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")},
	}
	for name, w := range wrong {
		if _, changed, err := roster.Adopt(w[0], w[1], clk.now); err == nil || changed {
			t.Errorf("%s: adopted", name)
		}
	}
	if _, _, err := roster.Adopt(certificate, key, start.Add(4*365*day)); err == nil {
		t.Error("an expired CA is adopted")
	}
}

// connect makes a TLS connection of a server and a client, and sends a byte each way.
func connect(t *testing.T, server, client *tls.Config) (net.Conn, net.Conn, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	type accepted struct {
		conn net.Conn
		err  error
	}
	done := make(chan accepted, 1)
	go func() {
		raw, err := l.Accept()
		if err != nil {
			done <- accepted{nil, err}
			return
		}
		conn := tls.Server(raw, server)
		err = conn.Handshake()
		if err != nil {
			_ = conn.Close()
		}
		done <- accepted{conn, err}
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, client)
	t.Cleanup(func() { _ = conn.Close() })
	err = conn.Handshake()
	s := <-done
	if s.conn != nil {
		t.Cleanup(func() { _ = s.conn.Close() })
	}
	if err = errors.Join(err, s.err); err != nil {
		return nil, nil, err
	}
	return s.conn, conn, echo(s.conn, conn)
}

func echo(server, client net.Conn) error {
	if _, err := client.Write([]byte{1}); err != nil {
		return err
	}
	_, err := io.ReadFull(server, make([]byte, 1))
	return err
}

func clientConfig(t *testing.T, p pki.Pair) *tls.Config {
	t.Helper()
	cert, err := tls.X509KeyPair(p.Certificate, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}}
}

func TestA46ServerRefuses(t *testing.T) {
	a, stranger := pki.NewAuthority(time.Now), pki.NewAuthority(time.Now)
	empty := pki.NewAuthority(time.Now)
	now := time.Now()
	for _, x := range []*pki.Authority{a, stranger} {
		roster, _ := advance(t, newRoster(t), now)
		x.Set(roster)
	}
	issue := func(x *pki.Authority) *tls.Config {
		p, err := x.Issue("ns/gw")
		if err != nil {
			t.Fatal(err)
		}
		return clientConfig(t, p)
	}
	old := issue(a)
	old.MaxVersion = tls.VersionTLS12
	late := pki.NewAuthority(func() time.Time { return now.Add(-91 * day) })
	roster, _ := advance(t, newRoster(t), now.Add(-91*day))
	late.Set(roster)
	expired := issue(late)
	late.Set(roster)
	both := pki.NewAuthority(time.Now)
	both.Set(roster)
	cases := []struct {
		name   string
		server *pki.Authority
		client *tls.Config
		ok     bool
	}{
		{"a proxy", a, issue(a), true},
		{"no certificate", a, &tls.Config{InsecureSkipVerify: true}, false},
		{"the certificate of another CA", a, issue(stranger), false},
		{"TLS 1.2", a, old, false},
		{"an expired certificate", both, expired, false},
		{"before there is a CA", empty, issue(a), false},
		{"a replica", a, a.ClientConfig(), true},
		{"a replica at a stranger's", stranger, a.ClientConfig(), false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			server, _, err := connect(t, c.server.ServerConfig(), c.client)
			if (err == nil) != c.ok {
				t.Fatalf("the connection: %v", err)
			}
			if !c.ok {
				return
			}
			state := server.(*tls.Conn).ConnectionState()
			id, err := pki.Identity(state)
			if err != nil || id != pki.ProxyID("ns/gw") && id != pki.ControlPlane {
				t.Errorf("the client is %q (%v)", id, err)
			}
		})
	}
}

// A proxy's certificate is no server's: a replica does not take it for another replica.
func TestA46ReplicaKnowsReplicas(t *testing.T) {
	a := pki.NewAuthority(time.Now)
	roster, _ := advance(t, newRoster(t), time.Now())
	a.Set(roster)
	p, err := a.Issue("ns/gw")
	if err != nil {
		t.Fatal(err)
	}
	impostor := clientConfig(t, p)
	if _, _, err := connect(t, impostor, a.ClientConfig()); err == nil {
		t.Error("a replica talks to a proxy that plays the server")
	}
}

// The authority rotates under a client that stays connected, and that finds a way in after it.
func TestRotationKeepsConnections(t *testing.T) {
	clk := &clock{time.Now()}
	term := pki.Term{CA: 3 * time.Hour, Settle: time.Minute, Leaf: time.Hour}
	roster, err := pki.ParseRoster(nil, term)
	if err != nil {
		t.Fatal(err)
	}
	if roster, _, err = roster.Advance(clk.now); err != nil {
		t.Fatal(err)
	}
	a := pki.NewAuthority(clk.read)
	a.Set(roster)
	pair, err := a.Issue("ns/gw")
	if err != nil {
		t.Fatal(err)
	}
	server, client, err := connect(t, a.ServerConfig(), clientConfig(t, pair))
	if err != nil {
		t.Fatal(err)
	}
	issuers := map[string]bool{}
	for range 9 {
		clk.now = clk.now.Add(30 * time.Minute)
		if roster, _, err = roster.Advance(clk.now); err != nil {
			t.Fatal(err)
		}
		a.Set(roster)
		if err := echo(server, client); err != nil {
			t.Fatalf("the open connection: %v", err)
		}
		// The proxy's Secret is renewed as the pair says.
		if !clk.now.Before(pair.Renew) {
			if pair, err = a.Issue("ns/gw"); err != nil {
				t.Fatal(err)
			}
		}
		_, fresh, err := connect(t, a.ServerConfig(), clientConfig(t, pair))
		if err != nil {
			t.Fatalf("a new connection: %v", err)
		}
		issuers[fresh.(*tls.Conn).ConnectionState().PeerCertificates[0].Issuer.String()] = true
	}
	if len(issuers) < 3 {
		t.Errorf("the server's certificate had %d issuers, want at least 3", len(issuers))
	}
}

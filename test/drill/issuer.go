package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// issuerDrills are those of who issues tokens.
var issuerDrills = []drill{
	{id: "F35", fault: "the issuer of tokens is down, hangs, is slow, and answers garbage: its keys, and its description",
		promise: "keys that are known are used; without them 401, and 500 until its description is there, never 200; " +
			"0 requests of others fail; all is well within 10 s of its return",
		run: issuerFails},
}

// issuer serves keys to verify tokens with at /keys, and describes itself as an OpenID Connect provider.
type issuer struct {
	key     *rsa.PrivateKey
	garbage atomic.Bool
}

func encodeURL(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// ServeHTTP answers with keys and a description, or with nothing that anybody could read.
func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if i.garbage.Load() {
		_, _ = w.Write([]byte("\x00{\"keys\": [{\"kty\": 7}], \"issuer\"")) // the client may be gone
		return
	}
	base := "https://" + r.Host
	_ = json.NewEncoder(w).Encode(map[string]any{ // the client may be gone
		"issuer": base, "authorization_endpoint": base + "/authorize", "token_endpoint": base + "/token",
		"keys": []any{map[string]string{
			"kty": "RSA", "alg": "RS256", "kid": "a", "n": encodeURL(i.key.N.Bytes()),
			"e": encodeURL(big.NewInt(int64(i.key.E)).Bytes()),
		}},
	})
}

// token is a request header with a token that holds for an hour.
func (i *issuer) token() (map[string]string, error) {
	claims := fmt.Sprintf(`{"iss":"https://issuer.example","sub":"alice","exp":%d}`, time.Now().Add(time.Hour).Unix())
	text := encodeURL([]byte(`{"alg":"RS256","kid":"a"}`)) + "." + encodeURL([]byte(claims))
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, sum[:])
	return map[string]string{"authorization": "Bearer " + text + "." + encodeURL(signature)}, err
}

// verified is a route for tokens whose keys are fetched from the issuer.
func verified(name string) string {
	return policed("SecurityPolicy", name, "jwt: {providers: [{name: a, issuer: https://issuer.example, remoteJWKS: {"+
		"uri: http://issuer.example/keys, backendRefs: ["+ref("issuer")+"], "+
		"backendSettings: {timeout: {http: {requestTimeout: 1s}}}}}]}")
}

// loggedIn is a route for users that log in at the issuer, of which nothing is known but its address.
func loggedIn(name string, port int) string {
	return policed("SecurityPolicy", name, fmt.Sprintf(
		`oidc: {provider: {issuer: "https://localhost:%d"}, clientID: a, clientSecret: {name: client}}`, port))
}

func issuerFails(ctx context.Context, f *field) (string, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", err
	}
	i := &issuer{key: key}
	token, err := i.token()
	if err != nil {
		return "", err
	}
	keys, err := f.serve(i)
	if err != nil {
		return "", err
	}
	description, ca, err := f.serveTLS(i)
	if err != nil {
		return "", err
	}
	in, err := f.trusting(ctx, ca, map[string]string{
		"issuer.yaml": backend("issuer", keys.port), "cached.yaml": verified("cached"),
		"client.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: client}\nstringData: {client-secret: hush}\n",
		"plain.yaml":  route("plain", "plain.example", to("one")),
	})
	if err != nil {
		return "", err
	}
	if _, err := in.becomes(ctx, "cached.example", token, 200); err != nil {
		return "", err
	}
	stop := in.load(float64(f.size(300, 1000)), "plain.example")
	w := &issuerOutage{in: in, keys: keys, description: description, issuer: i, token: token, length: f.outageLength()}
	for at, o := range append(outages(2*time.Second), outage{passing, 0}) {
		if err := w.suffer(ctx, fmt.Sprintf("new-%d", at), o); err != nil {
			return "", err
		}
	}
	return w.judge(unharmed(stop(), 200))
}

// issuerOutage is what was seen while an issuer had faults.
type issuerOutage struct {
	in                *instance
	keys, description *pipe
	issuer            *issuer
	token             map[string]string
	length            time.Duration
	// cached and fresh are the answers where keys were known and where they were not, users those of who logs in.
	cached, fresh, users tally
	healed               time.Duration
}

// suffer has the issuer fail while somebody needs it for the first time. Passing everything on, it answers garbage.
func (w *issuerOutage) suffer(ctx context.Context, name string, o outage) error {
	in := w.in
	w.issuer.garbage.Store(o.fault == passing)
	err := w.keys.during(ctx, o, func(ctx context.Context) error {
		return w.description.during(ctx, o, func(ctx context.Context) error {
			// Before routes change: Envoy knows no keys any more once they have.
			if err := w.ask(ctx, "cached", &w.cached); err != nil {
				return err
			}
			if err := in.write(name+".yaml", verified(name)+"---\n"+loggedIn(name+"-user", w.description.port)); err != nil {
				return err
			}
			for _, host := range []string{name, name + "-user"} {
				if err := in.served(ctx, host+".example"); err != nil {
					return err
				}
			}
			return errors.Join(w.ask(ctx, name, &w.fresh), w.ask(ctx, name+"-user", &w.users))
		})
	})
	w.issuer.garbage.Store(false)
	if err != nil {
		return err
	}
	took, err := in.becomes(ctx, name+".example", w.token, 200)
	if err != nil {
		return err
	}
	login, err := in.becomes(ctx, name+"-user.example", nil, 302)
	if err == nil {
		_, err = in.becomes(ctx, "cached.example", w.token, 200)
	}
	w.healed = max(w.healed, took+login)
	return err
}

// serveTLS serves over TLS until the drill ends, behind a pipe, and returns the certificate to trust.
func (f *field) serveTLS(handler http.Handler) (*pipe, []byte, error) {
	cert, key, err := newCertificate("localhost", 1, true)
	if err != nil {
		return nil, nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, nil, err
	}
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	f.cleanup(server.Close)
	p, err := f.pipe(server.Listener.Addr().(*net.TCPAddr).Port)
	return p, cert, err
}

// trusting runs an instance that trusts nobody but a certificate.
func (f *field) trusting(ctx context.Context, ca []byte, files map[string]string) (*instance, error) {
	in, err := f.prepareInstance()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(in.root, "ca.pem")
	if err := os.WriteFile(path, ca, 0o600); err != nil {
		return nil, err
	}
	in.wrapper = []string{"env", "SSL_CERT_FILE=" + path}
	for name, content := range files {
		if err := in.write(name, content); err != nil {
			return nil, err
		}
	}
	return in, in.run(ctx)
}

// served waits until a host is no longer answered with 404.
func (in *instance) served(ctx context.Context, host string) error {
	return eventually(ctx, patience, func() error {
		status, err := in.get(host, "/")
		if err == nil && status == 404 {
			err = fmt.Errorf("%s is not served yet", host)
		}
		return err
	})
}

// ask sends requests with a token to a route while the issuer fails.
func (w *issuerOutage) ask(ctx context.Context, name string, to *tally) error {
	got, err := w.in.asked(ctx, w.length, name+".example", w.token)
	*to = to.add(got)
	return err
}

func (w *issuerOutage) judge(others error) (string, error) {
	seen := fmt.Sprintf("with known keys: %v; without: %v; to log in: %v; well within %v", w.cached, w.fresh, w.users,
		w.healed.Round(time.Millisecond))
	switch {
	case w.cached.other(200) > 0:
		return seen, broken("keys that were known were not used")
	case w.fresh.other(401) > 0:
		return seen, broken("without keys the answer was not 401")
	case w.users.other(500, 302) > 0:
		return seen, broken("somebody who had not logged in got another answer")
	case w.healed > 10*time.Second:
		return seen, broken("it took %v to be well again", w.healed)
	}
	return seen, others
}

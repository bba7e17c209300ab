package e2e

import (
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// TestOIDCDiscovery asks a provider itself where its endpoints are. While it does not say, nobody gets in; once it
// does, logins begin.
func TestOIDCDiscovery(t *testing.T) {
	t.Parallel()
	trusted := newAuthority(t)
	p := newProvider(signers(t)["ES256"])
	var describes atomic.Bool
	server := httptest.NewUnstartedServer(nil)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{*trusted.certificate(t, "localhost")}}
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	issuer := "https://localhost:" + port
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/.well-known/openid-configuration":
			p.ServeHTTP(w, r)
		case !describes.Load():
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		default:
			_ = json.NewEncoder(w).Encode(map[string]string{ // the client may be gone
				"issuer": issuer, "authorization_endpoint": issuer + "/authorize", "token_endpoint": issuer + "/token",
			})
		}
	})
	server.StartTLS()
	t.Cleanup(server.Close)
	in := prepare(t, files{
		"gateway.yaml": httpsGateway([3]string{"https", "", "{name: cert}"}) + trusted.secret(t, "cert", "", "*.example"),
		"client.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: client}\nstringData: {client-secret: \"" +
			clientSecret + "\"}\n",
		"backends.yaml": backendsYAML,
		"routes.yaml": guardedRoute("shop", `
  oidc: {provider: {issuer: "`+issuer+`"}, clientID: shop, clientSecret: {name: client}}`)})
	path := filepath.Join(in.root, "ca.pem")
	if err := os.WriteFile(path, []byte(bundleText(trusted)), 0o600); err != nil {
		t.Fatal(err)
	}
	in.env = []string{"SSL_CERT_FILE=" + path}
	in.run()
	in.waitReady()
	in.condition(t, conditionWant{
		kind: "SecurityPolicy", name: "default/shop", condition: "Accepted=False/Invalid", message: "cannot be fetched",
	})
	// The browser finds the provider at its own name.
	b := in.browse(t, "localhost", server.Listener.Addr())
	if a := b.click("https://shop.example/"); a.status != 500 {
		t.Errorf("while nothing is known of the provider: %s", brief(a))
	}
	describes.Store(true)
	eventually(t, func() error {
		if to := b.click("https://shop.example/").header.Get("location"); !strings.HasPrefix(to, issuer+"/authorize?") {
			return errLocation(to)
		}
		return nil
	})
	b.want("https://shop.example/cart?x=1")
	if refused := p.complaints(); len(refused) > 0 {
		t.Errorf("the provider refused %q", refused)
	}
}

// errLocation is where a login should not begin.
type errLocation string

func (e errLocation) Error() string { return "sent to " + string(e) }

package e2e

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// TestA30OriginsOfCORS answers preflights before anybody is asked for credentials, for pages of the origins that the
// policy or, before it, the rule allows. (Case A30.)
func TestA30OriginsOfCORS(t *testing.T) {
	t.Parallel()
	const cors = `
  cors:
    allowOrigins: ["https://app.example", "https://*.team.example"]
    allowMethods: [GET, PUT]
    allowHeaders: [x-token]
    exposeHeaders: [x-total]
    maxAge: 10m
    allowCredentials: true`
	const key = `
  apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-api-key]}]}`
	in := start(t, files{"keys.yaml": `
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {alice: alices-key}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: gateway}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
  cors: {allowOrigins: ["https://gateway.example"], allowMethods: ["*"]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: plain}
spec:
  parentRefs: [{name: gw}]
  hostnames: [plain.example]
  rules: [{backendRefs: [{${one}}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: own}
spec:
  parentRefs: [{name: gw}]
  hostnames: [own.example]
  rules:
  - filters: [{type: CORS, cors: {allowOrigins: ["https://rule.example"]}}]
    backendRefs: [{${one}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: put}
spec:
  parentRefs: [{name: gw}]
  hostnames: [put.example]
  rules: [{matches: [{method: PUT}], backendRefs: [{${one}}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: put}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: put}]
  ` + cors, "routes.yaml": guardedRoute("shop", cors+key) + guardedRoute("none", key)})
	preflight := func(host, origin string) request {
		return request{host: host + ".example", method: "OPTIONS", header: []string{
			"origin: " + origin, "access-control-request-method: PUT",
		}}
	}
	ask := func(host string, header ...string) request { return request{host: host + ".example", header: header} }
	allowed := func(origin string) expect {
		return expect{header: []string{"access-control-allow-origin: " + origin}}
	}
	unsaid := allowed("")
	no := expect{status: 401, header: unsaid.header}
	runChecks(t, in, map[string]check{
		"preflight": {preflight("shop", "https://app.example"), expect{header: []string{
			"access-control-allow-origin: https://app.example", "access-control-allow-methods: GET, PUT",
			"access-control-allow-headers: x-token", "access-control-max-age: 600",
			"access-control-allow-credentials: true", "vary: Origin",
		}}},
		"subdomain":      {preflight("shop", "https://a.team.example"), allowed("https://a.team.example")},
		"suffix":         {preflight("shop", "https://evil-app.example"), unsaid},
		"dot is a dot":   {preflight("shop", "https://a.teamXexample"), unsaid},
		"longer":         {preflight("shop", "https://app.example.evil.test"), unsaid},
		"scheme":         {preflight("shop", "http://app.example"), unsaid},
		"no credentials": {ask("shop", "origin: https://app.example"), expect{status: 401}},
		"request": {ask("shop", "origin: https://app.example", "x-api-key: alices-key"), expect{
			backend: "one", header: []string{
				"access-control-allow-origin: https://app.example", "access-control-expose-headers: x-total", "vary: Origin",
			}}},
		"request of another": {ask("shop", "origin: https://evil.example", "x-api-key: alices-key"), unsaid},
		"for one method":     {preflight("put", "https://app.example"), allowed("https://app.example")},
		"of the Gateway":     {preflight("plain", "https://gateway.example"), allowed("https://gateway.example")},
		"not of the Gateway": {preflight("plain", "https://app.example"), unsaid},
		"of the rule":        {preflight("own", "https://rule.example"), allowed("https://rule.example")},
		"rule replaces it":   {preflight("own", "https://gateway.example"), unsaid},
		// The route's policy takes the place of the Gateway's, with all that it does not say.
		"replaced by nothing": {preflight("none", "https://gateway.example"), no},
	})
}

// TestA30OriginsOfCSRF refuses what pages of other sites send. (Case A30.)
func TestA30OriginsOfCSRF(t *testing.T) {
	t.Parallel()
	in := start(t, files{"routes.yaml": guardedRoute("shop", `
  csrf: {additionalOrigins: ["https://app.example", "https://*.team.example"]}`) +
		guardedRoute("trial", `
  csrf: {shadowFraction: {numerator: 100}}`)})
	send := func(host, method string, header ...string) request {
		return request{host: host + ".example", method: method, header: header}
	}
	yes, no := expect{backend: "one"}, expect{status: 403}
	runChecks(t, in, map[string]check{
		"read":         {send("shop", "GET", "origin: https://evil.example"), yes},
		"own page":     {send("shop", "POST", "origin: https://shop.example"), yes},
		"friend":       {send("shop", "PUT", "origin: https://app.example"), yes},
		"friends":      {send("shop", "DELETE", "origin: https://a.team.example"), yes},
		"another page": {send("shop", "POST", "origin: https://evil.example"), no},
		"suffix":       {send("shop", "PUT", "origin: https://evil-app.example"), no},
		"longer":       {send("shop", "PATCH", "origin: https://app.example.evil.test"), no},
		"dot is a dot": {send("shop", "DELETE", "origin: https://a.teamXexample"), no},
		"sandbox":      {send("shop", "POST", "origin: null"), no},
		"nothing":      {send("shop", "POST"), no},
		"trial":        {send("trial", "POST", "origin: https://evil.example"), yes},
	})
}

// TestServerByURL fetches keys from servers that no Backend names: over TLS only from those that the system's
// authorities vouch for.
func TestServerByURL(t *testing.T) {
	t.Parallel()
	all := signers(t)
	trusted, stranger := newAuthority(t), newAuthority(t)
	serve := func(by *authority, host string) string {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(keySet(all))) // the client may be gone
		}))
		server.TLS = &tls.Config{Certificates: []tls.Certificate{*by.certificate(t, host)}}
		server.StartTLS()
		t.Cleanup(server.Close)
		_, port, err := net.SplitHostPort(server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return "https://localhost:" + port + "/keys"
	}
	remote := func(host, uri string) string {
		return guardedRoute(host, `
  jwt: {providers: [{name: issuer, remoteJWKS: {uri: "`+uri+`"}}]}`)
	}
	in := prepare(t, files{"routes.yaml": remote("good", serve(trusted, "localhost")) +
		remote("stranger", serve(stranger, "localhost")) + remote("misnamed", serve(trusted, "other.example")) +
		remote("address", "https://127.0.0.1:${SPARE}/keys")})
	path := filepath.Join(in.root, "ca.pem")
	if err := os.WriteFile(path, []byte(bundleText(trusted)), 0o600); err != nil {
		t.Fatal(err)
	}
	in.env = []string{"SSL_CERT_FILE=" + path}
	in.run()
	in.waitReady()
	token := all["ES256"].token(claimsOf(nil))
	ask := func(host string) request { return request{host: host + ".example", header: []string{token}} }
	in.want(t, ask("good"), expect{backend: "one"})
	runChecks(t, in, map[string]check{
		"without a token": {request{host: "good.example"}, expect{status: 401}},
		"not trusted":     {ask("stranger"), expect{status: 401}},
		"another name":    {ask("misnamed"), expect{status: 401}},
		"no name":         {ask("address"), expect{status: 500}},
	})
	in.condition(t, conditionWant{
		kind: "SecurityPolicy", name: "default/address", condition: "Accepted=False/Invalid", message: "has no name",
	})
}

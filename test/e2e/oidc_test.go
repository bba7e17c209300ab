package e2e

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
)

// loginAs is the oidc of a policy for a client of the provider at the Backend issuer.
func loginAs(client, more string) string {
	return `
  oidc:
    provider:
      issuer: https://issuer.example
      authorizationEndpoint: http://issuer.example/authorize
      tokenEndpoint: http://issuer.example/token
      endSessionEndpoint: http://issuer.example/end
      backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: issuer}]
    clientID: ` + client + `
    clientSecret: {name: client}` + more
}

// startOIDC runs a gateway with the routes, and a provider that it can ask.
func startOIDC(t *testing.T, routes string) (*instance, *provider, *browser) {
	t.Helper()
	p := newProvider(signers(t)["ES256"])
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	in := start(t, files{
		"gateway.yaml": httpsGateway([3]string{"https", "", "{name: cert}"}) +
			newAuthority(t).secret(t, "cert", "", "*.example"),
		"backends.yaml": backendsYAML + localBackend("issuer", server.Listener.Addr(), ""),
		"client.yaml": `
apiVersion: v1
kind: Secret
metadata: {name: client}
stringData: {client-secret: "` + clientSecret + `"}
`, "routes.yaml": routes})
	return in, p, in.browse(t, "issuer.example", server.Listener.Addr())
}

// withoutEnd leaves out the endpoint that ends sessions at the provider, for which the ID token is kept.
func withoutEnd(oidc string) string {
	return strings.Replace(oidc, "      endSessionEndpoint: http://issuer.example/end\n", "", 1)
}

// logIn gets a session from the policy of shop.example, and looks at what is kept of it.
func logIn(t *testing.T, b *browser) {
	t.Helper()
	first := b.click("https://shop.example/cart?x=1")
	to := first.header.Get("location")
	if first.status != 302 || !strings.HasPrefix(to, "http://issuer.example/authorize?") {
		t.Fatalf("without a session: %s", brief(first))
	}
	for _, line := range first.header.Values("set-cookie") {
		if !strings.Contains(line, "secure;HttpOnly") || !strings.Contains(line, "path=/oauth2/callback") {
			t.Errorf("a login sets the cookie %s", line)
		}
	}
	b.want("https://shop.example/cart?x=1")
	if again := b.click("https://shop.example/other"); again.status != 200 || again.echo.Path != "/other" {
		t.Errorf("with a session: %s", brief(again))
	}
	for name := range b.cookies("https://shop.example/") {
		if strings.HasPrefix(name, "AccessToken") || strings.HasPrefix(name, "IdToken") {
			t.Errorf("a token that nobody asked for is in the cookie %s", name)
		}
	}
}

// TestOIDC logs in, is forwarded, refreshed and logged out as browsers are.
func TestOIDC(t *testing.T) {
	t.Parallel()
	in, p, b := startOIDC(t, guardedRoute("shop", withoutEnd(loginAs("shop", "")))+
		guardedRoute("tokens", loginAs("tokens", `
    forwardAccessToken: true
    forwardIDToken: {header: x-id-token}`))+
		guardedRoute("short", loginAs("short", "\n    forwardAccessToken: true"))+
		guardedRoute("large", withoutEnd(loginAs("large", "")))+
		guardedRoute("strict", loginAs("strict", `
    cookieConfig: {sameSite: Lax}
    cookieNames: {idToken: who}
    redirectURL: https://strict.example/back
    logoutPath: /bye
    denyRedirect: {headers: [{name: x-requested-with, value: XMLHttpRequest}]}`)))
	p.mu.Lock()
	p.lifetime["short"], p.padding["large"] = 1, 6000
	p.mu.Unlock()

	t.Run("login", func(t *testing.T) { logIn(t, b) })
	t.Run("tokens are forwarded", func(t *testing.T) {
		b.want("https://tokens.example/")
		a := b.click("https://tokens.example/", "x-id-token: forged", "authorization: Bearer forged")
		token := a.echo.Headers.Get("x-id-token")
		if a.echo.Headers.Get("authorization") != "Bearer access-tokens" || strings.Count(token, ".") != 2 {
			t.Errorf("the backend received %v", a.echo.Headers)
		}
	})
	t.Run("refresh", func(t *testing.T) {
		b.want("https://short.example/")
		eventually(t, func() error {
			if a := b.click("https://short.example/"); a.status != 200 ||
				a.echo.Headers.Get("authorization") != "Bearer access-short" {
				t.Fatalf("while tokens expire: %s", brief(a))
			}
			if p.refreshes() < 2 {
				return fmt.Errorf("refreshed %d times", p.refreshes())
			}
			return nil
		})
	})
	t.Run("large tokens", func(t *testing.T) { b.want("https://large.example/") })
	t.Run("logout", func(t *testing.T) {
		b.want("https://strict.example/")
		if b.cookies("https://strict.example/")["who"] == "" {
			t.Error("there is no cookie of the name of the policy")
		}
		a, where := b.visit("https://strict.example/bye")
		if !strings.HasPrefix(where, "http://issuer.example/end?") || !strings.HasPrefix(a.body, "bye ey") {
			t.Errorf("logout ends at %s with %s", where, brief(a))
		}
		if a := b.click("https://strict.example/"); a.status != 302 {
			t.Errorf("after the logout: %s", brief(a))
		}
		if a := b.click("https://strict.example/", "x-requested-with: XMLHttpRequest"); a.status != 401 {
			t.Errorf("a request of a script: %s", brief(a))
		}
	})
	t.Run("two tabs", func(t *testing.T) {
		other := b.another(t)
		one := other.click("https://shop.example/one").header.Get("location")
		two := other.click("https://shop.example/two").header.Get("location")
		for login, want := range map[string]string{one: "https://shop.example/one", two: "https://shop.example/two"} {
			if a, where := other.visit(login); a.status != 200 || where != want {
				t.Errorf("a tab of %s ends at %s with %s", want, where, brief(a))
			}
		}
	})
	t.Run("after a restart", func(t *testing.T) {
		in.end(in.process)
		in.run()
		in.waitReady()
		if a := b.click("https://shop.example/"); a.status != 200 {
			t.Errorf("the session is over: %s", brief(a))
		}
	})
	if refused := p.complaints(); len(refused) > 0 {
		t.Errorf("the provider refused %q", refused)
	}
}

// roomRoute is an HTTPRoute for a path of the host rooms.example, and a SecurityPolicy for it.
func roomRoute(name, client string) string {
	route := guardedRoute(name, loginAs(client, `
    redirectURL: https://rooms.example/`+name+`/back
    logoutPath: /`+name+`/bye`))
	return strings.NewReplacer("["+name+".example]", "[rooms.example]",
		"[{backendRefs", "[{matches: [{path: {value: /"+name+"}}], backendRefs").Replace(route)
}

// TestA29LoginsOfOthers tries to get in without a login: with codes and cookies of others, past the provider, and while
// it is away.
func TestA29LoginsOfOthers(t *testing.T) {
	t.Parallel()
	keys := signers(t)
	in, p, b := startOIDC(t, roomRoute("red", "red")+roomRoute("blue", "blue")+
		guardedRoute("shop", loginAs("shop", "\n    refreshToken: false"))+
		guardedRoute("away", strings.Replace(loginAs("away", ""), "name: issuer}", "name: down}", 1))+
		guardedRoute("missing", strings.Replace(loginAs("missing", ""), "{name: client}", "{name: nowhere}", 1))+
		guardedRoute("nobody", strings.Replace(loginAs("nobody", ""), "name: issuer}", "name: nowhere}", 1))+
		guardedRoute("api", loginAs("api", "\n    passThroughAuthHeader: true")+"\n  jwt:\n    optional: true"+
			jwtProvider(keySet(keys), ""))+localBackend("down", nil, ""))
	p.mu.Lock()
	p.lifetime["shop"] = 2
	p.mu.Unlock()

	t.Run("code of another", func(t *testing.T) {
		login := b.click("https://rooms.example/red/x").header.Get("location")
		back := b.click(login).header.Get("location")
		if a := b.another(t).click(back); a.status != 401 {
			t.Errorf("with the code of another browser: %s", brief(a))
		}
		if a := b.click(back); a.status != 302 || a.header.Get("location") != "https://rooms.example/red/x" {
			t.Errorf("with the own code: %s", brief(a))
		}
		if a := b.click("https://rooms.example/red/back?code=x&state=y"); a.status != 401 {
			t.Errorf("with a state that nobody made: %s", brief(a))
		}
	})
	t.Run("session of another policy", func(t *testing.T) {
		b.want("https://rooms.example/red/x")
		visitor := b.another(t)
		first := visitor.click("https://rooms.example/blue/x")
		_, suffix, _ := strings.Cut(first.header.Get("set-cookie"), "-")
		suffix, _, _ = strings.Cut(suffix, ".")
		var stolen []string
		for name, value := range b.cookies("https://rooms.example/") {
			kind, _, _ := strings.Cut(name, "-")
			stolen = append(stolen, kind+"-"+suffix+"="+value)
		}
		if len(stolen) < 3 || len(suffix) < 8 {
			t.Fatalf("there is no session to steal: %q", stolen)
		}
		if a := visitor.click("https://rooms.example/blue/x", "cookie: "+strings.Join(stolen, "; ")); a.status != 302 {
			t.Errorf("with the cookies of the other room: %s", brief(a))
		}
		b.want("https://rooms.example/blue/x")
	})
	t.Run("token passes", func(t *testing.T) {
		good, bad := keys["ES256"].token(claimsOf(nil)), keys["none"].token(claimsOf(nil))
		for header, want := range map[string]int{good: 200, bad: 401, "authorization: Basic YTpi": 302} {
			if a := b.click("https://api.example/", header); a.status != want {
				t.Errorf("%.30s: %s, want %d", header, brief(a), want)
			}
		}
	})
	t.Run("provider is away", func(t *testing.T) {
		a, where := b.visit("https://away.example/")
		if a.status < 400 || !strings.HasPrefix(where, "https://away.example/oauth2") {
			t.Errorf("the login ends at %s with %s", where, brief(a))
		}
		for _, host := range []string{"missing", "nobody"} {
			if a := b.click("https://" + host + ".example/"); a.status != 500 {
				t.Errorf("%s: %s, want 500", host, brief(a))
			}
		}
	})
	t.Run("session ends", func(t *testing.T) {
		b.want("https://shop.example/")
		eventually(t, func() error {
			if a := b.click("https://shop.example/"); a.status != 302 {
				return fmt.Errorf("it has not ended: %d", a.status)
			}
			return nil
		})
	})
	t.Run("session of another client", func(t *testing.T) {
		b.want("https://rooms.example/red/x")
		in.write("routes.yaml", roomRoute("red", "another"))
		eventually(t, func() error {
			if a := b.click("https://rooms.example/red/x"); a.status != 302 {
				return fmt.Errorf("it has not ended: %s", brief(a))
			}
			return nil
		})
	})
	for _, refused := range p.complaints() {
		if !strings.HasPrefix(refused, "refresh_token of ") { // which come with the sessions of others
			t.Errorf("the provider refused %q", refused)
		}
	}
}

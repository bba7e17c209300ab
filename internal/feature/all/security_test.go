package all

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
)

// corsHeaders are those that a preflight's answer can have, without the prefix they share.
var corsHeaders = []string{"origin", "methods", "headers", "credentials", "max-age"}

func corsScenarios() []scenario {
	full := &gwv1.HTTPCORSFilter{
		AllowOrigins: []gwv1.CORSOrigin{"https://www.foo.com", "https://*.bar.com"},
		AllowMethods: []gwv1.HTTPMethodWithWildcard{"GET", "OPTIONS"}, AllowHeaders: []gwv1.HTTPHeaderName{"x-1", "x-2"},
		ExposeHeaders: []gwv1.HTTPHeaderName{"x-3", "x-4"}, AllowCredentials: new(true), MaxAge: 3600,
	}
	wild := func(credentials bool) *gwv1.HTTPCORSFilter {
		return &gwv1.HTTPCORSFilter{
			AllowOrigins: []gwv1.CORSOrigin{"*"}, AllowMethods: []gwv1.HTTPMethodWithWildcard{"*"},
			AllowHeaders: []gwv1.HTTPHeaderName{"*"}, ExposeHeaders: []gwv1.HTTPHeaderName{"*"},
			AllowCredentials: &credentials,
		}
	}
	var out []scenario
	preflight := func(name string, spec *gwv1.HTTPCORSFilter, origin string, want ...string) {
		out = append(out, scenario{
			name: "cors/preflight " + name, attached: []model.Attached{attach("CORS", spec)},
			run: func(t *testing.T, g *gateway) {
				res := g.expect(t, request{method: "OPTIONS", header: map[string]string{
					"Origin": origin, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-1, x-9",
				}}, 200)
				if res.echo.Server != "" {
					t.Error("the preflight reached the backend")
				}
				// Envoy writes the other headers for origins that are not allowed too; browsers ignore them.
				if allowed := res.header.Get(corsName("origin")); want == nil && allowed != "" {
					t.Errorf("%s is allowed as %q", origin, allowed)
				} else if want == nil {
					return
				}
				got := []string{}
				for _, h := range corsHeaders {
					got = append(got, res.header.Get(corsName(h)))
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			},
		})
	}
	preflight("exact", full, "https://www.foo.com", "https://www.foo.com", "GET, OPTIONS", "x-1, x-2", "true", "3600")
	preflight("wildcard host", full, "https://a.b.bar.com",
		"https://a.b.bar.com", "GET, OPTIONS", "x-1, x-2", "true", "3600")
	preflight("other", full, "https://foobar.com")
	preflight("suffix", full, "https://www.foo.com.evil.com")
	preflight("wildcards", wild(false), "https://a.com:1234", "https://a.com:1234", "PUT", "x-1, x-9", "", "5")
	preflight("wildcards with credentials", wild(true), "https://a.com", "https://a.com", "PUT", "x-1, x-9", "true", "5")
	preflight("nobody", &gwv1.HTTPCORSFilter{}, "https://a.com")
	simple := func(name string, spec *gwv1.HTTPCORSFilter, origin, allow, credentials, expose string) {
		out = append(out, scenario{
			name: "cors/simple " + name, attached: []model.Attached{attach("CORS", spec)},
			run: func(t *testing.T, g *gateway) {
				res := g.expect(t, request{header: map[string]string{"Origin": origin}}, 200)
				got := []string{res.header.Get(corsName("origin")), res.header.Get(corsName("credentials")),
					res.header.Get("Access-Control-Expose-Headers"), res.header.Get("Vary"), res.echo.Server}
				if diff := cmp.Diff([]string{allow, credentials, expose, "Origin", "echo"}, got); diff != "" {
					t.Error(diff)
				}
			},
		})
	}
	simple("allowed", full, "https://x.bar.com", "https://x.bar.com", "true", "x-3, x-4")
	simple("other", full, "https://foobar.com", "", "", "")
	simple("wildcards", wild(false), "https://a.com", "https://a.com", "", "*")
	simple("wildcards with credentials", wild(true), "https://a.com", "https://a.com", "true", "")
	return append(out, corsBeforeAuth(full))
}

// corsBeforeAuth is a preflight, which has no credentials, to a rule that asks for them.
func corsBeforeAuth(spec *gwv1.HTTPCORSFilter) scenario {
	return scenario{
		name: "cors/before auth",
		attached: []model.Attached{
			attach("ExternalAuth", overHTTP(gwv1.HTTPAuthConfig{}), "auth-http"), attach("CORS", spec),
		},
		run: func(t *testing.T, g *gateway) {
			origin := map[string]string{"Origin": "https://www.foo.com", "Access-Control-Request-Method": "GET"}
			g.expect(t, request{method: "OPTIONS", header: origin}, 200)
			if got := g.expect(t, request{header: origin}, 401).header.Get(corsName("origin")); got != "https://www.foo.com" {
				t.Errorf("the page cannot read the refusal: origin %q", got)
			}
		},
	}
}

func corsName(h string) string {
	if h == "max-age" {
		return "Access-Control-Max-Age"
	}
	return "Access-Control-Allow-" + h
}

func overHTTP(config gwv1.HTTPAuthConfig) *gwv1.HTTPExternalAuthFilter {
	return &gwv1.HTTPExternalAuthFilter{
		ExternalAuthProtocol: gwv1.HTTPRouteExternalAuthHTTPProtocol, HTTPAuthConfig: &config,
	}
}

func overGRPC(headers ...string) *gwv1.HTTPExternalAuthFilter {
	return &gwv1.HTTPExternalAuthFilter{
		ExternalAuthProtocol: gwv1.HTTPRouteExternalAuthGRPCProtocol,
		GRPCAuthConfig:       &gwv1.GRPCAuthConfig{AllowedRequestHeaders: headers},
	}
}

// credentials pass the auth servers; the rest is what clients try.
var credentials = map[string]string{
	"Authorization": "ok", "X-User": "root", "X-Role": "admin", "Cookie": "a=b", "Content-Type": "text/plain",
}

func authScenarios() []scenario {
	with := func(name string, spec *gwv1.HTTPExternalAuthFilter, backend string, run func(*testing.T, *gateway)) scenario {
		return scenario{name: "auth/" + name, attached: []model.Attached{attach("ExternalAuth", spec, backend)}, run: run}
	}
	unavailable := func(t *testing.T, g *gateway) {
		g.expect(t, request{header: credentials}, 503)
	}
	listed := gwv1.HTTPAuthConfig{
		Path: "/check/", AllowedRequestHeaders: []string{"Cookie"}, AllowedResponseHeaders: []string{"X-User", "x-nothing"},
	}
	return []scenario{
		with("http", overHTTP(gwv1.HTTPAuthConfig{}), "auth-http", httpAuth),
		with("http with lists", overHTTP(listed), "auth-http", httpAuthLists),
		with("http broken", overHTTP(gwv1.HTTPAuthConfig{}), "auth-http", func(t *testing.T, g *gateway) {
			g.expect(t, request{path: "/broken", header: credentials}, 503)
			g.expect(t, request{path: "/odd", header: credentials}, 204) // "any other code" than 200 is a refusal
		}),
		with("http down", overHTTP(gwv1.HTTPAuthConfig{}), "down", unavailable),
		with("http unresolved", overHTTP(gwv1.HTTPAuthConfig{}), "", unavailable),
		with("http body", withBody(overHTTP(gwv1.HTTPAuthConfig{}), 10), "auth-http", authBody),
		with("grpc", overGRPC(), "auth-grpc", grpcAuthDecides),
		with("grpc with a list", overGRPC("Authorization"), "auth-grpc", grpcAuthList),
		with("grpc down", overGRPC(), "down-grpc", unavailable),
		with("grpc unresolved", overGRPC(), "", unavailable),
		with("grpc body", withBody(overGRPC(), 10), "auth-grpc", func(t *testing.T, g *gateway) {
			g.expect(t, request{method: "POST", body: strings.Repeat("x", 11), header: credentials}, 413)
			got := g.expect(t, request{method: "POST", body: "0123456789", header: credentials}, 200)
			if checked := g.up.lastCheck().GetAttributes().GetRequest().GetHttp(); checked.GetBody() != "0123456789" ||
				got.echo.Body != "0123456789" {
				t.Errorf("auth sees the body %q, the backend %q", checked.GetBody(), got.echo.Body)
			}
			g.expect(t, request{method: "POST", body: "\xff\xfe", header: credentials}, 200)
			if checked := g.up.lastCheck().GetAttributes().GetRequest().GetHttp(); checked.GetBody() != "!!" {
				t.Errorf("auth sees the body %q for what is not UTF-8, want !!", checked.GetBody())
			}
		}),
		with("redirect", overHTTP(gwv1.HTTPAuthConfig{}), "auth-http", func(t *testing.T, g *gateway) {
			g.expect(t, request{}, 401)
		}).plus(attach("RequestRedirect", &gwv1.HTTPRequestRedirectFilter{Hostname: new(gwv1.PreciseHostname("a.test"))})),
	}
}

func (s scenario) plus(a model.Attached) scenario {
	s.attached = append(s.attached, a)
	return s
}

func withBody(spec *gwv1.HTTPExternalAuthFilter, size int32) *gwv1.HTTPExternalAuthFilter {
	spec.ForwardBody = &gwv1.ForwardBodyConfig{MaxSize: size}
	return spec
}

// httpAuth is the default: the server sees only what it always sees, and all of its headers reach the backend but those
// that describe its answer.
func httpAuth(t *testing.T, g *gateway) {
	refused := g.expect(t, request{path: "/a"}, 401)
	if refused.header.Get("Www-Authenticate") != "Basic" || refused.header.Get("X-Reason") != "because" ||
		refused.body != "who are you" {
		t.Errorf("the client does not see the server's refusal: %v %q", refused.header, refused.body)
	}
	got := g.expect(t, request{method: "PUT", path: "/a?b=c", body: "12345", header: credentials}, 200).echo
	want := map[string][]string{
		"X-User": {"alice"}, "X-Reason": {"because"}, "X-Secret": {"internal"}, "Content-Type": {"text/plain"},
		"Content-Length": {"5"},
	}
	for name, value := range want {
		if diff := cmp.Diff(value, got.Header[name]); diff != "" {
			t.Errorf("the backend's %s:\n%s", name, diff)
		}
	}
	asked := g.up.lastAsked()
	if asked.Method != "PUT" || asked.Host != g.host || asked.RequestURI != "/a?b=c" || asked.ContentLength != 0 {
		t.Errorf("auth is asked %s %s%s with %d bytes", asked.Method, asked.Host, asked.RequestURI, asked.ContentLength)
	}
	if asked.Header.Get("Authorization") != "ok" || asked.Header.Get("Cookie") != "" || asked.Header.Get("X-User") != "" {
		t.Errorf("auth sees the headers %v", asked.Header)
	}
	if got.Body != "12345" {
		t.Errorf("the backend sees the body %q", got.Body)
	}
}

// httpAuthLists has a prefix and lists of headers; a client cannot bring a header of the answer.
func httpAuthLists(t *testing.T, g *gateway) {
	header := map[string]string{"X-Nothing": "forged"}
	for name, value := range credentials {
		header[name] = value
	}
	got := g.expect(t, request{path: "/a", header: header}, 200).echo.Header
	if got.Get("X-User") != "alice" || got.Get("X-Secret") != "" || got.Get("X-Nothing") != "" {
		t.Errorf("the backend sees the headers %v", got)
	}
	if got := g.expect(t, request{path: "/anonymous", header: header}, 200).echo.Header; got.Get("X-User") != "" {
		t.Errorf("a forged X-User %q reaches the backend", got.Get("X-User"))
	}
	if asked := g.up.lastAsked(); asked.RequestURI != "/check/anonymous" || asked.Header.Get("Cookie") != "a=b" ||
		asked.Header.Get("X-Role") != "" {
		t.Errorf("auth is asked %s with %v", asked.RequestURI, asked.Header)
	}
}

func authBody(t *testing.T, g *gateway) {
	g.expect(t, request{method: http.MethodPost, body: strings.Repeat("x", 11), header: credentials}, 413)
	got := g.expect(t, request{method: http.MethodPost, body: "0123456789", header: credentials}, 200).echo
	if got.Header.Get("X-Body-Size") != "10" || got.Body != "0123456789" {
		t.Errorf("auth sees %s bytes, the backend %q", got.Header.Get("X-Body-Size"), got.Body)
	}
}

func grpcAuthDecides(t *testing.T, g *gateway) {
	refused := g.expect(t, request{}, 403)
	if refused.header.Get("X-Reason") != "because" || refused.body != "denied" {
		t.Errorf("the client does not see the server's refusal: %v %q", refused.header, refused.body)
	}
	got := g.expect(t, request{method: http.MethodPost, body: "12345", header: credentials}, 200).echo
	if got.Header.Get("X-User") != "alice" || got.Header.Get("X-Role") != "" || got.Body != "12345" {
		t.Errorf("the backend sees the headers %v and the body %q", got.Header, got.Body)
	}
	if asked := g.up.lastCheck().GetAttributes().GetRequest().GetHttp(); asked.GetHeaders()["cookie"] != "a=b" ||
		asked.GetBody() != "" {
		t.Errorf("auth is asked %v", asked)
	}
}

func grpcAuthList(t *testing.T, g *gateway) {
	g.expect(t, request{header: credentials}, 200)
	if asked := g.up.lastCheck().GetAttributes().GetRequest().GetHttp().GetHeaders(); asked["authorization"] != "ok" ||
		asked["cookie"] != "" {
		t.Errorf("auth sees the headers %v", asked)
	}
}

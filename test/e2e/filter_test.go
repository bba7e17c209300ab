package e2e

import (
	"testing"
)

// ruleTest is one HTTPRoute for the host NAME.example, and what has to come of requests to it.
type ruleTest struct {
	name string
	// rules is the YAML of the route's rules.
	rules  string
	checks []check
}

// check is a request, whose host is filled in, and what is expected.
type check struct {
	request
	expect
}

// runRules serves all tests' routes at once and checks them one by one.
func runRules(t *testing.T, tests []ruleTest, more files) {
	t.Helper()
	f := files{}
	for name, content := range more {
		f[name] = content
	}
	for _, tt := range tests {
		f[tt.name+".yaml"] = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ` + tt.name + `}
spec:
  parentRefs: [{name: gw}]
  hostnames: [` + tt.name + `.example]
  rules:
` + tt.rules
	}
	in := start(t, f)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, c := range tt.checks {
				if c.request.host == "" {
					c.request.host = tt.name + ".example"
				}
				in.must(t, c.request, c.expect)
			}
		})
	}
}

func TestHeaderModifier(t *testing.T) {
	t.Parallel()
	runRules(t, []ruleTest{
		{
			name: "request-header",
			rules: `
  - filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set: [{name: X-Set, value: new}, {name: x-fresh, value: "a, b"}]
        add: [{name: x-add, value: more}]
        remove: [x-gone, X-Gone-Too]
    backendRefs: [{${one}}]
`,
			checks: []check{
				{request{header: []string{"x-set: old", "x-add: first", "x-gone: 1", "x-gone-too: 1", "x-kept: 1"}},
					expect{backend: "one", received: []string{
						"x-set: new", "x-fresh: a, b", "x-add: first, more", "x-gone:", "x-gone-too:", "x-kept: 1",
					}}},
				{request{}, expect{received: []string{"x-set: new", "x-add: more"}}},
			},
		},
		{
			name: "percent",
			rules: `
  - filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-p, value: "100% %REQ(:path)% %%"}]}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-p, value: "%PROTOCOL% 5%"}]}}
    backendRefs: [{${one}}]
`,
			// What a user wrote is a value, not a format of Envoy's.
			checks: []check{{request{}, expect{
				received: []string{"x-p: 100% %REQ(:path)% %%"}, header: []string{"x-p: %PROTOCOL% 5%"},
			}}},
		},
		{
			name: "response-header",
			rules: `
  - filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier:
        set: [{name: x-set, value: new}]
        add: [{name: x-add, value: more}]
        remove: [x-gone]
    backendRefs: [{${one}}]
`,
			checks: []check{{
				request{header: []string{
					"x-echo-set-header: x-set: old", "x-echo-set-header: x-add: first", "x-echo-set-header: x-gone: 1",
				}},
				expect{header: []string{"x-set: new", "x-add: first, more", "x-gone:"}},
			}},
		},
		{
			name: "backend-header",
			rules: `
  - matches: [{path: {value: /first}}]
    filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-rule, value: rule}]}}
    backendRefs:
    - {${one}, weight: 0}
    - {${two}, filters: [
        {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-backend, value: two}]}},
        {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-served, value: two}]}}]}
`,
			checks: []check{{request{path: "/first"}, expect{
				backend: "two", received: []string{"x-rule: rule", "x-backend: two"}, header: []string{"x-served: two"},
			}}},
		},
	}, nil)
}

func TestRedirect(t *testing.T) {
	t.Parallel()
	redirect := func(name, match, spec string, checks ...check) ruleTest {
		return ruleTest{name: name, checks: checks, rules: `
  - matches: [` + match + `]
    filters: [{type: RequestRedirect, requestRedirect: ` + spec + `}]
`}
	}
	to := func(path string, status int, location string) check {
		return check{request{path: path}, expect{status: status, header: []string{"location: " + location}}}
	}
	const any, shop = `{}`, `{path: {value: /shop}}`
	// The scheme's own port is left out where Envoy can: when the host is replaced. Else it is written, because clients of
	// a listener on another port send that in Host.
	runRules(t, []ruleTest{
		redirect("to-host", any, `{hostname: new.example}`, to("/a?b=c", 302, "http://new.example:${HTTP}/a?b=c")),
		redirect("to-https", any, `{scheme: https}`, to("/a", 302, "https://to-https.example:443/a")),
		redirect("to-https-host", any, `{scheme: https, hostname: a.example}`, to("/a", 302, "https://a.example/a")),
		redirect("to-port", any, `{port: 8443}`, to("/a", 302, "http://to-port.example:8443/a")),
		redirect("to-https-port", any, `{scheme: https, port: 8443}`,
			to("/a", 302, "https://to-https-port.example:8443/a")),
		redirect("to-http-80", any, `{port: 80}`, to("/a", 302, "http://to-http-80.example:80/a")),
		redirect("to-301", any, `{hostname: a.example, statusCode: 301}`, to("/", 301, "http://a.example:${HTTP}/")),
		redirect("to-303", any, `{hostname: a.example, statusCode: 303}`, to("/", 303, "http://a.example:${HTTP}/")),
		redirect("to-307", any, `{hostname: a.example, statusCode: 307}`, to("/", 307, "http://a.example:${HTTP}/")),
		redirect("to-308", any, `{hostname: a.example, statusCode: 308}`, to("/", 308, "http://a.example:${HTTP}/")),
		redirect("to-full", any, `{port: 80, path: {type: ReplaceFullPath, replaceFullPath: /new}}`,
			to("/a/b?c=d", 302, "http://to-full.example:80/new?c=d")),
		redirect("to-prefix", shop, `{port: 80, path: {type: ReplacePrefixMatch, replacePrefixMatch: /store}}`,
			to("/shop", 302, "http://to-prefix.example:80/store"),
			to("/shop/a?b=c", 302, "http://to-prefix.example:80/store/a?b=c"),
			to("/shop/", 302, "http://to-prefix.example:80/store/")),
		redirect("to-root", shop, `{port: 80, path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}`,
			to("/shop", 302, "http://to-root.example:80/"),
			to("/shop/a", 302, "http://to-root.example:80/a"),
			to("/shop?b=c", 302, "http://to-root.example:80/?b=c")),
	}, nil)
}

func TestRewrite(t *testing.T) {
	t.Parallel()
	rewrite := func(name, match, spec string, checks ...check) ruleTest {
		return ruleTest{name: name, checks: checks, rules: `
  - matches: [` + match + `]
    filters: [{type: URLRewrite, urlRewrite: ` + spec + `}]
    backendRefs: [{${one}}]
`}
	}
	to := func(path, host, want string) check {
		return check{request{path: path}, expect{backend: "one", host: host, path: want}}
	}
	const shop = `{path: {value: /shop}}`
	runRules(t, []ruleTest{
		rewrite("host", `{}`, `{hostname: inside.example}`, to("/a", "inside.example", "/a")),
		rewrite("full", shop, `{path: {type: ReplaceFullPath, replaceFullPath: /new}}`,
			to("/shop/a?b=c", "full.example", "/new")),
		rewrite("prefix", shop, `{path: {type: ReplacePrefixMatch, replacePrefixMatch: /store}}`,
			to("/shop", "", "/store"), to("/shop/a", "", "/store/a"), to("/shop/a/shop", "", "/store/a/shop")),
		rewrite("root", shop, `{path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}`,
			to("/shop", "", "/"), to("/shop/", "", "/"), to("/shop/a", "", "/a")),
		rewrite("trailing", `{path: {value: /shop/}}`, `{path: {type: ReplacePrefixMatch, replacePrefixMatch: /store/}}`,
			to("/shop/a", "", "/store/a")),
		rewrite("both", shop, `{hostname: in.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /v2}}`,
			to("/shop/a", "in.example", "/v2/a")),
		{name: "per-backend", rules: `
  - matches: [{path: {value: /shop}}]
    backendRefs:
    - {${one}, weight: 0}
    - {${two}, filters: [{type: URLRewrite,
        urlRewrite: {hostname: two.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /second}}}]}
`, checks: []check{{request{path: "/shop/a"}, expect{backend: "two", host: "two.example", path: "/second/a"}}}},
	}, nil)
}

// preflight is what a browser asks before a page of an origin may send a PUT request.
func preflight(origin string) request {
	return request{method: "OPTIONS", header: []string{"origin: " + origin, "access-control-request-method: PUT"}}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	const name, rule = "cors", `
  - filters:
    - type: CORS
      cors:
        allowOrigins: ["https://app.example.com", "https://*.example.org"]
        allowMethods: [GET, PUT]
        allowHeaders: [x-one, x-two]
        exposeHeaders: [x-three]
        allowCredentials: true
        maxAge: 3600
    backendRefs: [{${one}}]
`
	allowed := []string{
		"access-control-allow-origin: https://app.example.com", "access-control-allow-credentials: true",
		"access-control-allow-methods: GET, PUT", "access-control-allow-headers: x-one, x-two",
		"access-control-max-age: 3600",
	}
	runRules(t, []ruleTest{
		{name: name, rules: rule, checks: []check{
			{preflight("https://app.example.com"), expect{status: 200, header: allowed}},
			{preflight("https://a.b.example.org"), expect{header: []string{
				"access-control-allow-origin: https://a.b.example.org",
			}}},
			{preflight("https://evil.example"), expect{header: []string{"access-control-allow-origin:"}}},
			{preflight("https://appXexample.com"), expect{header: []string{"access-control-allow-origin:"}}},
			{preflight("http://app.example.com"), expect{header: []string{"access-control-allow-origin:"}}},
			{request{header: []string{"origin: https://app.example.com"}}, expect{backend: "one", header: []string{
				"access-control-allow-origin: https://app.example.com", "access-control-expose-headers: x-three",
			}}},
			{request{header: []string{"origin: https://evil.example"}}, expect{backend: "one", header: []string{
				"access-control-allow-origin:",
			}}},
		}},
		{name: "no-cors", rules: `
  - backendRefs: [{${one}}]
`, checks: []check{
			// Another route's CORS on the same listener must not answer for this one.
			{preflight("https://app.example.com"), expect{backend: "one", header: []string{"access-control-allow-origin:"}}},
		}},
	}, nil)
}

func TestExternalAuth(t *testing.T) {
	t.Parallel()
	rule := func(spec string) string {
		return `
  - matches: [{path: {value: /}}]
    filters: [{type: ExternalAuth, externalAuth: ` + spec + `}]
    backendRefs: [{${one}}]
  - matches: [{path: {value: /open}}]
    backendRefs: [{${one}}]
`
	}
	bearer := []string{"authorization: Bearer let-me-in", "x-extra: 1", "x-auth-user: forged"}
	checks := []check{
		{request{path: "/a"}, expect{status: 401}},
		{request{path: "/a", header: []string{"authorization: Bearer wrong"}}, expect{status: 401}},
		{request{path: "/a", header: bearer}, expect{backend: "one", path: "/a", received: []string{"x-auth-user: demo"}}},
		{request{path: "/open"}, expect{backend: "one"}},
	}
	runRules(t, []ruleTest{
		{"auth-http", rule(`{protocol: HTTP, backendRef: {${two}},
                  http: {path: /auth, allowedResponseHeaders: [x-auth-user]}}`), checks},
		{"auth-grpc", rule(`{protocol: GRPC, grpc: {},
                  backendRef: {group: gateway.envoyproxy.io, kind: Backend, name: authz}}`), checks},
		{"auth-down", rule(`{protocol: HTTP, http: {path: /auth},
                  backendRef: {group: gateway.envoyproxy.io, kind: Backend, name: down}}`), []check{
			// A security filter that cannot ask must not let anybody through.
			{request{path: "/a", header: bearer}, expect{status: 503}},
			{request{path: "/open"}, expect{backend: "one"}},
		}},
		{"auth-missing", rule(`{protocol: HTTP, http: {},
                  backendRef: {group: gateway.envoyproxy.io, kind: Backend, name: missing}}`), []check{
			{request{path: "/a", header: bearer}, expect{status: 500}},
			{request{path: "/open"}, expect{backend: "one"}},
		}},
	}, files{"auth.yaml": `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: authz}
spec:
  appProtocols: [gateway.envoyproxy.io/h2c]
  endpoints: [{ip: {address: 127.0.0.1, port: ${PORT_two}}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: down}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: ${SPARE}}}]}
`})
}

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// The tests here are named after the cases in docs/security.md.

// policyIn is a SecurityPolicy of a namespace.
func policyIn(namespace, name, spec string) string {
	return `
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: ` + name + `, namespace: ` + namespace + `}
spec:
` + spec
}

// TestA07PolicyOfAnotherNamespace has a policy name a Gateway and routes that are not its namespace's: it holds for
// none of them.
func TestA07PolicyOfAnotherNamespace(t *testing.T) {
	t.Parallel()
	const deny = `
  authorization: {defaultAction: Deny}`
	in := start(t, files{
		"route.yaml": route("open", "[open.example]", [2]string{"open", `[{path: {value: /}}]`}),
		"foreign.yaml": policyIn("foreign", "by-name", `
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]`+deny) +
			policyIn("foreign", "by-label", `
  targetSelectors: [{kind: HTTPRoute, namespaces: {from: All}}]`+deny),
	})
	in.must(t, request{host: "open.example"}, expect{header: []string{"x-rule: open"}})
	in.condition(t, conditionWant{
		kind: "HTTPRoute", name: "default/open", condition: "Accepted=True/Accepted",
	})
}

// TestA14ExactIsExact has names with dots compared with others that a regular expression of them would match.
func TestA14ExactIsExact(t *testing.T) {
	t.Parallel()
	in := start(t, files{"routes.yaml": guardedRoute("value", `
  authorization:
    rules: [{action: Allow, principal: {headers: [{name: x-account, values: [a.b@c.example]}]}}]`) +
		guardedRoute("denied", `
  authorization:
    defaultAction: Allow
    rules: [{action: Deny, principal: {headers: [{name: x-account, values: [a.b]}]}}]`) +
		guardedRoute("path", `
  authorization:
    defaultAction: Allow
    rules: [{action: Deny, cel: "true", operation: {path: {type: Exact, value: /a.b}}}]`)})
	yes, no := expect{backend: "one"}, expect{status: 403}
	ask := func(host, path string, header ...string) request {
		return request{host: host + ".example", path: path, header: header}
	}
	runChecks(t, in, map[string]check{
		"the value":    {ask("value", "/", "x-account: a.b@c.example"), yes},
		"another":      {ask("value", "/", "x-account: axb@cxexample"), no},
		"is denied":    {ask("denied", "/", "x-account: a.b"), no},
		"is let in":    {ask("denied", "/", "x-account: axb"), yes},
		"the path":     {ask("path", "/a.b"), no},
		"another path": {ask("path", "/axb"), yes},
	})
}

// TestA15RegexOfAnySize writes regular expressions that are too large, or that Envoy's engine does not have: they are
// refused where they stand, and Envoy never sees them.
func TestA15RegexOfAnySize(t *testing.T) {
	t.Parallel()
	matching := func(host, regex string) string {
		return guardedRoute(host, `
  authorization:
    rules: [{action: Allow, cel: "true", operation: {path: {type: RegularExpression, value: '`+regex+`'}}}]`)
	}
	in := start(t, files{"routes.yaml": matching("large", "/(.{1000}){1000}") + matching("ahead", "/(?=a)a") +
		matching("open", "/a+"), "good.yaml": route("good", "[good.example]", [2]string{"good", `[{path: {value: /}}]`})})
	runChecks(t, in, map[string]check{
		"large": {request{host: "large.example", path: "/a"}, expect{status: 500}},
		"ahead": {request{host: "ahead.example", path: "/a"}, expect{status: 500}},
		"fine":  {request{host: "open.example", path: "/aa"}, expect{backend: "one"}},
		"other": {request{host: "good.example"}, expect{header: []string{"x-rule: good"}}},
	})
	for _, name := range []string{"large", "ahead"} {
		in.condition(t, conditionWant{
			kind: "SecurityPolicy", name: "default/" + name, condition: "Accepted=False/Invalid",
			message: "spec.authorization.rules[0].operation.path",
		})
	}
}

// TestA19ForgedTokens brings tokens that nobody has signed for the gateway.
func TestA19ForgedTokens(t *testing.T) {
	t.Parallel()
	all := signers(t)
	in := start(t, files{"routes.yaml": guardedRoute("jwt", "  jwt:"+jwtProvider(keySet(all), `
      claimToHeaders: [{header: x-user, claim: sub}]`))})
	good := all["ES256"]
	// with signs a token whose header says something else.
	with := func(header map[string]any) string {
		text := part(header) + "." + part(claimsOf(nil))
		return "authorization: Bearer " + text + "." + encode(good.sign([]byte(text)))
	}
	signed, claims := good.token(claimsOf(nil)), part(claimsOf(nil))
	without := func(claim string) string {
		claims := claimsOf(nil)
		delete(claims, claim)
		return good.token(claims)
	}
	refused := map[string][]string{
		"key is a path":     {with(map[string]any{"alg": "ES256", "kid": "../../../../dev/null"})},
		"key is a query":    {with(map[string]any{"alg": "ES256", "kid": "x' UNION SELECT 'key"})},
		"key comes with it": {with(map[string]any{"alg": "ES256", "kid": "mine", "jwk": good.key})},
		"None":              {"authorization: Bearer " + part(map[string]any{"alg": "None"}) + "." + claims + "."},
		"no issuer":         {without("iss")},
		"no parts":          {"authorization: Bearer ..."},
		"large":             {"authorization: Bearer " + strings.Repeat("a", 40<<10) + "." + claims + ".a"},
		"forged first":      {all["none"].token(claimsOf(nil)), signed},
		"forged second":     {signed, all["none"].token(claimsOf(map[string]any{"sub": "root"}))},
	}
	for name, header := range refused {
		t.Run(name, func(t *testing.T) {
			a, err := in.send(t.Context(), request{host: "jwt.example", header: header})
			if err != nil {
				t.Fatal(err)
			}
			if a.status < 400 || a.status > 499 {
				t.Errorf("got %d from %q, want a refusal", a.status, a.echo.Name)
			}
		})
	}
	in.must(t, request{host: "jwt.example", header: []string{without("aud")}}, expect{status: 403})
	in.must(t, request{host: "jwt.example", header: []string{signed, "x-user: root"}},
		expect{backend: "one", received: []string{"x-user: alice"}})
}

// TestA20NoTokenHasNoClaims asks without a token where one is optional, but a claim is not.
func TestA20NoTokenHasNoClaims(t *testing.T) {
	t.Parallel()
	all := signers(t)
	in := start(t, files{"routes.yaml": guardedRoute("claim", "  jwt:\n    optional: true"+jwtProvider(keySet(all), "")+`
  authorization:
    rules: [{action: Allow, principal: {jwt: {provider: issuer, claims: [{name: sub, values: [alice, ""]}]}}}]`)})
	token := all["EdDSA"].token
	in.must(t, request{host: "claim.example"}, expect{status: 403})
	in.must(t, request{host: "claim.example", header: []string{token(claimsOf(nil))}}, expect{backend: "one"})
	bob := claimsOf(map[string]any{"sub": "bob"})
	in.must(t, request{host: "claim.example", header: []string{token(bob)}}, expect{status: 403})
}

// TestA21PolicyThatFailsCloses has policies that cannot be applied, each for another reason: their routes answer 500,
// and no other route does.
func TestA21PolicyThatFailsCloses(t *testing.T) {
	t.Parallel()
	specs := map[string]string{
		"secret-missing": "basicAuth: {users: {name: nowhere}}",
		"secret-foreign": "basicAuth: {users: {name: users, namespace: foreign}}",
		"keys-missing":   "apiKeyAuth: {credentialRefs: [{name: nowhere}], extractFrom: [{headers: [x-key]}]}",
		"no-keys":        `jwt: {providers: [{name: a, localJWKS: {inline: '{"keys":[]}'}}]}`,
		"no-provider":    "authorization: {rules: [{action: Allow, principal: {jwt: {provider: a, scopes: [b]}}}]}",
		"bad-cel":        `authorization: {rules: [{action: Allow, cel: "request.nonsense("}]}`,
	}
	var routes strings.Builder
	for name, spec := range specs {
		routes.WriteString(guardedRoute(name, "  "+spec))
	}
	in := start(t, files{"routes.yaml": routes.String(), "foreign.yaml": `
apiVersion: v1
kind: Secret
metadata: {name: users, namespace: foreign}
stringData: {.htpasswd: "alice:{SHA}piGucRdTwGb7+i3S1svNik60+fw="}
`, "good.yaml": route("good", "[good.example]", [2]string{"good", `[{path: {value: /}}]`})})
	for name := range specs {
		t.Run(name, func(t *testing.T) {
			in.must(t, request{host: name + ".example", header: []string{basic("alice", "open-sesame")}}, expect{status: 500})
			in.condition(t, conditionWant{
				kind: "SecurityPolicy", name: "default/" + name, condition: "Accepted=False/Invalid",
			})
		})
	}
	in.must(t, request{host: "good.example"}, expect{header: []string{"x-rule: good"}})
}

// TestA25HeaderWithSeveralValues sends a header twice, or a list in it, to rules that name one of the values.
func TestA25HeaderWithSeveralValues(t *testing.T) {
	t.Parallel()
	rule := func(host, action, other string) string {
		return guardedRoute(host, fmt.Sprintf(`
  authorization:
    defaultAction: %s
    rules: [{action: %s, principal: {headers: [{name: x-role, values: [admin]}]}}]`, other, action))
	}
	in := start(t, files{"routes.yaml": rule("deny", "Deny", "Allow") + rule("allow", "Allow", "Deny")})
	yes, no := expect{backend: "one"}, expect{status: 403}
	for name, tt := range map[string]struct {
		header      []string
		deny, allow expect
	}{
		"one":           {[]string{"x-role: admin"}, no, yes},
		"another":       {[]string{"x-role: user"}, yes, no},
		"upper case":    {[]string{"X-ROLE: admin"}, no, yes},
		"none":          {nil, yes, no},
		"empty":         {[]string{"x-role:"}, yes, no},
		"second":        {[]string{"x-role: user", "x-role: admin"}, no, no},
		"first":         {[]string{"x-role: admin", "x-role: user"}, no, no},
		"list":          {[]string{"x-role: user, admin"}, no, no},
		"list of one":   {[]string{"x-role: admin,"}, no, no},
		"part of other": {[]string{"x-role: administrator"}, yes, no},
	} {
		t.Run(name, func(t *testing.T) {
			in.must(t, request{host: "deny.example", header: tt.header}, tt.deny)
			in.must(t, request{host: "allow.example", header: tt.header}, tt.allow)
		})
	}
}

// TestA33RuleOfPathsEndsAtSegments asks for what a rule of a path is, in all spellings, and for what only begins so.
func TestA33RuleOfPathsEndsAtSegments(t *testing.T) {
	t.Parallel()
	in := start(t, files{"routes.yaml": guardedRoute("path", `
  authorization:
    defaultAction: Allow
    rules: [{action: Deny, cel: "true", operation: {path: {type: PathPrefix, value: /admin}}}]`)})
	for _, path := range []string{
		"/admin", "/admin/", "/admin?a", "/admin/x", "//admin", "/./admin", "/x/../admin", "/admin;a=b/x", "/admin/../admin",
		"/%61dmin", "/x/%2e%2e/admin", "/admin%2fx",
	} {
		t.Run(path, func(t *testing.T) {
			a, err := in.send(t.Context(), request{host: "path.example", path: path})
			if err != nil {
				t.Fatal(err)
			}
			if a.status == 200 {
				t.Errorf("it reaches the backend as %q", a.echo.Path)
			}
		})
	}
	for _, path := range []string{"/administrator", "/admi", "/x/admin", "/Admin", "/admin-x"} {
		in.must(t, request{host: "path.example", path: path}, expect{backend: "one"})
	}
}

package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// guardedRoute is an HTTPRoute for a host, and a SecurityPolicy for it.
func guardedRoute(name, spec string) string { return policedRoute("SecurityPolicy", name, spec) }

// runChecks sends each request once, in subtests.
func runChecks(t *testing.T, in *instance, checks map[string]check) {
	t.Helper()
	for name, c := range checks {
		t.Run(name, func(t *testing.T) { in.must(t, c.request, c.expect) })
	}
}

func basic(user, password string) string {
	return "authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// TestBasicAuth lets in who knows a password, and nobody while the file with the passwords cannot be used.
func TestBasicAuth(t *testing.T) {
	t.Parallel()
	secret := func(name, file string) string {
		return fmt.Sprintf(`
---
apiVersion: v1
kind: Secret
metadata: {name: %s}
stringData: {.htpasswd: %q}
`, name, file)
	}
	// The password is open-sesame.
	const alice = "alice:{SHA}piGucRdTwGb7+i3S1svNik60+fw="
	in := start(t, files{
		"users.yaml": secret("users", "# who may\r\n"+alice+"\r\n") + secret("weak", "alice:$apr1$x$y"),
		"routes.yaml": guardedRoute("basic", `
  basicAuth: {users: {name: users}, forwardUsernameHeader: x-user}`) +
			guardedRoute("weak", `
  basicAuth: {users: {name: weak}}`) +
			guardedRoute("missing", `
  basicAuth: {users: {name: nowhere}}`)})
	forged := "x-user: root"
	runChecks(t, in, map[string]check{
		"without": {request{host: "basic.example"}, expect{status: 401, header: []string{`www-authenticate: Basic ` +
			`realm="http://basic.example/"`}}},
		"wrong":    {request{host: "basic.example", header: []string{basic("alice", "wrong")}}, expect{status: 401}},
		"stranger": {request{host: "basic.example", header: []string{basic("bob", "open-sesame")}}, expect{status: 401}},
		"right": {request{host: "basic.example", header: []string{basic("alice", "open-sesame"), forged}},
			expect{backend: "one", received: []string{"x-user: alice"}}},
		"unusable hash":  {request{host: "weak.example", header: []string{basic("alice", "x")}}, expect{status: 500}},
		"missing Secret": {request{host: "missing.example", header: []string{basic("alice", "x")}}, expect{status: 500}},
	})
	in.condition(t, conditionWant{
		kind: "SecurityPolicy", name: "default/weak", condition: "Accepted=False/Invalid", message: "htpasswd -s",
	})
	// The next request counts with the passwords that hold by then.
	in.write("users.yaml", secret("users", "bob:{SHA}piGucRdTwGb7+i3S1svNik60+fw=")+secret("weak", alice))
	in.want(t, request{host: "basic.example", header: []string{basic("alice", "open-sesame")}}, expect{status: 401})
	in.want(t, request{host: "basic.example", header: []string{basic("bob", "open-sesame")}}, expect{backend: "one"})
	in.want(t, request{host: "weak.example", header: []string{basic("alice", "open-sesame")}}, expect{backend: "one"})
}

// TestAPIKeyAuth lets in who brings a key, wherever the policy looks for it.
func TestAPIKeyAuth(t *testing.T) {
	t.Parallel()
	in := start(t, files{"keys.yaml": `
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {alice: alices-key, bob: "bobs-key\n"}
`, "routes.yaml": guardedRoute("key", `
  apiKeyAuth:
    credentialRefs: [{name: keys}]
    extractFrom: [{headers: [x-api-key]}, {params: [key]}, {cookies: [key]}]
    forwardClientIDHeader: x-client
    sanitize: true`)})
	ask := func(path string, header ...string) request {
		return request{host: "key.example", path: path, header: header}
	}
	runChecks(t, in, map[string]check{
		"without":   {ask("/"), expect{status: 401}},
		"wrong":     {ask("/", "x-api-key: another"), expect{status: 401}},
		"by client": {ask("/", "x-api-key: alice"), expect{status: 401}},
		"header": {ask("/", "x-api-key: alices-key", "x-client: root"),
			expect{backend: "one", received: []string{"x-client: alice", "x-api-key:"}}},
		"parameter": {ask("/?key=bobs-key&a=b"),
			expect{backend: "one", received: []string{"x-client: bob"}, body: `"query":{"a":["b"]}`}},
		"cookie":      {ask("/", "cookie: key=alices-key"), expect{backend: "one", received: []string{"x-client: alice"}}},
		"first found": {ask("/?key=bobs-key", "x-api-key: another"), expect{status: 401}},
	})
}

// signer makes tokens of one kind.
type signer struct {
	alg  string
	key  map[string]any
	sign func(text []byte) []byte
}

// part is a part of a token.
func part(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return encode(text)
}

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// token returns the header of a request with a token of an issuer.
func (s signer) token(claims map[string]any) string {
	return "authorization: Bearer " + s.compact(claims)
}

func (s signer) compact(claims map[string]any) string {
	text := part(map[string]any{"alg": s.alg, "kid": s.alg}) + "." + part(claims)
	return text + "." + encode(s.sign([]byte(text)))
}

// signers returns one for each kind of key, for algorithms of today.
func signers(t *testing.T) map[string]signer {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := ecKey.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	must := func(signature []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}
	salt := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash} // RFC 7518, section 3.5
	digest := func(text []byte) []byte { sum := sha256.Sum256(text); return sum[:] }
	rsaPublic := func(alg string) map[string]any {
		return map[string]any{"kty": "RSA", "n": encode(rsaKey.N.Bytes()), "e": "AQAB", "alg": alg, "kid": alg}
	}
	return map[string]signer{
		"RS256": {"RS256", rsaPublic("RS256"), func(text []byte) []byte {
			return must(rsa.SignPKCS1v15(nil, rsaKey, crypto.SHA256, digest(text)))
		}},
		"PS256": {"PS256", rsaPublic("PS256"), func(text []byte) []byte {
			return must(rsa.SignPSS(rand.Reader, rsaKey, crypto.SHA256, digest(text), salt))
		}},
		"ES256": {"ES256", map[string]any{
			"kty": "EC", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:]), "kid": "ES256",
		}, func(text []byte) []byte {
			r, s, err := ecdsa.Sign(rand.Reader, ecKey, digest(text))
			return append(must(r.FillBytes(make([]byte, 32)), err), s.FillBytes(make([]byte, 32))...)
		}},
		"EdDSA": {"EdDSA", map[string]any{"kty": "OKP", "crv": "Ed25519", "x": encode(public), "kid": "EdDSA"},
			func(text []byte) []byte { return ed25519.Sign(private, text) }},
		// What is public of an RSA key is no secret: who signs with it must not be believed.
		"HS256": {"HS256", nil, func(text []byte) []byte {
			mac := hmac.New(sha256.New, rsaKey.N.Bytes())
			_, _ = mac.Write(text) // never fails
			return mac.Sum(nil)
		}},
		"none": {"none", nil, func([]byte) []byte { return nil }},
	}
}

// keySet returns the JSON Web Key Set of what can be verified.
func keySet(all map[string]signer) string {
	var keys []any
	for _, name := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		keys = append(keys, all[name].key)
	}
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// claimsOf returns the claims of a token that holds, and others.
func claimsOf(more map[string]any) map[string]any {
	out := map[string]any{
		"iss": "https://issuer.example", "sub": "alice", "aud": []string{"shop", "other"},
		"exp": time.Now().Add(time.Hour).Unix(),
	}
	for name, value := range more {
		out[name] = value
	}
	return out
}

// jwtProvider is a JWT provider with its keys in the policy.
func jwtProvider(keys, more string) string {
	return `
    providers:
    - name: issuer
      issuer: https://issuer.example
      audiences: [shop]
      localJWKS: {inline: '` + keys + `'}
` + more
}

// TestJWT lets in who has a token that an issuer has signed.
func TestJWT(t *testing.T) {
	t.Parallel()
	all := signers(t)
	keys := keySet(all)
	const headers = `
      claimToHeaders: [{header: x-user, claim: sub}, {header: x-country, claim: address.country}]`
	in := start(t, files{"keys.yaml": `
apiVersion: v1
kind: ConfigMap
metadata: {name: keys}
data: {jwks: '` + keys + `'}
`, "routes.yaml": guardedRoute("jwt", "  jwt:"+jwtProvider(keys, headers)) +
		guardedRoute("optional", "  jwt:\n    optional: true"+jwtProvider(keys, headers)) +
		guardedRoute("open", "  jwt:\n    failOpen: true"+jwtProvider(keys, headers)) +
		guardedRoute("elsewhere", "  jwt:"+jwtProvider(keys, `
      extractFrom: {headers: [{name: x-token, valuePrefix: "Token "}], cookies: [token], params: [token]}`)) +
		guardedRoute("referred", `
  jwt: {providers: [{name: a, localJWKS: {type: ValueRef, valueRef: {group: "", kind: ConfigMap, name: keys}}}]}`) +
		guardedRoute("broken", `
  jwt: {providers: [{name: a, localJWKS: {inline: '{"keys":[]}'}}]}`)})
	good := claimsOf(map[string]any{"address": map[string]any{"country": "de"}})
	signed := all["ES256"].token(good)
	compact := all["ES256"].compact(good)
	ask := func(host string, header ...string) request { return request{host: host + ".example", header: header} }
	checks := map[string]check{
		"without": {ask("jwt"), expect{status: 401}},
		"claims": {ask("jwt", signed, "x-user: root"),
			expect{backend: "one", received: []string{"x-user: alice", "x-country: de"}}},
		"unsigned":   {ask("jwt", all["none"].token(good)), expect{status: 401}},
		"confused":   {ask("jwt", all["HS256"].token(good)), expect{status: 401}},
		"tampered":   {ask("jwt", signed[:len(signed)-8]+"AAAAAAAA"), expect{status: 401}},
		"expired":    {ask("jwt", all["ES256"].token(claimsOf(map[string]any{"exp": 1}))), expect{status: 401}},
		"not yet":    {ask("jwt", all["ES256"].token(claimsOf(map[string]any{"nbf": 4102444800}))), expect{status: 401}},
		"issuer":     {ask("jwt", all["ES256"].token(claimsOf(map[string]any{"iss": "x"}))), expect{status: 401}},
		"audience":   {ask("jwt", all["ES256"].token(claimsOf(map[string]any{"aud": "x"}))), expect{status: 403}},
		"no place":   {request{host: "jwt.example", path: "/?token=" + compact}, expect{status: 401}},
		"referred":   {ask("referred", signed), expect{backend: "one"}},
		"referred 2": {ask("referred"), expect{status: 401}},
		"broken":     {ask("broken", signed), expect{status: 500}},
		// Without a token nobody can say who the client is, whatever it says itself.
		"optional, without": {ask("optional", "x-user: root"), expect{backend: "one", received: []string{"x-user:"}}},
		"optional, with":    {ask("optional", signed), expect{backend: "one", received: []string{"x-user: alice"}}},
		"optional, invalid": {ask("optional", all["none"].token(good)), expect{status: 401}},
		"open, invalid": {ask("open", all["none"].token(good), "x-user: root"),
			expect{backend: "one", received: []string{"x-user:"}}},
		"open, with":       {ask("open", signed), expect{backend: "one", received: []string{"x-user: alice"}}},
		"from a header":    {ask("elsewhere", "x-token: Token "+compact), expect{backend: "one"}},
		"from a cookie":    {ask("elsewhere", "cookie: token="+compact), expect{backend: "one"}},
		"from a parameter": {request{host: "elsewhere.example", path: "/?token=" + compact}, expect{backend: "one"}},
		"not from there":   {ask("elsewhere", signed), expect{status: 401}},
	}
	for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		checks[alg] = check{ask("jwt", all[alg].token(good)), expect{backend: "one"}}
	}
	runChecks(t, in, checks)
}

// TestRemoteJWKS fetches keys from a server: nobody is let in while it has none.
func TestRemoteJWKS(t *testing.T) {
	t.Parallel()
	all := signers(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/keys" || r.Host != "issuer.example" {
			http.Error(w, "not here", http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte(keySet(all))) // the client may be gone
	}))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	remote := func(host, uri, backend string) string {
		return guardedRoute(host, `
  jwt:
    providers:
    - name: issuer
      remoteJWKS:
        uri: `+uri+`
        backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: `+backend+`}]`)
	}
	in := start(t, files{"issuer.yaml": `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: issuer}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: ` + port + `}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: down}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: ${SPARE}}}]}
`, "routes.yaml": remote("remote", "http://issuer.example/keys", "issuer") +
		remote("other", "http://issuer.example/other", "issuer") + remote("down", "http://issuer.example/keys", "down") +
		remote("missing", "http://issuer.example/keys", "nowhere")})
	token := all["RS256"].token(claimsOf(nil))
	runChecks(t, in, map[string]check{
		"without": {request{host: "remote.example"}, expect{status: 401}},
		"with":    {request{host: "remote.example", header: []string{token}}, expect{backend: "one"}},
		"unsigned": {request{host: "remote.example", header: []string{all["none"].token(claimsOf(nil))}},
			expect{status: 401}},
		"no keys there":  {request{host: "other.example", header: []string{token}}, expect{status: 401}},
		"server is down": {request{host: "down.example", header: []string{token}}, expect{status: 401}},
		"no such server": {request{host: "missing.example", header: []string{token}}, expect{status: 500}},
	})
}

// authorizedRoutes are what TestAuthorization asks for.
func authorizedRoutes(keys string) string {
	jwt := "  jwt:\n    optional: true" + jwtProvider(keys, "")
	return guardedRoute("address", `
  authorization: {rules: [{action: Allow, principal: {clientCIDRs: [127.0.0.0/8]}}]}`) +
		guardedRoute("far", `
  authorization: {rules: [{action: Allow, principal: {clientCIDRs: [192.0.2.0/24, "2001:db8::/64"]}}]}`) +
		guardedRoute("nobody", `
  authorization: {}`) +
		guardedRoute("operation", `
  authorization:
    defaultAction: Allow
    rules:
    - {action: Allow, cel: "true", operation: {path: {value: /admin/open}}}
    - {action: Deny, cel: "true", operation: {path: {value: /admin}}}
    - {action: Deny, cel: "true", operation: {methods: [DELETE]}}
    - {action: Deny, cel: "true", operation: {path: {type: RegularExpression, value: "/x[0-9]+"}}}`) +
		guardedRoute("header", `
  authorization:
    rules:
    - action: Allow
      principal: {headers: [{name: x-team, values: [red, blue]}, {name: x-level, values: ["1"]}]}`) +
		guardedRoute("cel", `
  authorization:
    rules: [{action: Allow, cel: "request.headers['x-tenant'] == 'a' && request.path.startsWith('/a')"}]`) +
		guardedRoute("claim", jwt+`
  authorization:
    rules:
    - action: Deny
      principal: {jwt: {provider: issuer, claims: [{name: sub, values: [mallory]}]}}
    - action: Allow
      principal:
        jwt:
          provider: issuer
          scopes: [read, write]
          claims:
          - {name: address.country, values: [de, fr]}
          - {name: roles, valueType: StringArray, values: [admin]}`) +
		guardedRoute("unknown", jwt+`
  authorization: {rules: [{action: Allow, principal: {jwt: {provider: another, scopes: [read]}}}]}`)
}

// TestAuthorization decides by address, token, header, method, path and expression. The first rule that matches counts.
func TestAuthorization(t *testing.T) {
	t.Parallel()
	all := signers(t)
	in := start(t, files{"routes.yaml": authorizedRoutes(keySet(all))})
	ask := func(host, path string, header ...string) request {
		return request{host: host + ".example", path: path, header: header}
	}
	token := func(more map[string]any) string {
		claims := claimsOf(map[string]any{
			"scope": "read write", "roles": []string{"user", "admin"}, "address": map[string]any{"country": "fr"},
		})
		for name, value := range more {
			claims[name] = value
		}
		return all["ES256"].token(claims)
	}
	yes, no := expect{backend: "one"}, expect{status: 403}
	runChecks(t, in, map[string]check{
		"address":             {ask("address", "/"), yes},
		"another address":     {ask("far", "/"), no},
		"address is the peer": {ask("far", "/", "x-forwarded-for: 192.0.2.1"), no},
		"no rules":            {ask("nobody", "/"), no},
		"another path":        {ask("operation", "/administration"), yes},
		"path":                {ask("operation", "/admin"), no},
		"path with query":     {ask("operation", "/admin?x=/admin/open"), no},
		"path below":          {ask("operation", "/admin/users"), no},
		"path by detour":      {ask("operation", "/a/../admin"), no},
		"first rule":          {ask("operation", "/admin/open/x"), yes},
		"method":              {request{host: "operation.example", method: "DELETE"}, no},
		"regex":               {ask("operation", "/x12"), no},
		"regex with query":    {ask("operation", "/x12?a"), no},
		"regex is whole":      {ask("operation", "/x12/y"), yes},
		"header":              {ask("header", "/", "x-team: blue", "x-level: 1"), yes},
		"half of them":        {ask("header", "/", "x-team: blue"), no},
		"another value":       {ask("header", "/", "x-team: green", "x-level: 1"), no},
		"expression":          {ask("cel", "/a", "x-tenant: a"), yes},
		"expression is false": {ask("cel", "/b", "x-tenant: a"), no},
		"expression fails":    {ask("cel", "/a"), no},
		"claims":              {ask("claim", "/", token(nil)), yes},
		"scp":                 {ask("claim", "/", token(map[string]any{"scope": "", "scp": "write read"})), yes},
		"scope is missing":    {ask("claim", "/", token(map[string]any{"scope": "read"})), no},
		"claim":               {ask("claim", "/", token(map[string]any{"address": map[string]any{"country": "us"}})), no},
		"claim in list":       {ask("claim", "/", token(map[string]any{"roles": []string{"user"}})), no},
		"claim is denied":     {ask("claim", "/", token(map[string]any{"sub": "mallory"})), no},
		"no token":            {ask("claim", "/"), no},
		"no such provider":    {ask("unknown", "/", token(nil)), expect{status: 500}},
	})
}

package e2e

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// usersOf is a Secret with passwords.
func usersOf(name, file string) string {
	return `
---
apiVersion: v1
kind: Secret
metadata: {name: ` + name + `}
stringData:
  .htpasswd: "` + strings.ReplaceAll(file, "\n", `\n`) + `"
`
}

// raw sends a request as it is written, and returns the status and the body of the answer; 0 if the connection is
// closed without one.
func (in *instance) raw(t *testing.T, lines ...string) (status int, body []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", in.address("HTTP"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(strings.Join(lines, "\r\n") + "\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = res.Body.Close() }()
	if body, err = io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body
}

// TestA23NoWayAroundTheDoor asks a Gateway whose policy wants a password in every way that HTTP has, without one: by
// odd hosts, of another version, for an upgrade or a tunnel. None reaches a backend, a redirect or a direct response.
func TestA23NoWayAroundTheDoor(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"policy.yaml": usersOf("users", "alice:{SHA}piGucRdTwGb7+i3S1svNik60+fw=") + policyIn("default", "door", `
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
  basicAuth: {users: {name: users}}`),
		"routes.yaml": route("named", "[shop.example]", [2]string{"named", `[{path: {value: /}}]`}) + `
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: anybody}
spec:
  parentRefs: [{name: gw}]
  rules:
  - matches: [{path: {value: /redirect}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: elsewhere.example}}]
  - backendRefs: [{${one}}]
`})
	in.must(t, request{host: "shop.example", header: []string{basic("alice", "open-sesame")}},
		expect{header: []string{"x-rule: named"}})
	for name, lines := range map[string][]string{
		"plain":         {"GET / HTTP/1.1", "Host: shop.example"},
		"upper case":    {"GET / HTTP/1.1", "Host: SHOP.EXAMPLE"},
		"port":          {"GET / HTTP/1.1", "Host: shop.example:80"},
		"trailing dot":  {"GET / HTTP/1.1", "Host: shop.example."},
		"address":       {"GET / HTTP/1.1", "Host: 127.0.0.1"},
		"IPv6 address":  {"GET / HTTP/1.1", "Host: [::1]:80"},
		"absolute form": {"GET http://shop.example/ HTTP/1.1", "Host: other.example"},
		"no host":       {"GET / HTTP/1.0"},
		"two hosts":     {"GET / HTTP/1.1", "Host: shop.example", "Host: other.example"},
		"upgrade":       {"GET / HTTP/1.1", "Host: shop.example", "Connection: Upgrade", "Upgrade: websocket"},
		"h2c upgrade": {"GET / HTTP/1.1", "Host: shop.example", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
			"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"},
		"tunnel":  {"CONNECT shop.example:80 HTTP/1.1", "Host: shop.example:80"},
		"options": {"OPTIONS * HTTP/1.1", "Host: shop.example"},
		"preflight": {"OPTIONS / HTTP/1.1", "Host: shop.example", "Origin: https://a.example",
			"Access-Control-Request-Method: GET"},
		"unknown method": {"PURGE / HTTP/1.1", "Host: shop.example"},
		"redirect":       {"GET /redirect HTTP/1.1", "Host: any.example"},
		"says it has come": {"GET / HTTP/1.1", "Host: shop.example", "X-Envoy-Internal: true",
			"X-Forwarded-For: 127.0.0.1", "X-Envoy-Original-Path: /"},
		"empty password": {"GET / HTTP/1.1", "Host: shop.example", "Authorization: Basic"},
		"dropped header": {"GET / HTTP/1.1", "Host: shop.example", "Connection: Authorization"},
	} {
		t.Run(name, func(t *testing.T) {
			if status, _ := in.raw(t, append(lines, "Content-Length: 0")...); status > 0 && status < 400 {
				t.Errorf("it is answered with %d", status)
			}
		})
	}
	t.Run("HTTP/2", func(t *testing.T) {
		in.must(t, request{host: "shop.example", proto: "h2c"}, expect{status: 401})
	})
}

// TestA27PasswordFiles has files that Envoy would read otherwise than people: they are refused, and nobody gets in.
func TestA27PasswordFiles(t *testing.T) {
	t.Parallel()
	const alice = "alice:{SHA}piGucRdTwGb7+i3S1svNik60+fw="
	bad := map[string]string{
		"apr1": `alice:$apr1$q8qMqR3q$9mXo3rZ6`, "bcrypt": `alice:$2y$05$abcdefghijklmnopqrstuv`,
		"plain": "alice:open-sesame", "length": "alice:{SHA}piGucRdT", "twice": alice + "\n" + alice, "empty": "",
		"name": ":{SHA}piGucRdTwGb7+i3S1svNik60+fw=",
	}
	var text strings.Builder
	for name, file := range bad {
		text.WriteString(usersOf(name, file) + guardedRoute(name, `
  basicAuth: {users: {name: `+name+`}}`))
	}
	in := start(t, files{"bad.yaml": text.String(), "good.yaml": usersOf("good", alice) + guardedRoute("good", `
  basicAuth: {users: {name: good}, forwardUsernameHeader: x-user}`)})
	for name := range bad {
		t.Run(name, func(t *testing.T) {
			for _, header := range [][]string{nil, {basic("alice", "open-sesame")}, {basic("alice", "")}, {basic("", "")}} {
				in.must(t, request{host: name + ".example", header: header}, expect{status: 500})
			}
			in.condition(t, conditionWant{
				kind: "SecurityPolicy", name: "default/" + name, condition: "Accepted=False/Invalid", message: "basicAuth",
			})
		})
	}
	runChecks(t, in, map[string]check{
		"forged": {request{host: "good.example", header: []string{"x-user: root"}}, expect{status: 401}},
		"unknown": {request{host: "good.example", header: []string{basic("mallory", "open-sesame")}},
			expect{status: 401}},
		"whose it is": {request{host: "good.example", header: []string{basic("alice", "open-sesame"), "x-user: root"}},
			expect{backend: "one", received: []string{"x-user: alice"}}},
	})
}

// TestA28Keys has keys that cannot tell clients apart, and brings several at once.
func TestA28Keys(t *testing.T) {
	t.Parallel()
	secret := func(name, data string) string {
		return `
---
apiVersion: v1
kind: Secret
metadata: {name: ` + name + `}
stringData: {` + data + `}
`
	}
	const from = `], extractFrom: [{headers: [x-key]}, {params: [key]}], forwardClientIDHeader: x-client, sanitize: true}`
	in := start(t, files{"keys.yaml": secret("keys", "alice: one, bob: two") + secret("same", "alice: one, bob: one") +
		secret("blank", `alice: ""`) +
		guardedRoute("good", "  apiKeyAuth: {credentialRefs: [{name: keys}"+from) +
		guardedRoute("same", "  apiKeyAuth: {credentialRefs: [{name: same}"+from) +
		guardedRoute("blank", "  apiKeyAuth: {credentialRefs: [{name: blank}"+from)})
	ask := func(host, path string, header ...string) request {
		return request{host: host + ".example", path: path, header: header}
	}
	runChecks(t, in, map[string]check{
		"two clients with a key": {ask("same", "/", "x-key: one"), expect{status: 500}},
		"a key of nothing":       {ask("blank", "/", "x-key:"), expect{status: 500}},
		"nothing":                {ask("good", "/", "x-key:"), expect{status: 401}},
		"one of two": {ask("good", "/?key=two", "x-key: one", "x-client: root"),
			expect{backend: "one", received: []string{"x-client: alice", "x-key:"}}},
		"wrong before right": {ask("good", "/?key=two", "x-key: three"), expect{status: 401}},
		"twice":              {ask("good", "/", "x-key: three", "x-key: one"), expect{status: 401}},
		"part of it":         {ask("good", "/", "x-key: on"), expect{status: 401}},
	})
}

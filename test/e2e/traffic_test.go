package e2e

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRetry(t *testing.T) {
	t.Parallel()
	runRules(t, []ruleTest{
		{name: "retry", rules: `
  - retry: {attempts: 2, codes: [503], backoff: 1ms}
    backendRefs: [{${one}}]
`, checks: []check{
			{request{path: once("/retry/enough") + "?succeedAfter=2"}, expect{header: []string{"x-echo-attempt: 3"}}},
			{request{path: once("/retry/few") + "?succeedAfter=3"}, expect{status: 503, header: []string{"x-echo-attempt: 3"}}},
			{request{path: once("/retry/other") + "?succeedAfter=1&status=500"},
				expect{status: 500, header: []string{"x-echo-attempt: 1"}}},
		}},
		{name: "no-retry", rules: `
  - backendRefs: [{${one}}]
`, checks: []check{
			{request{path: once("/retry/none") + "?succeedAfter=1"}, expect{status: 503, header: []string{"x-echo-attempt: 1"}}},
		}},
	}, nil)
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	counted := once("/timeout/backend")
	runRules(t, []ruleTest{
		{name: "request", rules: `
  - timeouts: {request: 300ms}
    backendRefs: [{${one}}]
`, checks: []check{
			{request{path: "/?delay=5s"}, expect{status: 504}},
			{request{path: "/?delay=10ms"}, expect{backend: "one"}},
		}},
		{name: "backend-request", rules: `
  - timeouts: {request: 5s, backendRequest: 200ms}
    retry: {attempts: 1, codes: [504], backoff: 1ms}
    backendRefs: [{${one}}]
`, checks: []check{
			{request{path: counted + "?delay=2s"}, expect{status: 504}},
		}},
		{name: "unlimited", rules: `
  - timeouts: {request: 0s}
    backendRefs: [{${one}}]
`, checks: []check{
			{request{path: "/?delay=400ms"}, expect{backend: "one"}},
		}},
	}, nil)
	if got := shared.backends["one"].Received(counted); got != 2 {
		t.Errorf("the backend received %d requests, want 2: the timeout is that of each attempt", got)
	}
}

func TestMirror(t *testing.T) {
	t.Parallel()
	rule := func(name, filters string) string {
		return `
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ` + name + `}
spec:
  parentRefs: [{name: gw}]
  hostnames: [` + name + `.example]
  rules:
  - filters: [` + filters + `]
    backendRefs: [{${one}}]
`
	}
	const toTwo, toThree = `{type: RequestMirror, requestMirror: {backendRef: {${two}}}}`,
		`{type: RequestMirror, requestMirror: {backendRef: {${three}}}}`
	in := start(t, files{"routes.yaml": rule("once", toTwo) + rule("twice", toTwo+", "+toThree) +
		rule("percent", `{type: RequestMirror, requestMirror: {backendRef: {${two}}, percent: 25}}`) +
		rule("fraction", `{type: RequestMirror, requestMirror: {backendRef: {${three}},
                fraction: {numerator: 1, denominator: 2}}}`) +
		rule("never", `{type: RequestMirror, requestMirror: {backendRef: {${two}}, percent: 0}}`)})
	tests := []struct {
		host   string
		n      int
		mirror map[string]float64
	}{
		{"once", 20, map[string]float64{"two": 1, "three": 0}},
		{"twice", 20, map[string]float64{"two": 1, "three": 1}},
		{"percent", 1000, map[string]float64{"two": 0.25}},
		{"fraction", 1000, map[string]float64{"three": 0.5}},
		{"never", 50, map[string]float64{"two": 0}},
	}
	for _, tt := range tests {
		t.Run(tt.host, func(t *testing.T) {
			path := once("/mirror/" + tt.host)
			got := in.shares(t, request{host: tt.host + ".example", path: path}, tt.n)
			checkShares(t, got, tt.n, map[string]float64{"one": 1})
			for name, share := range tt.mirror {
				// Within 5.5 standard deviations, see TestWeight.
				mean := share * float64(tt.n)
				off := 5.5 * math.Sqrt(mean*(1-share))
				// Mirrored requests are on their way when the request is answered.
				eventually(t, func() error {
					if n := float64(shared.backends[name].Received(path)); math.Abs(n-mean) > off {
						return fmt.Errorf("%s received %v copies of %d requests, want about %v", name, n, tt.n, mean)
					}
					return nil
				})
			}
		})
	}
}

// TestSessionPersistence checks that a client stays with its endpoint, by cookie and by header, of one backend and of
// several weighted ones, and that clients without a session are spread. One is written as Envoy Gateway documents it.
func TestSessionPersistence(t *testing.T) {
	t.Parallel()
	const both = `[{group: gateway.envoyproxy.io, kind: Backend, name: both}]`
	const weighted = `[{group: gateway.envoyproxy.io, kind: Backend, name: one, weight: 5},
      {group: gateway.envoyproxy.io, kind: Backend, name: two, weight: 5}]`
	rule := func(name, persistence, backends string) string {
		return `
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ` + name + `}
spec:
  parentRefs: [{name: gw}]
  hostnames: [` + name + `.example]
  rules:
  - sessionPersistence: ` + persistence + `
    backendRefs: ` + backends + `
`
	}
	in := start(t, files{
		"both.yaml": `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: both}
spec:
  endpoints:
  - ip: {address: 127.0.0.1, port: ${PORT_one}}
  - ip: {address: 127.0.0.1, port: ${PORT_two}}
`,
		"routes.yaml": rule("cookie", `{type: Cookie, cookie: {name: session}}`, both) +
			rule("lasting", `{type: Cookie, cookie: {name: session, lifetimeType: Permanent}, absoluteTimeout: 1h}`, both) +
			rule("header", `{type: Header, header: {name: x-session}}`, both) +
			rule("older", `{sessionName: Session-A, type: Header, absoluteTimeout: 10s}`, both) +
			rule("split", `{type: Cookie, cookie: {name: session}}`, weighted),
	})
	for _, name := range []string{"cookie", "lasting", "header", "older", "split"} {
		t.Run(name, func(t *testing.T) {
			seen := map[string]int{}
			for range 20 {
				first, session := in.newSession(t, name)
				seen[first]++
				for range 5 {
					in.must(t, request{host: name + ".example", header: []string{session}}, expect{backend: first})
				}
			}
			if seen["one"] == 0 || seen["two"] == 0 {
				t.Errorf("new clients went to %v, want both backends", seen)
			}
		})
	}
}

// newSession sends a request without a session, and returns who answered and the header that keeps the session.
func (in *instance) newSession(t *testing.T, name string) (backend, header string) {
	t.Helper()
	a, err := in.send(t.Context(), request{host: name + ".example"})
	if err != nil {
		t.Fatal(err)
	}
	if header := map[string]string{"header": "x-session", "older": "Session-A"}[name]; header != "" {
		return a.echo.Name, header + ": " + a.header.Get(header)
	}
	cookies := (&http.Response{Header: a.header}).Cookies()
	if len(cookies) != 1 || cookies[0].Name != "session" {
		t.Fatalf("got cookies %v, want one named session", a.header.Values("set-cookie"))
	}
	wantAge := 0
	if name == "lasting" {
		wantAge = int(time.Hour / time.Second)
	}
	if cookies[0].MaxAge != wantAge {
		t.Errorf("got cookie %s, want a max-age of %d", cookies[0], wantAge)
	}
	return a.echo.Name, "cookie: " + strings.SplitN(cookies[0].String(), ";", 2)[0]
}

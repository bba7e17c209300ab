package e2e

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestResponseOverride puts pages and redirects in the place of responses: by status, by header, and by whether they
// come from the backend or from Envoy.
func TestResponseOverride(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"routes.yaml": hostRoute("pages", `[{backendRefs: [{${one}}]}]`) +
			hostRoute("local", `[{backendRefs: [{${one}}], matches: [{path: {value: /status}}]},
    {backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: down}]}]`) + fmt.Sprintf(`
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: down}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %d}}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: sorry}
data: {response.body: "Sorry."}
`, freePort(t)),
		"policies.yaml": trafficPolicy("pages", "pages", `  responseOverride:
    - match: {statusCodes: [{type: Value, value: 404}]}
      response:
        contentType: text/html
        statusCode: 410
        body: {type: Inline, inline: "<p>No %REQ(:path)%, 100%"}
        header: {set: [{name: x-page, value: "50%"}]}
    - match: {statusCodes: [{type: Range, range: {start: 500, end: 503}}, {type: Value, value: 507}]}
      response: {body: {type: ValueRef, valueRef: {group: "", kind: ConfigMap, name: sorry}}}
    - match: {statusCodes: [{type: Value, value: 401}]}
      redirect:
        {scheme: https, hostname: login.example, path: {type: ReplaceFullPath, replaceFullPath: "/in?why=100%"}}
    - match: {statusCodes: [{type: Value, value: 403}]}
      redirect: {path: {type: ReplaceFullPath, replaceFullPath: /no}, statusCode: 301}
    - match: {statusCodes: [{type: Value, value: 405}]}
      redirect: {hostname: other.example}
    - match: {responseHeaders: [{name: Content-Type, value: {type: Suffix, value: /json}}]}
      response: {statusCode: 406, body: {type: Inline, inline: no JSON}}
`) + trafficPolicy("local", "local", `  responseOverride:
    - match: {statusCodes: [{type: Value, value: 503}]}
      source: Local
      response: {body: {type: Inline, inline: nobody is here}}
    - match: {statusCodes: [{type: Value, value: 404}]}
      source: Backend
      response: {body: {type: Inline, inline: gone}}
`),
	})
	for path, want := range map[string]expect{
		"/status/404": {status: 410, body: "<p>No /status/404, 100%",
			header: []string{"content-type: text/html", "x-page: 50%"}},
		"/status/501": {status: 501, body: "Sorry."},
		"/status/507": {status: 507, body: "Sorry."},
		"/status/401": {status: 302, header: []string{"location: https://login.example/in?why=100%"}},
		"/status/403": {status: 301, header: []string{"location: /no"}},
		"/status/405": {status: 302, header: []string{"location: http://other.example:${HTTP}/status/405"}},
		"/status/504": {status: 406, body: "no JSON"},
	} {
		in.must(t, request{host: "pages.example", path: path}, want)
	}
	local := request{host: "local.example"}
	in.must(t, local, expect{status: 503, body: "nobody is here"})
	local.path = "/status/503"
	in.must(t, local, expect{status: 503, backend: "one"})
	local.path = "/status/404"
	in.must(t, local, expect{status: 404, body: "gone"})
}

// TestCompression compresses what is long enough, for clients that accept it, and keeps backends from doing it. The
// policy is that of the Gateway; one of a route takes its place.
func TestCompression(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"routes.yaml": hostRoute("all", `[{backendRefs: [{${one}}]}]`) + hostRoute("long", `[{backendRefs: [{${one}}]}]`),
		"policies.yaml": `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: all}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
  compressor: [{type: Zstd}, {type: Brotli}, {type: Gzip}]
` + trafficPolicy("long", "long", "  compressor: [{type: Gzip, gzip: {}, minContentLength: 100k}]\n"),
	})
	with := func(host, encodings string) request {
		return request{host: host + ".example", header: []string{"Accept-Encoding: " + encodings}}
	}
	for encodings, want := range map[string]string{
		"br": "br", "gzip": "gzip", "gzip, br, zstd": "zstd", "gzip;q=1, zstd;q=0.5": "gzip", "deflate": "", "": "",
	} {
		in.must(t, with("all", encodings), expect{header: []string{"content-encoding: " + want}})
	}
	a, err := in.send(t.Context(), with("all", "gzip"))
	if err != nil {
		t.Fatal(err)
	}
	unzip, err := gzip.NewReader(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(unzip)
	if err != nil || !strings.Contains(string(body), `"name":"one"`) {
		t.Errorf("%v, the body is %q", err, body)
	}
	if strings.Contains(string(body), "Accept-Encoding") {
		t.Errorf("the backend is asked to compress: %s", body)
	}
	in.must(t, with("long", "gzip"), expect{backend: "one", header: []string{"content-encoding:"}})
	big := with("long", "gzip")
	big.method, big.body = http.MethodPost, strings.Repeat("a", 200_000)
	in.must(t, big, expect{header: []string{"content-encoding: gzip"}})
}

// TestFault delays and aborts requests as a policy says, and as many of them.
func TestFault(t *testing.T) {
	t.Parallel()
	routes, policies := "", ""
	for name, fault := range map[string]string{
		"abort": "{abort: {httpStatus: 418}}",
		"never": "{abort: {httpStatus: 418, percentage: 0}, delay: {fixedDelay: 10s, percentage: 0}}",
		"half":  "{abort: {httpStatus: 418, percentage: 50}}",
		"delay": "{delay: {fixedDelay: 700ms}}",
		"grpc":  "{abort: {grpcStatus: 8}}",
	} {
		routes += hostRoute(name, `[{backendRefs: [{${one}}]}]`)
		policies += trafficPolicy(name, name, "  faultInjection: "+fault+"\n")
	}
	in := start(t, files{"routes.yaml": routes, "policies.yaml": policies})
	in.must(t, request{host: "abort.example"}, expect{status: 418})
	in.must(t, request{host: "never.example"}, expect{backend: "one"})
	in.must(t, request{host: "grpc.example", header: []string{"content-type: application/grpc"}, proto: "h2c"},
		expect{header: []string{"grpc-status: 8"}})
	begun := time.Now()
	in.must(t, request{host: "delay.example"}, expect{backend: "one"})
	if took := time.Since(begun); took < 650*time.Millisecond { // Envoy's timers can be a little early
		t.Errorf("a delayed request took %v, want 700ms", took)
	}
	got := map[int]int{}
	for range 64 { // That all are treated alike happens once in 10^18 times.
		a, err := in.send(t.Context(), request{host: "half.example"})
		if err != nil {
			t.Fatal(err)
		}
		got[a.status]++
	}
	if got[200] == 0 || got[418] == 0 || len(got) != 2 {
		t.Errorf("statuses %v, want some 200 and some 418", got)
	}
}

// TestA41RequestBuffer refuses requests with longer bodies than the buffer, and upgrades, which have no end.
func TestA41RequestBuffer(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"routes.yaml":   hostRoute("small", `[{backendRefs: [{${one}}]}]`),
		"policies.yaml": trafficPolicy("small", "small", "  requestBuffer: {limit: 1Ki}\n"),
	})
	for size, status := range map[int]int{1024: 200, 1025: 413} {
		r := request{host: "small.example", method: http.MethodPost, body: strings.Repeat("a", size)}
		in.must(t, r, expect{status: status})
	}
	if ws, err := in.dialWebSocket("small.example"); err == nil {
		_ = ws.Close()
		t.Error("a request is buffered, and upgraded all the same")
	}
}

// TestBandwidthLimit holds back what is more than a limit lets through a second, in either direction. Each route that a
// policy of the Gateway holds for has a limit of its own, and what policies of the Gateway ask for besides.
func TestBandwidthLimit(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"routes.yaml": hostRoute("request", `[{backendRefs: [{${one}}]}]`) +
			hostRoute("first", `[{backendRefs: [{${one}}]}]`) + hostRoute("second", `[{backendRefs: [{${one}}]}]`),
		"policies.yaml": trafficPolicy("request", "request",
			"  bandwidthLimit: {request: {limit: {value: 10Ki, unit: Second}}}\n") + `
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: response}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
  bandwidthLimit: {response: {limit: {value: 600Ki, unit: Minute}, responseTrailers: {}}}
  compressor: [{type: Gzip, minContentLength: 100k}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: users}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
  authorization:
    defaultAction: Deny
    rules: [{action: Allow, principal: {headers: [{name: x-user, values: [me]}]}}]
`,
	})
	took := func(host string) time.Duration {
		begun := time.Now()
		in.must(t, request{
			host: host + ".example", method: http.MethodPost, body: strings.Repeat("a", 30<<10), header: []string{"x-user: me"},
		}, expect{backend: "one"})
		return time.Since(begun)
	}
	for _, host := range []string{"request", "first"} { // The first second's worth passes at once.
		if d := took(host); d < time.Second {
			t.Errorf("%s: 30 KiB at 10 KiB a second took %v", host, d)
		}
	}
	in.must(t, request{host: "first.example"}, expect{status: 403})
	// All that the limit of a route has lets a short answer pass at once, whatever others have used up.
	var wg sync.WaitGroup
	wg.Go(func() { took("first") })
	eventually(t, func() error {
		begun := time.Now()
		in.must(t, request{host: "second.example", header: []string{"x-user: me"}}, expect{backend: "one"})
		if d := time.Since(begun); d > time.Second {
			return fmt.Errorf("a short answer of another route took %v", d)
		}
		return nil
	})
	wg.Wait()
}

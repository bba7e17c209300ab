package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// both is a Backend of two endpoints, the servers one and two.
const both = `
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: both}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: ${PORT_one}}}, {ip: {address: 127.0.0.1, port: ${PORT_two}}}]}
`

const toBoth = `[{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: both}]}]`

// stays wants every request like r to be answered by the same backend, and returns its name.
func (in *instance) stays(t *testing.T, r request) string {
	t.Helper()
	got := in.shares(t, r, 8)
	if len(got) != 1 {
		t.Errorf("%s %v: answers came from %v, want one endpoint", r.host, r.header, got)
	}
	for name := range got {
		return name
	}
	return ""
}

// TestLoadBalancer sends the requests with the same header, query or cookie to the same endpoint, others to all, and
// those that name an endpoint to that one.
func TestLoadBalancer(t *testing.T) {
	t.Parallel()
	routes, policies := "", both
	for name, lb := range map[string]string{
		"header":   "{type: ConsistentHash, consistentHash: {type: Headers, headers: [{name: x-user}]}}",
		"query":    "{type: ConsistentHash, consistentHash: {type: QueryParams, queryParams: [{name: user}]}}",
		"cookie":   "{type: ConsistentHash, consistentHash: {type: Cookie, cookie: {name: who, ttl: 1h}}}",
		"source":   "{type: ConsistentHash, consistentHash: {type: SourceIP}}",
		"robin":    "{type: RoundRobin, slowStart: {window: 1s}}",
		"random":   "{type: Random}",
		"least":    "{type: LeastRequest, slowStart: {window: 1s}}",
		"load":     "{type: BackendUtilization, backendUtilization: {blackoutPeriod: 1s}}",
		"override": "{type: RoundRobin, endpointOverride: {extractFrom: [{header: x-endpoint}]}}",
		"split":    "{type: ConsistentHash, consistentHash: {type: Headers, headers: [{name: x-user}]}}",
	} {
		rules := toBoth
		if name == "split" {
			rules = `[{backendRefs: [{${one}}, {${two}}]}]`
		}
		routes += hostRoute(name, rules)
		policies += trafficPolicy(name, name, "  loadBalancer: "+lb+"\n")
	}
	in := start(t, files{"routes.yaml": routes, "policies.yaml": policies})
	for _, name := range []string{"robin", "random", "least", "load", "override"} {
		in.wantAnswers(t, request{host: name + ".example"}, "one", "two")
	}
	in.stays(t, request{host: "source.example"})
	for _, name := range []string{"header", "split", "query"} {
		seen := map[string]bool{}
		for user := range 24 { // That all are hashed to one endpoint happens in 1 of 10^7 hashes, and always or never.
			r := request{host: name + ".example", header: []string{fmt.Sprintf("x-user: %d", user)}}
			if name == "query" {
				r = request{host: name + ".example", path: fmt.Sprintf("/?user=%d", user)}
			}
			seen[in.stays(t, r)] = true
		}
		if len(seen) != 2 {
			t.Errorf("%s: all users are sent to %v, want both endpoints", name, seen)
		}
	}
	for name, port := range map[string]string{"one": in.vars["PORT_one"], "two": in.vars["PORT_two"]} {
		r := request{host: "override.example", header: []string{"x-endpoint: 127.0.0.1:" + port}}
		if got := in.stays(t, r); got != name {
			t.Errorf("requests that ask for %s are sent to %s", name, got)
		}
	}
	a, err := in.send(t.Context(), request{host: "cookie.example"})
	if err != nil || !strings.HasPrefix(a.header.Get("Set-Cookie"), "who=") {
		t.Fatalf("%v, Set-Cookie %q: want a cookie to stay with the endpoint", err, a.header.Get("Set-Cookie"))
	}
	cookie, _, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
	in.stays(t, request{host: "cookie.example", header: []string{"cookie: " + cookie}})
}

// TestHealthCheck sends nothing to an endpoint that fails its checks, and sends requests again when it passes them; and
// nothing for a while to one that fails requests.
func TestHealthCheck(t *testing.T) {
	t.Parallel()
	var ill atomic.Bool
	var host atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			host.Store(r.Host)
			if ill.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return
		}
		if r.Host == "passive.example" {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	in := start(t, files{"routes.yaml": hostRoute("active", toBoth) + hostRoute("passive", toBoth) +
		strings.ReplaceAll(both, "${PORT_two}", port), "policies.yaml": trafficPolicy("active", "active", `
  healthCheck:
    panicThreshold: 0
    active:
      {type: HTTP, timeout: 5s, interval: 100ms, unhealthyThreshold: 1, healthyThreshold: 1, http: {path: /healthz}}
`) + trafficPolicy("passive", "passive", `
  healthCheck:
    panicThreshold: 0
    passive: {consecutive5XxErrors: 2, interval: 100ms, baseEjectionTime: 300s, maxEjectionPercent: 100}
`)})
	active, passive := request{host: "active.example"}, request{host: "passive.example"}
	in.wantAnswers(t, active, "one", "")
	if got := host.Load(); got != "both.default" {
		t.Errorf("the Host of health checks is %v, want both.default", got)
	}
	ill.Store(true)
	in.wantAnswers(t, active, "one")
	ill.Store(false)
	in.wantAnswers(t, active, "one", "")
	in.wantAnswers(t, passive, "one")
}

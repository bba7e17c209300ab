package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
)

// trafficPolicy is a BackendTrafficPolicy for an HTTPRoute.
func trafficPolicy(name, route, fields string) string {
	return routePolicy("BackendTrafficPolicy", name, route, fields)
}

// routePolicy is a policy of Envoy Gateway for an HTTPRoute.
func routePolicy(kind, name, route, fields string) string {
	return `
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ` + kind + `
metadata: {name: ` + name + `}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: ` + route + `}]
` + fields
}

// policedRoute is an HTTPRoute of a host of its name, and a policy for it.
func policedRoute(kind, name, fields string) string {
	return hostRoute(name, "[{backendRefs: [{${one}}]}]") + routePolicy(kind, name, name, fields)
}

// hostRoute is an HTTPRoute of a host of its name.
func hostRoute(name, rules string) string {
	return `
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ` + name + `}
spec:
  parentRefs: [{name: gw}]
  hostnames: [` + name + `.example]
  rules: ` + rules
}

// TestPolicyRetry retries as a policy says, by its defaults, and as the rule says where it says something itself.
func TestPolicyRetry(t *testing.T) {
	t.Parallel()
	in := start(t, files{"routes.yaml": hostRoute("chosen", `[{backendRefs: [{${one}}]}]`) +
		hostRoute("plain", `[{backendRefs: [{${one}}]}]`) +
		hostRoute("own", `[{backendRefs: [{${one}}], retry: {attempts: 1, codes: [418], backoff: 1ms}}]`) +
		hostRoute("never", `[{backendRefs: [{${one}}], retry: {attempts: 0}}]`) +
		trafficPolicy("chosen", "chosen", `  retry:
    numRetries: 3
    retryOn: {triggers: [retriable-status-codes], httpStatusCodes: [418]}
    perRetry: {timeout: 5s, backOff: {baseInterval: 1ms, maxInterval: 2ms}}
`) + trafficPolicy("plain", "plain", "  retry: {}\n") + trafficPolicy("own", "own", "  retry: {numRetries: 5}\n") +
		trafficPolicy("never", "never", "  retry: {numRetries: 5}\n")})
	for _, tt := range []struct {
		host, query      string
		status, attempts int
	}{
		{"chosen", "succeedAfter=3&status=418", 200, 4},
		{"chosen", "succeedAfter=4&status=418", 418, 4},
		{"chosen", "succeedAfter=1&status=503", 503, 1},
		{"plain", "succeedAfter=2&status=503", 200, 3},
		{"plain", "succeedAfter=3&status=503", 503, 3},
		{"plain", "succeedAfter=1&status=500", 500, 1},
		{"own", "succeedAfter=2&status=418", 418, 2},
		{"own", "succeedAfter=1&status=503", 503, 1},
		{"never", "succeedAfter=1&status=503", 503, 1},
	} {
		r := request{host: tt.host + ".example", path: once("/retry/policy") + "?" + tt.query}
		in.must(t, r, expect{status: tt.status, header: []string{fmt.Sprintf("x-echo-attempt: %d", tt.attempts)}})
	}
}

// TestPolicyTimeout ends what a policy does not let go on: requests, streams and quiet ones. The timeout of the rule
// itself wins.
func TestPolicyTimeout(t *testing.T) {
	t.Parallel()
	routes, policies := "", ""
	for name, timeout := range map[string]string{
		"request": "{http: {requestTimeout: 300ms}}",
		"stream":  "{http: {maxStreamDuration: 300ms}}",
		"quiet":   "{http: {streamIdleTimeout: 300ms}}",
	} {
		routes += hostRoute(name, `[{backendRefs: [{${one}}]}]`)
		policies += trafficPolicy(name, name, "  timeout: "+timeout+"\n")
	}
	routes += hostRoute("own", `[{backendRefs: [{${one}}], timeouts: {request: 10s}}]`)
	policies += trafficPolicy("own", "own", "  timeout: {http: {requestTimeout: 10ms}}\n")
	in := start(t, files{"routes.yaml": routes, "policies.yaml": policies})
	for host, status := range map[string]int{"request": 504, "quiet": 504, "own": 200} {
		in.must(t, request{host: host + ".example", path: "/?delay=700ms"}, expect{status: status})
	}
	a, err := in.send(t.Context(), request{host: "stream.example", path: "/?delay=700ms"})
	if err == nil && a.status == http.StatusOK {
		t.Error("a request that took longer than maxStreamDuration was answered")
	}
}

// TestPolicyCircuitBreaker lets one request at a time reach a backend, and answers the others with 503 at once.
func TestPolicyCircuitBreaker(t *testing.T) {
	t.Parallel()
	in := start(t, files{"routes.yaml": hostRoute("limited", `[{backendRefs: [{${one}}]}]`) +
		hostRoute("free", `[{backendRefs: [{${one}}]}]`) +
		trafficPolicy("limited", "limited", "  circuitBreaker: {maxParallelRequests: 1}\n")})
	const clients = 10
	storm := func(host string) (statuses map[int]int, overloaded int) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		statuses = map[int]int{}
		for range clients {
			wg.Go(func() {
				a, err := in.send(t.Context(), request{host: host, path: "/?delay=1s"})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				statuses[a.status]++
				if a.header.Get("X-Envoy-Overloaded") == "true" {
					overloaded++
				}
			})
		}
		wg.Wait()
		return statuses, overloaded
	}
	if got, _ := storm("free.example"); got[200] != clients {
		t.Errorf("statuses %v without a limit, want %d times 200", got, clients)
	}
	eventually(t, func() error {
		got, overloaded := storm("limited.example")
		if got[200] == 0 || got[503] == 0 || got[200]+got[503] != clients || overloaded != got[503] {
			return fmt.Errorf("statuses %v, %d of them overload: want some 200, all others 503", got, overloaded)
		}
		return nil
	})
}

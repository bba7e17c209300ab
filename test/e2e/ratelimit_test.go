package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/ratelimit/ratelimittest"
)

// patient has limits waited for as long as a busy machine takes: a request that they are not waited for passes.
var patient = []string{"--ratelimit-timeout", "10s", "--redis-timeout", "9s", "--ratelimit-fail-closed"}

// limitedRoutes are two routes, the first with two rules.
const limitedRoutes = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: gw}]
  rules:
  - matches: [{path: {value: /cart}}]
    backendRefs: [{${one}}]
  - matches: [{path: {value: /list}}]
    backendRefs: [{${two}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: blog}
spec:
  parentRefs: [{name: gw}]
  rules:
  - matches: [{path: {value: /blog}}]
    backendRefs: [{${three}}]
`

// limitPolicy is a BackendTrafficPolicy with a rate limit.
func limitPolicy(name, target, more string) string {
	return `
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: ` + name + `}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, ` + target + `}]
  ` + more + `
`
}

// statuses sends requests one after the other, and returns their statuses.
func (in *instance) statuses(t *testing.T, paths ...string) string {
	t.Helper()
	var out []string
	for _, path := range paths {
		out = append(out, fmt.Sprint(in.status(t, path)))
	}
	return strings.Join(out, " ")
}

func (in *instance) status(t *testing.T, path string) int {
	t.Helper()
	a, err := in.send(t.Context(), request{path: path})
	if err != nil {
		t.Fatal(err)
	}
	return a.status
}

// TestGlobalRateLimit counts for a route what all its rules serve, and goes on counting when the policy changes.
func TestGlobalRateLimit(t *testing.T) {
	t.Parallel()
	policy := func(requests int) string {
		return limitPolicy("shop", "kind: HTTPRoute, name: shop",
			fmt.Sprintf("rateLimit: {global: {rules: [{limit: {requests: %d, unit: Week}}]}}", requests))
	}
	in := start(t, files{"routes.yaml": limitedRoutes, "policy.yaml": policy(3)}, patient...)
	if got, want := in.statuses(t, "/cart", "/list", "/cart", "/list", "/cart", "/blog"),
		"200 200 200 429 429 200"; got != want {
		t.Errorf("statuses %s, want %s", got, want)
	}
	a, err := in.send(t.Context(), request{path: "/cart"})
	if err != nil {
		t.Fatal(err)
	}
	if err := in.check(expect{status: 429, header: []string{
		"x-ratelimit-limit: 3, 3;w=604800", "x-ratelimit-remaining: 0",
	}}, a); err != nil {
		t.Error(err)
	}
	metrics, err := in.get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	if want := `sluice_ratelimit_decisions_total{decision="over",rule="default/shop/0"} 3`; !strings.Contains(
		string(metrics), want) {
		t.Errorf("the metrics have no %s", want)
	}
	// A limit that is raised is raised by what was added: what has been counted stays.
	in.write("policy.yaml", policy(5))
	in.want(t, request{path: "/cart"}, expect{header: []string{"x-ratelimit-remaining: 1"}})
	if got, want := in.statuses(t, "/cart", "/cart"), "200 429"; got != want {
		t.Errorf("after the limit was raised from 3 to 5: %s, want %s", got, want)
	}
}

// TestGlobalRateLimitOfGateway counts each route of a Gateway for itself, unless the limit is shared.
func TestGlobalRateLimitOfGateway(t *testing.T) {
	t.Parallel()
	policy := func(name, more string) string {
		return limitPolicy(name, "kind: Gateway, name: gw",
			"rateLimit: {global: {rules: [{limit: {requests: 2, unit: Hour}"+more+"}]}}")
	}
	in := start(t, files{"routes.yaml": limitedRoutes, "policy.yaml": policy("each", "")}, patient...)
	if got, want := in.statuses(t, "/cart", "/blog", "/list", "/cart", "/blog", "/blog"),
		"200 200 200 429 200 429"; got != want {
		t.Errorf("statuses %s, want %s", got, want)
	}
	in.write("policy.yaml", policy("all", ", shared: true"))
	in.want(t, request{path: "/cart"}, expect{header: []string{"x-ratelimit-remaining: 1"}})
	if got, want := in.statuses(t, "/blog", "/cart", "/list", "/blog"), "200 429 429 429"; got != want {
		t.Errorf("with a shared limit: %s, want %s", got, want)
	}
}

// TestRateLimitMerge has the limits of a Gateway and of a route apply together.
func TestRateLimitMerge(t *testing.T) {
	t.Parallel()
	limit := func(requests int) string {
		return fmt.Sprintf("rateLimit: {global: {rules: [{limit: {requests: %d, unit: Hour}, shared: true}]}}", requests)
	}
	policies := limitPolicy("gw", "kind: Gateway, name: gw", limit(4)) +
		limitPolicy("shop", "kind: HTTPRoute, name: shop", "mergeType: StrategicMerge\n  "+limit(2))
	in := start(t, files{"routes.yaml": limitedRoutes, "policies.yaml": policies}, patient...)
	// The shop has 2, and shares 4 with the blog.
	if got, want := in.statuses(t, "/cart", "/list", "/cart", "/blog", "/blog", "/blog"),
		"200 200 429 200 200 429"; got != want {
		t.Errorf("statuses %s, want %s", got, want)
	}
}

// TestLocalRateLimit counts in Envoy, each route of a Gateway for itself.
func TestLocalRateLimit(t *testing.T) {
	t.Parallel()
	in := start(t, files{"routes.yaml": limitedRoutes, "policy.yaml": limitPolicy("gw", "kind: Gateway, name: gw",
		"rateLimit: {local: {rules: [{limit: {requests: 1, unit: Hour}}]}}")})
	if got, want := in.statuses(t, "/cart", "/cart", "/blog", "/blog"), "200 429 200 429"; got != want {
		t.Errorf("statuses %s, want %s", got, want)
	}
}

// TestBrokenRateLimit answers what a limit would guard that cannot be applied with 500, and says why.
func TestBrokenRateLimit(t *testing.T) {
	t.Parallel()
	in := start(t, files{"routes.yaml": limitedRoutes, "policy.yaml": limitPolicy("shop", "kind: HTTPRoute, name: shop",
		"rateLimit: {global: {rules: [{limit: {requests: 1, unit: Hour}, "+
			"clientSelectors: [{headers: [{name: a, type: RegularExpression, value: '('}]}]}]}}")})
	if got, want := in.statuses(t, "/cart", "/list", "/blog"), "500 500 200"; got != want {
		t.Errorf("statuses %s, want %s", got, want)
	}
	eventually(t, func() error {
		status, err := in.get("/status")
		if err == nil && !strings.Contains(string(status), "rateLimit.global.rules[0].clientSelectors[0].headers[0].value") {
			err = fmt.Errorf("the status does not say what is wrong: %s", status)
		}
		return err
	})
}

// TestRateLimitStore is drill F37 with a whole Sluice: a Redis that is stopped, is killed and comes back.
func TestRateLimitStore(t *testing.T) {
	t.Parallel()
	policy := limitPolicy("shop", "kind: HTTPRoute, name: shop",
		"rateLimit: {global: {rules: [{limit: {requests: 1, unit: Hour}}]}}")
	for name, test := range map[string]struct {
		args []string
		away int
	}{
		"open": {nil, 200}, "closed": {[]string{"--ratelimit-fail-closed"}, 500},
	} {
		t.Run(name, func(t *testing.T) {
			redis := ratelimittest.StartRedis(t)
			args := append([]string{"--redis-url", "redis://" + redis.Address}, test.args...)
			in := start(t, files{"routes.yaml": limitedRoutes, "policy.yaml": policy}, args...)
			becomes := func(when string, want int) {
				t.Helper()
				eventually(t, func() error {
					if got := in.status(t, "/cart"); got != want {
						return fmt.Errorf("%s the status is %d, want %d", when, got, want)
					}
					return nil
				})
			}
			becomes("once the limit is used up", 429)
			redis.Signal(t, syscall.SIGSTOP)
			becomes("while Redis is stopped", test.away)
			// Nobody waits for what does not answer: on an idle machine these take 0.2 s, and 15 s if each waits for 300 ms.
			began := time.Now()
			for range 50 {
				if got := in.status(t, "/cart"); got != test.away {
					t.Fatalf("while Redis is stopped: status %d, want %d", got, test.away)
				}
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("50 requests took %v while Redis was stopped", took)
			}
			redis.Signal(t, syscall.SIGCONT)
			becomes("when Redis goes on", 429)
			redis.Kill()
			becomes("without Redis", test.away)
			redis.Start(t)
			becomes("with a new Redis", 429)
		})
	}
}

package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// TestRetryBudget fails every request to a backend whose budget allows hardly any retry, and to one without: retries
// beyond the budget are not made.
func TestRetryBudget(t *testing.T) {
	t.Parallel()
	in := start(t, files{"routes.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: retried}
spec:
  parentRefs: [{name: gw}]
  rules:
  - matches: [{path: {value: /slow}}]
    backendRefs: [{group: gateway.networking.x-k8s.io, kind: XBackend, name: frugal}]
    timeouts: {backendRequest: 300ms}
    retry: {attempts: 3, codes: [504]}
`, "policy.yaml": budgetPolicy("frugal",
		"{budget: {percent: 0, interval: 1s}, minRetryRate: {count: 1, interval: 1s}}"),
		"backends-x.yaml": `
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {name: frugal}
spec: {type: ExternalHostname, port: {number: ${PORT_one}}, externalHostname: {hostname: localhost}}
`})
	const clients = 20
	storm := func(path string) int {
		var wg sync.WaitGroup
		for range clients {
			wg.Go(func() { _, _ = in.send(t.Context(), request{path: path + "?delay=2s"}) })
		}
		wg.Wait()
		return shared.backends["one"].Received(path)
	}
	// One retry may be under way at a time, and each takes 300 ms: a second's worth of 20 failing requests gets few.
	path := once("/slow/frugal")
	if got := storm(path); got < clients || got > clients+6 {
		t.Errorf("%d requests for %d from clients: the budget allows one retry at a time", got, clients)
	}
	in.write("policy.yaml", budgetPolicy("other", "{budget: {percent: 0, interval: 1s}}"))
	eventually(t, func() error {
		path := once("/slow/free")
		if got := storm(path); got < 3*clients {
			return fmt.Errorf("%d requests for %d from clients: without a budget each is tried four times", got, clients)
		}
		return nil
	})
}

func budgetPolicy(target, constraint string) string {
	return `
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {name: budget}
spec:
  targetRefs: [{group: gateway.networking.x-k8s.io, kind: XBackend, name: ` + target + `}]
  retryConstraint: ` + constraint + `
`
}

// TestBackendTrafficPolicyStatus says which of two policies holds for a backend, and what a policy has no target for.
// A policy's session persistence is that of every route to its target.
func TestBackendTrafficPolicyStatus(t *testing.T) {
	t.Parallel()
	policy := func(name, target, more string) string {
		return `
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {name: ` + name + `}
spec:
  targetRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: ` + target + `}` + more + `]
  sessionPersistence: {cookie: {name: ` + name + `}}
`
	}
	in := start(t, files{"routes.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: gw}]
  rules: [{backendRefs: [{${one}}]}]
`, "policy.yaml": policy("first", "one", ", {group: \"\", kind: Service, name: gone}") + policy("second", "one", "")})
	in.must(t, request{path: "/"}, expect{backend: "one"})
	in.begins(t, request{path: "/"}, "first")
	eventually(t, func() error {
		body, err := in.get("/status")
		if err != nil {
			return err
		}
		for _, want := range []string{
			"XBackendTrafficPolicy/default/first is attached to the same target", "Conflicted", "TargetNotFound",
			"Service/default/gone does not exist",
		} {
			if !strings.Contains(string(body), want) {
				return fmt.Errorf("the status does not say %q: %s", want, body)
			}
		}
		return nil
	})
}

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

// namedJudge is a Backend of a service that lets everybody in, and tells the backend its name.
func namedJudge(t *testing.T, name string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("x-by", name)
	}))
	t.Cleanup(server.Close)
	return localBackend(name, server.Listener.Addr(), "")
}

// TestSharedAuthorization asks several backends of one service by their weights, a fallback where the others have no
// endpoints, and nobody where they cannot share.
func TestSharedAuthorization(t *testing.T) {
	t.Parallel()
	sharing := func(refs string) string {
		return "\n  extAuth:\n    http:\n      headersToBackend: [x-by]\n      backendRefs: [" + refs + "]\n"
	}
	of := func(name, more string) string {
		return "{group: gateway.envoyproxy.io, kind: Backend, name: " + name + more + "}"
	}
	in := start(t, files{
		"judges.yaml": namedJudge(t, "left") + namedJudge(t, "right") + namedJudge(t, "third") +
			localBackend("down", nil, "") + `
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: named}
spec: {endpoints: [{fqdn: {hostname: localhost, port: 80}}]}
---
apiVersion: v1
kind: Service
metadata: {name: empty}
spec: {ports: [{name: web, port: 80}]}
`,
		"routes.yaml": guardedRoute("both", sharing(of("left", ", weight: 3")+", "+of("right", "")+", "+
			of("third", ", weight: 0"))) +
			guardedRoute("fallback", sharing("{name: empty, port: 80}, "+of("third", ", fallback: true"))) +
			guardedRoute("retried", sharing(of("down", "")+", "+of("third", ", fallback: true"))+
				"      backendSettings: {retry: {numRetries: 3, numAttemptsPerPriority: 1}}\n") +
			guardedRoute("unlike", sharing(of("left", "")+", "+of("named", ""))),
	})
	in.must(t, request{host: "fallback.example"}, expect{backend: "one", received: []string{"x-by: third"}})
	in.must(t, request{host: "retried.example"}, expect{backend: "one", received: []string{"x-by: third"}})
	in.must(t, request{host: "unlike.example"}, expect{status: 500})
	in.condition(t, conditionWant{
		kind: "SecurityPolicy", name: "default/unlike", condition: "Accepted=False/Invalid", message: "not IP addresses",
	})
	eventually(t, func() error {
		asked := map[string]int{}
		for range 80 {
			a, err := in.send(t.Context(), request{host: "both.example"})
			if err != nil {
				return err
			}
			asked[a.echo.Headers.Get("x-by")]++
		}
		if asked["left"] <= asked["right"] || asked["right"] == 0 || asked["third"] > 0 {
			return fmt.Errorf("asked were %v, want left thrice as often as right", asked)
		}
		return nil
	})
}

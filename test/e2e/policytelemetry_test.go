package e2e

import (
	"fmt"
	"testing"
)

// TestPolicyTelemetry has the spans of a route named and tagged as its policy says, while those of others stay as the
// Gateway has them.
func TestPolicyTelemetry(t *testing.T) {
	t.Parallel()
	c := startCollector(t)
	in := start(t, files{
		"routes.yaml": hostRoute("app", `[{backendRefs: [{${one}}]}]`) + hostRoute("other", `[{backendRefs: [{${one}}]}]`) +
			fmt.Sprintf(`
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: otel}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %d}}]}
`, c.port),
		"policies.yaml": telemetryPolicy("{mode: Enabled, provider: {backendRef: {group: gateway.envoyproxy.io, "+
			"kind: Backend, name: otel}}, spanName: front, attributes: [{name: id, sourceType: Header, headerName: x-id}]}") +
			trafficPolicy("app", "app", `  telemetry:
    tracing:
      spanName: {client: "%REQ(:METHOD)% app", server: backend}
      customTags: {id: {type: RequestHeader, requestHeader: {name: x-id}}}
      tags: {share: "100% %PROTOCOL%"}
    metrics: {routeStatName: app}
`),
	})
	for host, want := range map[string]string{"app": "GET app, 100% HTTP/1.1", "other": "front, "} {
		in.must(t, request{host: host + ".example", header: []string{"x-id: " + host}}, expect{backend: "one"})
		eventually(t, func() error {
			for _, s := range c.of(host) {
				if got := s.name + ", " + s.attributes["share"]; s.kind == 2 && got == want {
					return nil
				}
			}
			return fmt.Errorf("the spans of %s are %+v, want one of the server that is %q", host, c.of(host), want)
		})
	}
}

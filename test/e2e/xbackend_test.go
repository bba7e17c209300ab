package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestXBackend sends requests to the Pods that an XBackend selects and to a host name, with the protocol and the
// session persistence that it asks for.
func TestXBackend(t *testing.T) {
	t.Parallel()
	in := start(t, files{"routes.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: x}
spec:
  parentRefs: [{name: gw}]
  rules:
  - matches: [{path: {value: /pods}}]
    backendRefs: [{group: gateway.networking.x-k8s.io, kind: XBackend, name: pods}]
  - matches: [{path: {value: /name}}]
    backendRefs: [{group: gateway.networking.x-k8s.io, kind: XBackend, name: name}]
  - matches: [{path: {value: /h2c}}]
    backendRefs: [{group: gateway.networking.x-k8s.io, kind: XBackend, name: h2c}]
  - matches: [{path: {value: /unknown}}]
    backendRefs: [{group: gateway.networking.x-k8s.io, kind: XBackend, name: mcp}]
  - matches: [{path: {value: /elsewhere}}]
    backendRefs: [{group: gateway.networking.x-k8s.io, kind: XBackend, name: pods, namespace: other}]
`, "backends-x.yaml": `
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {name: pods}
spec:
  type: EndpointSelector
  port: {number: ${PORT_one}}
  endpointSelector: {matchLabels: {app: shop, tier: web}}
  sessionPersistence: {cookie: {name: basket}}
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {name: name}
spec:
  type: ExternalHostname
  port: {number: ${PORT_two}}
  externalHostname: {hostname: localhost}
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {name: h2c}
spec:
  type: EndpointSelector
  port: {number: ${PORT_three}}
  protocol: H2C
  endpointSelector: {matchLabels: {app: shop}}
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {name: mcp}
spec:
  type: EndpointSelector
  port: {number: ${PORT_three}}
  protocol: MCP
  endpointSelector: {matchLabels: {app: shop}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, labels: {app: shop, tier: web}}
status: {podIP: 127.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: db-1, labels: {app: shop, tier: db}}
status: {podIP: 127.0.0.2, conditions: [{type: Ready, status: "False"}]}
`})
	for name, c := range map[string]check{
		"pods":        {request{path: "/pods"}, expect{backend: "one"}},
		"host name":   {request{path: "/name"}, expect{backend: "two"}},
		"h2c":         {request{path: "/h2c"}, expect{backend: "three", proto: "HTTP/2.0"}},
		"unknown":     {request{path: "/unknown"}, expect{status: 500}},
		"not granted": {request{path: "/elsewhere"}, expect{status: 500}},
	} {
		t.Run(name, func(t *testing.T) { in.must(t, c.request, c.expect) })
	}

	in.begins(t, request{path: "/pods"}, "basket")
	// The status of what cannot be used says why.
	eventually(t, func() error {
		body, err := in.get("/status")
		if err != nil {
			return err
		}
		for _, want := range []string{"Protocol MCP is not supported", `"kind":"XBackend"`} {
			if !strings.Contains(strings.ReplaceAll(string(body), `": "`, `":"`), want) {
				return fmt.Errorf("the status does not say %q: %s", want, body)
			}
		}
		return nil
	})
}

// begins fails the test unless the answer to a request begins a session, with a cookie of that name.
func (in *instance) begins(t *testing.T, r request, cookie string) {
	t.Helper()
	a, err := in.send(t.Context(), r)
	if err != nil || !strings.HasPrefix(a.header.Get("Set-Cookie"), cookie+"=") {
		t.Errorf("%+v: no cookie %q in %v (%v)", r, cookie, a.header, err)
	}
}

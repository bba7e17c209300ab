package e2e

import (
	"testing"
)

// listenerFilterRoutes serve what is behind the listeners of TestListenerFilters. The service's answer chooses between
// the rules of the host "choose": to the one it leads, a second service is asked, which does not answer.
const listenerFilterRoutes = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: plain}
spec:
  parentRefs: [{name: gw}]
  hostnames: [open.example, http.auth.example, grpc.auth.example, missing.auth.example, down.auth.example,
    two.auth.example]
  rules:
  - matches: [{path: {value: /a}}]
    filters: [{type: CORS, cors: {allowOrigins: ["https://page.example"]}}]
    backendRefs: [{${one}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: choose}
spec:
  parentRefs: [{name: gw}]
  hostnames: [choose.auth.example]
  rules:
  - matches: [{headers: [{name: x-auth-user, value: demo}], path: {value: /again}}]
    filters:
    - {type: ExternalAuth, externalAuth: {protocol: HTTP, http: {},
       backendRef: {group: gateway.envoyproxy.io, kind: Backend, name: down}}}
    backendRefs: [{${three}}]
  - matches: [{headers: [{name: x-auth-user, value: demo}], path: {value: /session}}]
    sessionPersistence: {cookie: {name: sticky}}
    backendRefs: [{${three}}]
  - matches: [{headers: [{name: x-auth-user, value: demo}]}]
    backendRefs: [{${two}}]
  - backendRefs: [{${one}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: authz}
spec:
  appProtocols: [gateway.envoyproxy.io/h2c]
  endpoints: [{ip: {address: 127.0.0.1, port: ${PORT_two}}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: down}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: ${SPARE}}}]}
`

// TestListenerFilters asks a service about every request of a listener before a route is chosen: also where no route
// is, and whatever the routes ask for themselves. Other listeners of the port are not touched.
func TestListenerFilters(t *testing.T) {
	t.Parallel()
	listener := func(name, filters string) string {
		return `
  - {name: ` + name + `, protocol: HTTP, port: ${HTTP}, hostname: ` + name + `.auth.example,
     filters: {requests: [` + filters + `]}}`
	}
	auth := func(spec string) string { return "{type: ExternalAuth, externalAuth: {" + spec + "}}" }
	down := "protocol: HTTP, http: {}, backendRef: {group: gateway.envoyproxy.io, kind: Backend, name: down}"
	overHTTP := auth("protocol: HTTP, backendRef: {${two}}, http: {path: /auth, allowedResponseHeaders: [x-auth-user]}")
	const open = `
  - {name: open, protocol: HTTP, port: ${HTTP}}`
	in := start(t, files{"backends.yaml": backendsYAML, "routes.yaml": listenerFilterRoutes, "gateway.yaml": gatewayWith +
		open + listener("http", overHTTP) +
		listener("choose", overHTTP) +
		listener("grpc", auth("protocol: GRPC, grpc: {}, "+
			"backendRef: {group: gateway.envoyproxy.io, kind: Backend, name: authz}")) +
		listener("down", auth(down)) +
		listener("missing", auth("protocol: HTTP, http: {}, "+
			"backendRef: {group: gateway.envoyproxy.io, kind: Backend, name: missing}")) +
		listener("two", overHTTP+", "+auth(down))})

	bearer := []string{"authorization: Bearer let-me-in", "x-auth-user: forged"}
	preflight := []string{"origin: https://page.example", "access-control-request-method: GET"}
	host := func(name string) string { return name + ".auth.example" }
	for name, c := range map[string]check{
		"another listener":       {request{host: "open.example", path: "/a"}, expect{backend: "one"}},
		"another listener's 404": {request{host: "open.example", path: "/b"}, expect{status: 404}},
		"http refused":           {request{host: host("http"), path: "/a"}, expect{status: 401}},
		"http refused, no route": {request{host: host("http"), path: "/b"}, expect{status: 401}},
		"http refused, preflight": {request{host: host("http"), path: "/a", method: "OPTIONS", header: preflight},
			expect{status: 401}},
		"http let in": {request{host: host("http"), path: "/a", header: bearer},
			expect{backend: "one", received: []string{"x-auth-user: demo"}}},
		"http let in, no route": {request{host: host("http"), path: "/b", header: bearer}, expect{status: 404}},
		"grpc refused":          {request{host: host("grpc"), path: "/a"}, expect{status: 401}},
		"grpc let in":           {request{host: host("grpc"), path: "/a", header: bearer}, expect{backend: "one"}},
		"service is down":       {request{host: host("down"), path: "/a", header: bearer}, expect{status: 503}},
		"service is missing":    {request{host: host("missing"), path: "/a", header: bearer}, expect{status: 500}},
		"the second is down":    {request{host: host("two"), path: "/a", header: bearer}, expect{status: 503}},
		"the first refuses":     {request{host: host("two"), path: "/a"}, expect{status: 401}},
		// The route is the one that the service's answer leads to, and so are the filters that the request passes.
		"chosen by the answer":  {request{host: host("choose"), path: "/", header: bearer}, expect{backend: "two"}},
		"the route's own check": {request{host: host("choose"), path: "/again", header: bearer}, expect{status: 503}},
	} {
		t.Run(name, func(t *testing.T) { in.must(t, c.request, c.expect) })
	}
	in.begins(t, request{host: host("choose"), path: "/session", header: bearer}, "sticky")
}

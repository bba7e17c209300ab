package resolve

import (
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/model"
)

// TestDynamicResolver: only what says to which host it wants can have a dynamic resolver.
func TestDynamicResolver(t *testing.T) {
	const resolver, both = "{group: gateway.envoyproxy.io, kind: Backend, name: any}", `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: any, namespace: default}
spec: {type: DynamicResolver}
`
	const ends = `{name: end, port: 443, protocol: TLS, tls: {certificateRefs: [{name: cert}]}}`
	cases := []struct {
		name, listener, route string
		key                   model.RouteKey
		// want is a part of the status, empty if the route takes traffic.
		want string
	}{
		{"requests", plainHTTP, routeYAML("r", "", "{backendRefs: ["+resolver+"]}"), http("r"), ""},
		{"requests, and others", plainHTTP, routeYAML("r", "", "{backendRefs: ["+resolver+", {name: svc, port: 80}]}"),
			http("r"), ""},
		{"TLS that is passed on", passAny, streamYAML("TLSRoute", "r", "{name: gw}", "a.example", resolver),
			stream("TLSRoute", "r"), ""},
		{"TLS that is passed on, and others", passAny,
			streamYAML("TLSRoute", "r", "{name: gw}", "a.example", resolver+", {name: svc, port: 80}"),
			stream("TLSRoute", "r"), "make it the only backend"},
		{"TLS that ends", ends, streamYAML("TLSRoute", "r", "{name: gw}", "a.example", resolver),
			stream("TLSRoute", "r"), "use one with the TLS mode Passthrough"},
		{"connections", "{name: tcp, port: 22, protocol: TCP}", streamYAML("TCPRoute", "r", "{name: gw}", "", resolver),
			stream("TCPRoute", "r"), "nothing of a TCPRoute says to which host"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, options(), classYAML, serviceYAML, secretYAML(t, "cert"), gatewayYAML("gw", tc.listener), both,
				tc.route)
			status, messages := w.route(tc.key), w.messages(tc.key)
			if tc.want == "" {
				expect(t, "status", status, "gw: Accepted ResolvedRefs")
				return
			}
			if !strings.Contains(status, "False") || !strings.Contains(messages, tc.want) {
				t.Errorf("the status is %s, %s; want %q", status, messages, tc.want)
			}
		})
	}
}

// TestStreamGuards: who may connect is up to the policies that say something of connections. One of the route itself
// that says what cannot be kept lets nobody in.
func TestStreamGuards(t *testing.T) {
	const ofRoute, ofGateway = "kind: TCPRoute, name: r", "kind: Gateway, name: gw"
	policy := func(kind, target, spec string) string {
		return `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ` + kind + `
metadata: {name: p, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, ` + target + `}]
  ` + spec
	}
	const secret, users = "SecurityPolicy", "basicAuth: {users: {name: users}}"
	const data = "\napiVersion: v1\nkind: Secret\nmetadata: {name: users, namespace: default}\n" +
		"stringData: {.htpasswd: a}\n"
	const limit = "rateLimit: {type: Local, local: {rules: [{limit: {requests: 9, unit: Hour}}]}}"
	// The stand-in for what can say who may connect is cors.
	const cors = "cors: {allowOrigins: [\"*\"]}"
	cases := []struct {
		name   string
		policy []string
		want   string
		denied bool
	}{
		{"none", nil, "", false},
		{"addresses", []string{policy(secret, ofRoute, cors)}, "SecurityPolicy.cors", false},
		{"addresses, of the Gateway", []string{policy(secret, ofGateway, cors)}, "SecurityPolicy.cors", false},
		{"requests", []string{policy(secret, ofRoute, users), data}, "", true},
		{"requests, of the Gateway", []string{policy(secret, ofGateway, users), data}, "", false},
		{"requests, of the Gateway, that cannot be guarded", []string{policy(secret, ofGateway, users)}, "", false},
		{"a limit", []string{policy("BackendTrafficPolicy", ofRoute, limit)}, "", true},
		{"a limit of the Gateway", []string{policy("BackendTrafficPolicy", ofGateway, limit)}, "", false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := newPretend(t, append([]string{
				classYAML, serviceYAML, gatewayYAML("gw", "{name: tcp, port: 22, protocol: TCP}"),
				streamYAML("TCPRoute", "r", "{name: gw}", "", toPort80),
			}, tc.policy...)...)
			expect(t, "guards", w.guards(stream("TCPRoute", "r")), tc.want)
			if got := w.denies(stream("TCPRoute", "r")); got != tc.denied {
				t.Errorf("it is denied: %v, want %v", got, tc.denied)
			}
		})
	}
}

package e2e

import (
	"fmt"
	"testing"
)

// streamPolicy is a policy of the stream routes and Gateways that the test has.
func streamPolicy(kind, target, spec string) string {
	return fmt.Sprintf("\n---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: %s\nmetadata: {name: policy}\nspec:\n"+
		"  targetRefs: [{group: gateway.networking.k8s.io, %s}]\n  %s\n", kind, target, spec)
}

// TestStreamAuthorization lets connections in by the addresses that they come from, and nobody where a policy asks for
// what connections do not have. The backend speaks first: nobody else may hear it.
func TestStreamAuthorization(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	in := start(t, files{
		"gateway.yaml": gatewayWith + `
  - {name: tcp, protocol: TCP, port: ${SPARE}}
  - {name: pass, protocol: TLS, port: ${HTTPS}, tls: {mode: Passthrough}}
  - {name: udp, protocol: UDP, port: ${HTTP}}
`,
		"backends.yaml": greeterYAML(map[string]int{
			"plain": greet(t, "plain", nil), "secure": greet(t, "secure", ca.certificate(t, "a.example")),
		}),
		"routes.yaml": streamYAML("TCPRoute", "tcp", "{name: gw, sectionName: tcp}", "", backend("plain", 1)) +
			streamYAML("TLSRoute", "tls", "{name: gw, sectionName: pass}", "a.example", backend("secure", 1)) +
			streamYAML("UDPRoute", "udp", "{name: gw, sectionName: udp}", "", backend("plain", 1)),
	})
	in.wantAnswer(t, "SPARE", nil, "plain")
	in.wantAnswer(t, "HTTPS", sni("a.example", ca), "secure")
	const route, gateway = "kind: TCPRoute, name: tcp", "kind: Gateway, name: gw"
	rule := func(action, ranges string) string {
		return fmt.Sprintf("authorization: {defaultAction: Deny, rules: [{action: %s, principal: {clientCIDRs: [%s]}}]}",
			action, ranges)
	}
	for _, tt := range []struct {
		name, policy string
		// plain and secure are who answers on the two ports.
		plain, secure string
		// refused is a part of the message of the policy's status, empty if it is accepted.
		refused string
	}{
		{"another address", streamPolicy("SecurityPolicy", route, rule("Allow", "192.0.2.0/24")), "", "secure", ""},
		{"this address", streamPolicy("SecurityPolicy", route, rule("Allow", "127.0.0.0/8")), "plain", "secure", ""},
		{"of the Gateway", streamPolicy("SecurityPolicy", gateway, rule("Allow", "192.0.2.0/24")), "", "", ""},
		{"of the Gateway, this address", streamPolicy("SecurityPolicy", gateway, rule("Allow", "127.0.0.0/8")),
			"plain", "secure", ""},
		{"a password", streamPolicy("SecurityPolicy", route,
			"basicAuth: {users: {name: users}}") + usersOf("users", "a:{SHA}NWoZK3kTsExUV00Ywo1G5jlUKKs="),
			"", "secure", "HTTP requests"},
		{"an expression", streamPolicy("SecurityPolicy", route, `authorization: {defaultAction: Allow,
    rules: [{action: Deny, cel: "false"}]}`), "", "secure", "clientCIDRs alone"},
		{"a rate limit", streamPolicy("BackendTrafficPolicy", route,
			"rateLimit: {type: Local, local: {rules: [{limit: {requests: 9, unit: Hour}}]}}"), "", "secure", "HTTP requests"},
		{"retries", streamPolicy("BackendTrafficPolicy", route, "retry: {numRetries: 2}"), "plain", "secure",
			"no effect there"},
		{"settings of connections", streamPolicy("BackendTrafficPolicy", route, "tcpKeepalive: {}"), "plain", "secure", ""},
		{"limits of the Gateway", streamPolicy("BackendTrafficPolicy", gateway,
			"rateLimit: {type: Local, local: {rules: [{limit: {requests: 9, unit: Hour}}]}}"), "plain", "secure", ""},
	} {
		in.write("policy.yaml", tt.policy)
		kind := "SecurityPolicy"
		if contains(tt.policy, "BackendTrafficPolicy") {
			kind = "BackendTrafficPolicy"
		}
		want := conditionWant{kind: kind, name: "default/policy", condition: "Accepted=True/Accepted", message: tt.refused}
		if tt.refused != "" {
			want.condition = "Accepted=False/Invalid"
		}
		t.Log(tt.name)
		in.wantAnswer(t, "SPARE", nil, tt.plain)
		in.wantAnswer(t, "HTTPS", sni("a.example", ca), tt.secure)
		in.condition(t, want)
	}
	in.write("policy.yaml", streamPolicy("BackendTrafficPolicy", "kind: UDPRoute, name: udp",
		"rateLimit: {type: Local, local: {rules: [{limit: {requests: 9, unit: Hour}}]}}"))
	eventually(t, func() error {
		if got := in.datagram("HTTP", unanswered); got != "" {
			return fmt.Errorf("%s answers, but its limit cannot be kept", got)
		}
		return nil
	})
}

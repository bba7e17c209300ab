package resolve

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/model"
)

func telemetryYAML(name string, gateways ...string) string {
	var targets []string
	for _, gw := range gateways {
		targets = append(targets, "{group: gateway.networking.k8s.io, kind: Gateway, name: "+gw+"}")
	}
	return `
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XTelemetryPolicy
metadata: {name: ` + name + `, namespace: default}
spec:
  targetRefs: [` + strings.Join(targets, ", ") + `]
  tracing: {mode: Enabled, provider: {backendRef: {name: svc, port: 80}}}
`
}

// A policy holds for the Gateways that it names. Where Gateways share a plain HTTP port, and with it a connection
// manager, it has an effect only if it is the policy of all of them.
func TestTelemetryPolicies(t *testing.T) {
	tests := []struct {
		name      string
		manifests []string
		// traced are the Gateways whose policy asks for something; want the reasons of Accepted by policy and Gateway.
		traced, want string
	}{
		{"one of two Gateways of a port", []string{telemetryYAML("p", "a")}, "a", "p/a=Conflicted"},
		{"both Gateways of a port", []string{telemetryYAML("p", "a", "b")}, "a b", "p/a=Accepted p/b=Accepted"},
		{"two policies for a Gateway", []string{telemetryYAML("p", "a", "b"), telemetryYAML("q", "b")}, "a b",
			"p/a=Accepted p/b=Accepted q/b=Conflicted"},
		{"a port of its own", []string{telemetryYAML("p", "c")}, "c", "p/c=Accepted"},
		{"no collector", []string{strings.Replace(telemetryYAML("p", "c"), "name: svc", "name: gone", 1)}, "",
			"p/c=Accepted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, shared(), append(tt.manifests, classYAML, serviceYAML,
				gatewayYAML("a", "{name: h, port: 80, protocol: HTTP, hostname: a.example}"),
				gatewayYAML("b", "{name: h, port: 80, protocol: HTTP, hostname: b.example}"),
				gatewayYAML("c", "{name: h, port: 81, protocol: HTTP}"))...)
			var traced, got []string
			for _, gw := range []string{"a", "b", "c"} {
				if list, _ := w.GatewayPolicies.Peek(inDefault(gw)); len(list) > 0 {
					traced = append(traced, gw)
				}
			}
			for _, name := range []string{"p", "q"} {
				policy, _ := w.Policies.Peek(telemetryRef(model.Name{Namespace: "default", Name: name}))
				for _, a := range policy.Status.Ancestors {
					got = append(got, fmt.Sprintf("%s/%s=%s", name, a.AncestorRef.Name, a.Conditions[0].Reason))
				}
			}
			expect(t, "traced Gateways", strings.Join(traced, " "), tt.traced)
			expect(t, "conditions", strings.Join(got, " "), tt.want)
		})
	}
}

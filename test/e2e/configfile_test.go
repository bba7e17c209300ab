package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConfigurationFile runs with a file of Envoy Gateway's: what it says holds, what the command line says wins, and
// what has no effect is told.
func TestConfigurationFile(t *testing.T) {
	t.Parallel()
	c := startCollector(t)
	world := maps.Clone(simple)
	world["theirs.yaml"] = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: theirs}
spec: {controllerName: example.com/gateways}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: theirs}
spec:
  gatewayClassName: theirs
  listeners: [{name: http, protocol: HTTP, port: ${SPARE}}]
`
	in := prepare(t, world)
	file := filepath.Join(in.root, "settings.yaml")
	text := fmt.Sprintf(`apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyGateway
gateway: {controllerName: example.com/gateways}
provider:
  type: Custom
  custom:
    resource: {type: File, file: {paths: [%s]}}
    infrastructure: {type: Host, host: {stateHome: /nowhere, configHome: /nowhere}}
admin: {address: {port: 1}}
telemetry:
  metrics:
    prometheus: {disable: true}
    sinks: [{type: OpenTelemetry, openTelemetry: {host: 127.0.0.1, port: %d, protocol: grpc, exportInterval: 50ms}}]
extensionApis: {enableBackend: false}
`, in.config, c.port)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// The folder is not named on the command line.
	in.args = append([]string{"run", "--config-path", file}, in.args[2:]...)
	in.run()
	in.waitReady()
	eventually(t, func() error {
		const note = "settings.yaml:8: provider.custom.infrastructure.host.configHome: without effect"
		if out := in.process.output.String(); !strings.Contains(out, note) {
			return fmt.Errorf("it does not say %q:\n%s", note, out)
		}
		return nil
	})
	in.want(t, request{}, expect{status: 500})
	in.condition(t, conditionWant{
		kind: "HTTPRoute", name: "default/simple", condition: "ResolvedRefs=False/InvalidKind",
		message: "extensionApis.enableBackend",
	})
	in.condition(t, conditionWant{kind: "Gateway", name: "default/theirs", condition: "Programmed=True/Programmed"})
	if _, err := in.get("/metrics"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("metrics are answered: %v", err)
	}
	eventually(t, func() error {
		m, ok := c.metric("sluice_xds_acks_total")
		if !ok || m.resource["service.name"] != "sluice" {
			return fmt.Errorf("the collector has %v of %v", ok, m.resource)
		}
		return nil
	})
}

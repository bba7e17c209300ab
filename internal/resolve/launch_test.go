package resolve

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/model"
)

// launching are the options of one machine whose Envoy is started as EnvoyProxies say.
func launching() Options {
	o := shared()
	o.Launches = &LaunchOptions{Check: func(s *egv1a1.EnvoyProxySpec) error {
		if len(s.ExtraArgs) > 0 {
			return errors.New("spec.extraArgs: none")
		}
		return nil
	}}
	return o
}

// launch describes how the Envoy is to be started.
func (w *world) launch() string {
	l, ok := w.Launches.Peek("local")
	if !ok {
		return "none"
	}
	out := fmt.Sprintf("concurrency %d, levels %d", deref(l.Spec.Concurrency, 0), len(l.Spec.Logging.Level))
	if l.Spec.IPFamily != nil {
		out += ", " + string(*l.Spec.IPFamily)
	}
	if l.Hold != "" {
		out += ", held: " + l.Hold
	}
	return out
}

// TestLaunchOfGateways: Gateways share one Envoy. What only some say holds for it; where they differ, the first by name
// of the EnvoyProxies holds, and the status of the other says so.
func TestLaunchOfGateways(t *testing.T) {
	named := func(name string) string { return strings.Replace(ownParameters, "own", name, 1) }
	listener := func(port int) string { return fmt.Sprintf("{name: http, port: %d, protocol: HTTP}", port) }
	w := newWorld(t, launching(), classYAML)
	expect(t, "without a Gateway", w.launch(), "none")
	w.apply(gatewayYAML("plain", listener(80)))
	expect(t, "without an EnvoyProxy", w.launch(), "concurrency 0, levels 0")
	w.apply(envoyProxyYAML("a", "concurrency: 2, ipFamily: IPv4"), envoyProxyYAML("b", "concurrency: 3, logging: "+
		"{level: {default: info}}"), infra(gatewayYAML("x", listener(81)), named("a")),
		infra(gatewayYAML("y", listener(82)), named("b")))
	expect(t, "of two", w.launch(), "concurrency 2, levels 1, IPv4")
	if said := w.said("a"); said != "Accepted: The parameters are accepted" {
		t.Errorf("the EnvoyProxy that holds says %q", said)
	}
	if said := w.said("b"); !strings.Contains(said, "says otherwise in spec.concurrency, and holds") {
		t.Errorf("the other one says %q", said)
	}
	w.apply(envoyProxyYAML("b", "extraArgs: [-x]"))
	expect(t, "while one is not valid", w.launch(),
		"concurrency 2, levels 0, IPv4, held: EnvoyProxy default/b is not valid: spec.extraArgs: none")
	w.apply(envoyProxyYAML("b", "concurrency: 2"))
	expect(t, "of two that agree", w.launch(), "concurrency 2, levels 0, IPv4")
	if said := w.said("b"); said != "Accepted: The parameters are accepted" {
		t.Errorf("one that agrees says %q", said)
	}
	w.apply(envoyProxyYAML("b", "telemetry: {accessLog: {disable: true}}"))
	expect(t, "with telemetry but no metrics", w.launch(), "concurrency 2, levels 0, IPv4")
	expect(t, "what that one says", w.said("b"), "Accepted: The parameters are accepted")
	res := w.apply(serviceYAML, routeYAML("r", "", toService))
	for _, work := range res.Tables {
		if work.Table == "launches" {
			t.Errorf("%d launches were computed for a route", work.Recomputed)
		}
	}
	w.Launched.Set("local", Launched{Problem: "it does not like it"})
	w.apply()
	if said := w.said("a"); !strings.Contains(said, "it does not like it") {
		t.Errorf("an EnvoyProxy by which no Envoy starts says %q", said)
	}
}

// TestLaunchSinks: on one machine a Service that metrics are sent to has addresses, and no name.
func TestLaunchSinks(t *testing.T) {
	opts := observing(launching())
	w := newWorld(t, opts, classWithParameters, serviceYAML, gatewayYAML("gw", plainHTTP),
		envoyProxyYAML("shared", "telemetry: {metrics: {sinks: [{type: OpenTelemetry, openTelemetry: {backendRefs: "+
			"[{name: svc, port: 80}]}}]}}"), `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: svc-1, namespace: default, labels: {kubernetes.io/service-name: svc}}
addressType: IPv4
ports: [{name: http, port: 4317}]
endpoints: [{addresses: ["192.0.2.1"]}]
`)
	l, ok := w.Launches.Peek("local")
	if !ok || len(l.Sinks) != 1 || len(l.Sinks[0].Endpoints) != 1 {
		t.Fatalf("the launch is %+v", l)
	}
	if want := (model.Endpoint{Address: "192.0.2.1", Port: 4317}); l.Sinks[0].Endpoints[0] != want {
		t.Errorf("the sink has %+v, want %+v", l.Sinks[0].Endpoints[0], want)
	}
}

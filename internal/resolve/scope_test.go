package resolve

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
)

// What refers to a namespace that is not read is told that, and not that a grant is missing which may well be there.
func TestUnwatchedNamespace(t *testing.T) {
	namespace := func(team string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: other, labels: {team: %s}}\n", team)
	}
	opts := options()
	opts.Scope = &resource.Scope{
		Namespaces: []string{"default"}, Selector: labels.SelectorFromSet(labels.Set{"team": "web"}),
	}
	route := routeYAML("r", "", "{backendRefs: [{name: far, namespace: other, port: 80}]}")
	secure := gatewayYAML("tls",
		"{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c, namespace: other}]}}")
	const far = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: far}
spec:
  controllerName: sluice.dev/gateway-controller
  parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: p, namespace: other}
`
	w := newWorld(t, opts, classYAML, far, gatewayYAML("gw", plainHTTP), secure, route, namespace("none"))
	unwatched := "Sluice does not watch namespace other"
	said := func() []string {
		gateway, _ := w.GatewayStatus.Peek(inDefault("tls"))
		class, _ := w.GatewayClassStatus.Peek(model.Name{Name: "far"})
		return []string{w.messages(http("r")), fmt.Sprint(gateway.Listeners), fmt.Sprint(class.Conditions)}
	}
	for i, text := range said() {
		if !strings.Contains(text, unwatched) {
			t.Errorf("%d: want %q in %s", i, unwatched, text)
		}
	}
	w.apply(namespace("web"))
	for i, text := range said() {
		if strings.Contains(text, unwatched) || text == "" {
			t.Errorf("%d: the namespace is watched now: %s", i, text)
		}
	}
}

// Backends can be switched off: route authors then reach Services only.
func TestNoBackends(t *testing.T) {
	const backend = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: b, namespace: default}
spec: {endpoints: [{ip: {address: 10.0.0.1, port: 80}}]}
`
	route := routeYAML("r", "", "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: b}]}")
	for off, want := range map[bool]string{false: fineRoute, true: "gw: Accepted ResolvedRefs=False/InvalidKind"} {
		opts := options()
		opts.NoBackends = off
		w := newWorld(t, opts, classYAML, gatewayYAML("gw", plainHTTP), backend, route)
		expect(t, "status", w.route(http("r")), want)
		rt, _ := w.Routes.Peek(http("r"))
		if fault := rt.Rules[0].Fault; off != (fault != nil) {
			t.Errorf("Backends off %v: fault %+v", off, fault)
		}
		if off && !strings.Contains(w.messages(http("r")), "extensionApis.enableBackend") {
			t.Errorf("it is not said where: %s", w.messages(http("r")))
		}
	}
}

package main

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/test/apiserver"
)

const watchedWorld = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: %[1]s}
spec:
  gatewayClassName: eg
  listeners: [{name: http, port: 8080, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: %[1]s}
spec:
  parentRefs: [{name: gw}]
  rules: [{backendRefs: [{name: s, namespace: elsewhere, port: 80}]}]
`

// TestServeWithConfigurationFile serves the namespaces that a file of Envoy Gateway's selects, and writes no status
// anywhere else.
func TestServeWithConfigurationFile(t *testing.T) {
	server := apiserver.Start(t)
	objects := server.Objects(t)
	objects.InstallCRDs(t)
	namespace := func(name, gateway string) string {
		return fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s, labels: {gateway: %q}}}", name, gateway)
	}
	for _, name := range []string{"sluice-system", "in", "out", "elsewhere"} {
		objects.Apply(t, namespace(name, map[string]string{"in": "yes"}[name]))
	}
	for _, name := range []string{"in", "out"} {
		objects.Apply(t, fmt.Sprintf(watchedWorld, name))
	}
	r := startReplica(t, server, "one", "--config", configFile(t, `
gateway: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
provider:
  type: Kubernetes
  kubernetes:
    cacheSyncPeriod: 1h
    watch: {type: NamespaceSelector, namespaceSelector: {matchLabels: {gateway: "yes"}}}
logging: {encoder: Text, level: {default: info, infrastructure: error}}
`))
	eventually(t, "the replica is ready", func() bool { code, _ := r.get("/readyz"); return code == 200 })
	status := func(namespace string) string {
		return fmt.Sprint(objects.Get(t, schema.GroupVersionResource{
			Group: model.GroupGateway, Version: "v1", Resource: "httproutes",
		}, namespace, "r").Object["status"])
	}
	eventually(t, "the route in a namespace that is selected is told of the other one", func() bool {
		return strings.Contains(status("in"), "Sluice does not watch namespace elsewhere")
	})
	if got := status("out"); strings.Contains(got, "gatewayclass-controller") {
		t.Errorf("the route in a namespace that is not has a status: %s", got)
	}
	objects.Apply(t, namespace("out", "yes"))
	eventually(t, "it is served once its namespace is selected", func() bool {
		return strings.Contains(status("out"), "gatewayclass-controller")
	})
	if code, _ := r.get("/readyz"); code != 200 {
		t.Errorf("a namespace that came makes the replica unready: %d", code)
	}
	for text, want := range map[string]bool{
		"level=INFO msg=Serving": true, "cacheSyncPeriod: without effect": true, "No Envoys are run": true,
		`"level"`: false,
	} {
		if strings.Contains(r.logs.String(), text) != want {
			t.Errorf("%q is logged: %v, want %v", text, !want, want)
		}
	}
}

package kube

import (
	"errors"
	"fmt"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/sluice-gateway/sluice/test/cluster"
)

// class is the GatewayClass that the chart makes.
const class = "sluice"

// proxy is an EnvoyProxy named "proxy" for small and quick Envoys, with spec.provider.kubernetes in YAML's flow style.
func proxy(ns, kubernetes string) string {
	return fmt.Sprintf(`
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: proxy, namespace: %s}
spec:
  concurrency: 1
  shutdown: {drainTimeout: 20s, minDrainDuration: 5s}
  provider:
    type: Kubernetes
    kubernetes: %s
`, ns, kubernetes)
}

// replicas is an EnvoyProxy's spec.provider.kubernetes for as many Envoys, each on another node if that is possible.
func replicas(n int) string {
	return fmt.Sprintf(`{envoyDeployment: {replicas: %d, pod: {topologySpreadConstraints: [{maxSkew: 1,
      topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway,
      labelSelector: {matchLabels: {gateway.networking.k8s.io/gateway-name: gateway}}}]}},
      envoyPDB: {minAvailable: 1}}`, n)
}

// gateway is a Gateway with one listener for HTTP on port 80, shaped by the EnvoyProxy "proxy" of its namespace.
func gateway(ns, name string) string {
	return listeners(ns, name, "{name: http, protocol: HTTP, port: 80, allowedRoutes: {namespaces: {from: All}}}")
}

// listeners is a Gateway with listeners in YAML's flow style.
func listeners(ns, name string, listeners ...string) string {
	return fmt.Sprintf(`
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: %s, namespace: %s}
spec:
  gatewayClassName: %s
  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: proxy}}
  listeners: [%s]
`, name, ns, class, strings.Join(listeners, ", "))
}

// backend is a Service with pods of the conformance suite's echo server, which say "service": its name. They are on the
// first node, so that a test can take away the second.
func backend(ns, name string, pods int) string {
	return fmt.Sprintf(`
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  replicas: %[3]d
  selector: {matchLabels: {app: %[2]s}}
  template:
    metadata: {labels: {app: %[2]s}}
    spec:
      nodeSelector: {kubernetes.io/hostname: node1}
      terminationGracePeriodSeconds: 1
      containers:
      - name: echo
        image: %[4]s
        imagePullPolicy: Never
        env: [{name: SERVICE_NAME, value: %[2]s}, {name: NAMESPACE, value: %[1]s}]
        readinessProbe: {httpGet: {path: /, port: 3000}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: %[2]s, namespace: %[1]s}
spec: {selector: {app: %[2]s}, ports: [{name: http, port: 80, targetPort: 3000}]}
`, ns, name, pods, cluster.EchoImages[0])
}

// route is an HTTPRoute of a host to a backend, on the Gateway "gateway" of its namespace.
func route(ns, name, host, backend string) string {
	return fmt.Sprintf(`
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  parentRefs: [{name: gateway}]
  hostnames: [%[3]s]
  rules: [{backendRefs: [{name: %[4]s, port: 80}]}]
`, ns, name, host, backend)
}

// quickstart makes a Gateway with Envoys, one backend "one" and a route of one.example to it, and returns the Gateway's
// address when it is programmed.
func (w *world) quickstart(envoys int) string {
	w.t.Helper()
	return w.quickstartWith(replicas(envoys), envoys)
}

// quickstartWith is quickstart with an EnvoyProxy's spec.provider.kubernetes that makes as many Envoys.
func (w *world) quickstartWith(kubernetes string, envoys int) string {
	w.t.Helper()
	w.apply(proxy(w.ns, kubernetes) + gateway(w.ns, "gateway") + backend(w.ns, "one", 2) +
		route(w.ns, "one", "one.example", "one"))
	address := w.programmed(w.ns, "gateway")
	w.eventually("all Envoys to be ready", func() error { return w.ready(w.ns, "gateway", envoys) })
	w.answers(address, "one.example", "one")
	return address
}

// gatewayObject reads a Gateway.
func (w *world) gatewayObject(ns, name string) (*gwv1.Gateway, error) {
	g := new(gwv1.Gateway)
	return g, w.get(gatewayPath(ns, name), g)
}

// programmed waits until a Gateway is programmed, and returns its first address.
func (w *world) programmed(ns, name string) string {
	w.t.Helper()
	address := ""
	w.eventually("Gateway "+ns+"/"+name+" to be programmed", func() error {
		g, err := w.gatewayObject(ns, name)
		if err != nil {
			return err
		}
		if err := isProgrammed(g); err != nil {
			return err
		}
		address = g.Status.Addresses[0].Value
		return nil
	})
	return address
}

// isProgrammed says what keeps a Gateway from being programmed in its present generation.
func isProgrammed(g *gwv1.Gateway) error {
	c := meta.FindStatusCondition(g.Status.Conditions, string(gwv1.GatewayConditionProgrammed))
	switch {
	case c == nil:
		return errors.New("it has no condition Programmed")
	case c.Status != "True" || c.ObservedGeneration != g.Generation:
		return fmt.Errorf("Programmed is %+v at generation %d", *c, g.Generation)
	case len(g.Status.Addresses) == 0:
		return errors.New("it has no address")
	}
	return nil
}

// gatewayLabel is on everything that is made for a Gateway.
const gatewayLabel = "gateway.networking.k8s.io/gateway-name"

// envoys returns the pods of a Gateway's Envoys that are not about to go.
func (w *world) envoys(ns, name string) ([]corev1.Pod, error) {
	return w.pods(ns, gatewayLabel+"="+name)
}

func (w *world) pods(ns, selector string) ([]corev1.Pod, error) {
	var list corev1.PodList
	if err := w.get("/api/v1/namespaces/"+ns+"/pods?labelSelector="+selector, &list); err != nil {
		return nil, err
	}
	var out []corev1.Pod
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			out = append(out, p)
		}
	}
	return out, nil
}

// ready says what keeps a Gateway from having exactly so many Envoys, all of them ready.
func (w *world) ready(ns, name string, want int) error {
	pods, err := w.envoys(ns, name)
	if err != nil {
		return err
	}
	n := 0
	for _, p := range pods {
		if isReady(p) {
			n++
		}
	}
	if n != want || len(pods) != want {
		return fmt.Errorf("%d of %d Envoys are ready, want %d", n, len(pods), want)
	}
	return nil
}

func isReady(p corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

package kube

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/test/release"
)

// TestFleetShapes sends traffic through fleets of every shape.
func TestFleetShapes(t *testing.T) {
	w := begin(t)
	w.apply(backend(w.ns, "one", 1))
	// There is one Gateway at a time, and the address and port where it should answer.
	for _, shape := range []struct {
		name, kubernetes string
		// where returns the address at which the Gateway answers, when the fleet has its shape.
		where func(w *world) (string, error)
	}{
		{"a DaemonSet", "{envoyDaemonSet: {}}", (*world).atDaemonSet},
		{"node ports", "{envoyDeployment: {replicas: 1}, envoyService: {type: NodePort}}", (*world).atNodePort},
		{"a cluster address", "{envoyService: {type: ClusterIP}}", (*world).atClusterIP},
		{"an autoscaler", `{envoyHpa: {minReplicas: 1, maxReplicas: 3, metrics: [{type: Resource,
      resource: {name: cpu, target: {type: Utilization, averageUtilization: 60}}}]}}`, (*world).atAutoscaled},
	} {
		t.Run(shape.name, func(t *testing.T) {
			w := w.in(t)
			w.apply(proxy(w.ns, shape.kubernetes) + gateway(w.ns, "gateway") + route(w.ns, "one", "one.example", "one"))
			w.programmed(w.ns, "gateway")
			where := ""
			w.eventually("the fleet to be "+shape.name, func() (err error) {
				where, err = shape.where(w)
				return err
			})
			w.answers(where, "one.example", "one")
			w.kubectl("-n", w.ns, "delete", "gateway", "gateway")
			w.eventually("what was made for the Gateway to go", func() error {
				if left := w.made(w.ns); len(left) > 0 {
					return fmt.Errorf("there is %v", left)
				}
				return nil
			})
		})
	}
	t.Run("one fleet for two Gateways", func(t *testing.T) { w.in(t).mergedFleet() })
}

// address returns where the Gateway of the test says that it is.
func (w *world) address() (string, error) {
	g, err := w.gatewayObject(w.ns, "gateway")
	if err != nil {
		return "", err
	}
	if err := isProgrammed(g); err != nil {
		return "", err
	}
	return g.Status.Addresses[0].Value, nil
}

// atDaemonSet wants an Envoy on each node.
func (w *world) atDaemonSet() (string, error) {
	d, err := one[appsv1.DaemonSet](w, "/apis/apps/v1", "daemonsets")
	if err != nil {
		return "", err
	}
	if n := int(d.Status.NumberReady); n != len(w.Nodes()) {
		return "", fmt.Errorf("%d Envoys are ready on %d nodes", n, len(w.Nodes()))
	}
	return w.address()
}

// atNodePort wants the address of a node, and a port on it.
func (w *world) atNodePort() (string, error) {
	s, err := one[corev1.Service](w, "/api/v1", "services")
	if err != nil {
		return "", err
	}
	if s.Spec.Type != corev1.ServiceTypeNodePort || s.Spec.Ports[0].NodePort == 0 {
		return "", fmt.Errorf("the Service is %+v", s.Spec)
	}
	pods, err := w.envoys(w.ns, "gateway")
	if err != nil || len(pods) != 1 {
		return "", fmt.Errorf("there are %d Envoys: %w", len(pods), err)
	}
	g, err := w.gatewayObject(w.ns, "gateway")
	if err != nil {
		return "", err
	}
	if n := len(g.Status.Addresses); n != len(w.Nodes()) {
		return "", fmt.Errorf("the Gateway has %d addresses, want those of %d nodes", n, len(w.Nodes()))
	}
	// The policy is Local: a node without an Envoy passes nothing on.
	return net.JoinHostPort(pods[0].Status.HostIP, strconv.Itoa(int(s.Spec.Ports[0].NodePort))), nil
}

// atClusterIP wants an address that is good within the cluster.
func (w *world) atClusterIP() (string, error) {
	s, err := one[corev1.Service](w, "/api/v1", "services")
	if err != nil {
		return "", err
	}
	address, err := w.address()
	if err == nil && (s.Spec.Type != corev1.ServiceTypeClusterIP || s.Spec.ClusterIP != address) {
		err = fmt.Errorf("the Gateway is at %s, its Service is %+v", address, s.Spec)
	}
	return address, err
}

// atAutoscaled wants an autoscaler that the API server has taken. It does not scale, because nobody measures here.
func (w *world) atAutoscaled() (string, error) {
	h, err := one[autoscalingv2.HorizontalPodAutoscaler](w, "/apis/autoscaling/v2", "horizontalpodautoscalers")
	if err != nil {
		return "", err
	}
	d, err := one[appsv1.Deployment](w, "/apis/apps/v1", "deployments")
	if err != nil {
		return "", err
	}
	if h.Spec.ScaleTargetRef.Name != d.Name || h.Spec.Metrics[0].Resource.Name != corev1.ResourceCPU {
		return "", fmt.Errorf("the autoscaler is %+v", h.Spec)
	}
	return w.address()
}

// mergedFleet has two Gateways of a class share one fleet, and checks that it goes with the second of them.
func (w *world) mergedFleet() {
	class := w.ns + "-merged"
	w.apply(fmt.Sprintf(`
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: merged, namespace: %[1]s}
spec: {mergeGateways: true, concurrency: 1, shutdown: {drainTimeout: 10s, minDrainDuration: 2s}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: %[2]s}
spec:
  controllerName: sluice.dev/gateway-controller
  parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: merged, namespace: %[1]s}
`, w.ns, class))
	w.t.Cleanup(func() {
		path := "/apis/gateway.networking.k8s.io/v1/gatewayclasses/" + class
		if err := w.api.Delete(context.WithoutCancel(w.t.Context()), path); err != nil {
			w.t.Error(err)
		}
	})
	var at []string
	for i, name := range []string{"left", "right"} {
		w.apply(fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: %[2]s, namespace: %[1]s}
spec: {gatewayClassName: %[3]s, listeners: [{name: http, protocol: HTTP, port: %[4]d}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[2]s, namespace: %[1]s}
spec: {parentRefs: [{name: %[2]s}], hostnames: [%[2]s.example], rules: [{backendRefs: [{name: one, port: 80}]}]}
`, w.ns, name, class, 80+i))
		at = append(at, w.programmed(w.ns, name))
		w.answers(net.JoinHostPort(at[i], strconv.Itoa(80+i)), name+".example", "one")
	}
	if at[0] != at[1] {
		w.t.Errorf("the Gateways are at %v, not at one address", at)
	}
	if made := w.made(w.ns); len(made) > 0 {
		w.t.Errorf("a Gateway has a fleet of its own: %v", made)
	}
	w.kubectl("-n", w.ns, "delete", "gateway", "left", "right")
	w.eventually("the fleet to go", func() error {
		left := w.kubectl("-n", release.Default.Namespace, "get", "deployments,services", "-o", "name", "-l",
			gwv1.GatewayClassNameLabelKey+"="+class)
		if left != "" {
			return fmt.Errorf("there is %s", left)
		}
		return nil
	})
}

package kube

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestAllEnvoysReplaced deletes all Envoys of a Gateway at once, under load: those that go serve until their successors
// do, though the Service sends each node's traffic to Envoys on that node alone.
func TestAllEnvoysReplaced(t *testing.T) {
	w := begin(t)
	const envoys = 2
	address := w.quickstart(envoys)
	w.localPolicy()
	traffic := w.load(address, "one.example", "one")
	w.replaced(envoys, func() {
		w.kubectl("-n", w.ns, "delete", "pods", "-l", gatewayLabel+"=gateway", "--wait=false")
	})
	traffic.none()
}

// TestOnlyEnvoyMoves drains the node of the only Envoy of a Gateway, under load. Its successor is on another node, to
// which the load balancer turns.
func TestOnlyEnvoyMoves(t *testing.T) {
	w := begin(t)
	const from = "node2" // the backends are on the other one
	address := w.quickstartWith(`{envoyDeployment: {replicas: 1, pod: {affinity: {nodeAffinity: {
      preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, preference: {
      matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [`+from+`]}]}}]}}}}}`, 1)
	w.localPolicy()
	if pods, err := w.envoys(w.ns, "gateway"); err != nil || pods[0].Spec.NodeName != from {
		t.Fatalf("the Envoy is not on %s: %v", from, err)
	}
	traffic := w.load(address, "one.example", "one")
	w.replaced(1, func() {
		restore, err := w.Drain(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := restore(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
	})
	traffic.none()
}

// localPolicy checks that the Service of the test's Gateway keeps to the node that a connection comes to, as it does by
// default.
func (w *world) localPolicy() {
	w.t.Helper()
	s, err := one[corev1.Service](w, "/api/v1", "services")
	if err != nil {
		w.t.Fatal(err)
	}
	if s.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		w.t.Fatalf("the policy of the Service is %s, want Local", s.Spec.ExternalTrafficPolicy)
	}
}

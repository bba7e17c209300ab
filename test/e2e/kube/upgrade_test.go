package kube

import (
	"context"
	"errors"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-gateway/sluice/test/release"
)

// TestRollingUpgrade rolls the control plane and then the Envoys, under load.
func TestRollingUpgrade(t *testing.T) {
	w := begin(t)
	address := w.quickstart(2)
	traffic := w.load(address, "one.example", "one")

	before := w.controlled(controlPlanes)
	t.Cleanup(func() {
		if err := release.Default.Install(context.WithoutCancel(t.Context()), w.Cluster, values...); err != nil {
			t.Error(err)
		}
	})
	if err := release.Default.Install(t.Context(), w.Cluster, append(values, "podAnnotations.rolled=yes")...); err != nil {
		t.Fatal(err)
	}
	for _, p := range w.controlled(controlPlanes) {
		if _, old := pod(before, p.Name); old {
			t.Errorf("the replica %s was not replaced", p.Name)
		}
	}
	w.rollEnvoys(2)
	w.answers(address, "one.example", "one")
	traffic.none()
}

// rollEnvoys has all Envoys of the test's Gateway replaced one after another, and returns when the old ones are gone.
func (w *world) rollEnvoys(want int) {
	w.t.Helper()
	w.replaced(want, func() {
		w.patch(proxyPath(w.ns, "proxy"),
			`{"spec":{"provider":{"kubernetes":{"envoyDeployment":{"pod":{"annotations":{"rolled":"yes"}}}}}}}`)
	})
}

// replaced does something that has the Envoys of the test's Gateway replaced, and returns when the old ones are gone.
func (w *world) replaced(want int, do func()) {
	w.t.Helper()
	old, err := w.envoys(w.ns, "gateway")
	if err != nil {
		w.t.Fatal(err)
	}
	do()
	w.eventually("the Envoys to be replaced", func() error {
		var all corev1.PodList
		err := w.get("/api/v1/namespaces/"+w.ns+"/pods?labelSelector="+gatewayLabel+"=gateway", &all)
		if err != nil {
			return err
		}
		for _, p := range old {
			if _, there := pod(all.Items, p.Name); there {
				return fmt.Errorf("%s is still there", p.Name)
			}
		}
		return w.ready(w.ns, "gateway", want)
	})
}

// TestNodeDrained takes all pods off a node under load, Envoys and replicas of the control plane among them.
func TestNodeDrained(t *testing.T) {
	w := begin(t)
	const drained = "node2"
	address := w.quickstart(2)
	w.eventually("an Envoy on each node", func() error {
		pods, err := w.envoys(w.ns, "gateway")
		if err != nil {
			return err
		}
		if len(pods) != 2 || pods[0].Spec.NodeName == pods[1].Spec.NodeName {
			return errors.New("they are on the same node")
		}
		return nil
	})
	traffic := w.load(address, "one.example", "one")
	restore, err := w.Drain(t.Context(), drained)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := restore(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	w.eventually("all Envoys on the other node", func() error {
		pods, err := w.envoys(w.ns, "gateway")
		for _, p := range pods {
			if p.Spec.NodeName == drained {
				return fmt.Errorf("%s is on %s", p.Name, drained)
			}
		}
		return errors.Join(err, w.ready(w.ns, "gateway", 2))
	})
	w.controlled(controlPlanes)
	d, err := one[appsv1.Deployment](w, "/apis/apps/v1", "deployments")
	if err != nil || d.Status.ReadyReplicas != 2 {
		t.Errorf("the Deployment has %d ready replicas: %v", d.Status.ReadyReplicas, err)
	}
	traffic.none()
}

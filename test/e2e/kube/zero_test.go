package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/test/release"
)

// TestFleetScaledToZero takes all Envoys of a Gateway away by its EnvoyProxy, edits meanwhile, and has them back. The
// Gateway says that there are none, its routes stay what they are, and an Envoy that is ready again has everything.
func TestFleetScaledToZero(t *testing.T) {
	w := begin(t)
	const envoys = 2
	address := w.quickstart(envoys)
	w.apply(backend(w.ns, "two", 1))
	w.scaleFleet(0)
	w.eventually("no Envoy", func() error { return w.ready(w.ns, "gateway", 0) })
	w.eventually("the Gateway to say so", w.noResources)
	w.apply(route(w.ns, "late", "late.example", "two"))
	w.eventually("the status of a route that is made meanwhile", func() error { return w.accepted(w.ns, "late") })
	if err := w.accepted(w.ns, "one"); err != nil {
		t.Errorf("the route that was there: %v", err)
	}
	if err := w.noResources(); err != nil {
		t.Errorf("with another route: %v", err)
	}

	w.scaleFleet(envoys)
	w.servedWhenProgrammed(w.ns, "late.example", "two")
	w.eventually("all Envoys to be ready", func() error { return w.ready(w.ns, "gateway", envoys) })
	for host, service := range map[string]string{"one.example": "one", "late.example": "two"} {
		err := w.atEach(func(address string) error { return w.answered(address, host, service) })
		if err != nil {
			t.Errorf("an Envoy is ready, but does not serve %s: %v", host, err)
		}
		w.answers(address, host, service)
	}
	if now := w.programmed(w.ns, "gateway"); now != address {
		t.Errorf("the Gateway has moved from %s to %s", address, now)
	}
}

// scaleFleet has the EnvoyProxy of the test's Gateway want another number of Envoys.
func (w *world) scaleFleet(envoys int) {
	w.t.Helper()
	w.patch(proxyPath(w.ns, "proxy"),
		fmt.Sprintf(`{"spec":{"provider":{"kubernetes":{"envoyDeployment":{"replicas":%d}}}}}`, envoys))
}

// noResources says whether the Gateway of the test does not say that it has no Envoy.
func (w *world) noResources() error {
	g, err := w.gatewayObject(w.ns, "gateway")
	if err != nil {
		return err
	}
	for _, c := range g.Status.Conditions {
		if c.Type == string(gwv1.GatewayConditionProgrammed) && c.Status == "False" &&
			c.Reason == string(gwv1.GatewayReasonNoResources) {
			return nil
		}
	}
	return fmt.Errorf("its conditions are %+v", g.Status.Conditions)
}

// TestControlPlaneScaledToZero takes all replicas of the control plane away, under load. The Envoys go on, and
// statuses stay. One that starts meanwhile is not ready, rather than ready without a configuration; when there are
// replicas again it gets everything, with the edits that were made meanwhile.
func TestControlPlaneScaledToZero(t *testing.T) {
	w := begin(t)
	const envoys = 2
	address := w.quickstart(envoys)
	w.apply(backend(w.ns, "two", 1))
	w.quiet(w.ns)
	stay := w.staysProgrammed()
	traffic := w.load(address, "one.example", "one")
	t.Cleanup(func() { w.scaleControlPlane(context.WithoutCancel(t.Context()), controlPlanes) })
	w.scaleControlPlane(t.Context(), 0)
	w.eventually("no control plane", w.noReplica)
	w.apply(route(w.ns, "late", "late.example", "two"))
	fresh := w.newEnvoy()
	// Envoy would give up waiting for a control plane after 15 seconds, and be ready.
	const enough = 20 * time.Second
	for deadline := time.Now().Add(enough); time.Now().Before(deadline); time.Sleep(time.Second / 2) {
		p := new(corev1.Pod)
		if err := w.get(corePath(w.ns, "pods", fresh), p); err != nil {
			t.Fatal(err)
		}
		if isReady(*p) {
			t.Fatalf("Envoy %s is ready without a configuration", fresh)
		}
	}
	if err := w.answered(address, "one.example", "one"); err != nil {
		t.Errorf("without a control plane: %v", err)
	}

	w.scaleControlPlane(t.Context(), controlPlanes)
	back := time.Now()
	w.controlled(controlPlanes)
	ready := time.Now()
	w.answers(address, "late.example", "two")
	w.eventually("the new Envoy", func() error { return w.ready(w.ns, "gateway", envoys) })
	t.Logf("replicas were ready after %v, and the edit was live %v later",
		ready.Sub(back).Round(time.Millisecond), time.Since(ready).Round(time.Millisecond))
	w.everywhere("late.example", from("two"))
	w.eventually("the status of what was made meanwhile", func() error { return w.accepted(w.ns, "late") })
	traffic.none()
	stay()
}

// scaleControlPlane sets the number of replicas as an operator would, past the chart.
func (w *world) scaleControlPlane(ctx context.Context, n int) {
	w.t.Helper()
	out, err := w.Command(ctx, "kubectl", "-n", release.Default.Namespace, "scale", "deployment/"+release.Default.Name,
		fmt.Sprint("--replicas=", n)).CombinedOutput()
	if err != nil {
		w.t.Fatalf("scale the control plane to %d: %v: %s", n, err, out)
	}
}

// noReplica says how many replicas of the control plane are left, those that are about to go among them.
func (w *world) noReplica() error {
	var left corev1.PodList
	path := "/api/v1/namespaces/" + release.Default.Namespace + "/pods?labelSelector=" + release.Default.Selector()
	err := w.get(path, &left)
	if err == nil && len(left.Items) > 0 {
		err = fmt.Errorf("%d replicas are left", len(left.Items))
	}
	return err
}

// newEnvoy deletes an Envoy of the test's Gateway, and returns the name of the pod in its place when Envoy runs in it.
func (w *world) newEnvoy() string {
	w.t.Helper()
	before, err := w.envoys(w.ns, "gateway")
	if err != nil {
		w.t.Fatal(err)
	}
	w.kubectl("-n", w.ns, "delete", "pod", before[0].Name, "--wait=false")
	name := ""
	w.eventually("another Envoy to run", func() error {
		now, err := w.envoys(w.ns, "gateway")
		if err != nil {
			return err
		}
		for _, p := range now {
			if _, old := pod(before, p.Name); old {
				continue
			}
			name = p.Name
			_, err := w.process(p, envoyWord)
			return err
		}
		return errors.New("there is none")
	})
	return name
}

// staysProgrammed follows the test's Gateway: each state of it has to be programmed, at one address. What it returns
// ends that.
func (w *world) staysProgrammed() (end func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	followed := make(chan error, 1)
	address := ""
	go func() {
		followed <- w.follow(ctx, func(g *gwv1.Gateway) {
			if err := isProgrammed(g); err != nil {
				w.t.Errorf("at resourceVersion %s: %v", g.ResourceVersion, err)
				return
			}
			now := g.Status.Addresses[0].Value
			if address != "" && now != address {
				w.t.Errorf("the Gateway has moved from %s to %s", address, now)
			}
			address = now
		})
	}()
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-followed; !errors.Is(err, context.Canceled) {
			w.t.Errorf("the Gateway was followed only until the watch ended: %v", err)
		}
	})
	w.t.Cleanup(end)
	return end
}

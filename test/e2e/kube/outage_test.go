package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
)

// TestAPIServerCut takes the API server away from all nodes, under load. Meanwhile objects are edited, an Envoy dies
// and a replica of the control plane dies. The Envoy comes back, because the other replica still knows everything; the
// replica that died serves nobody, because it knows nothing.
//
// The controller manager is not there meanwhile: where the API server is away, it does not hear of anything either.
// Here it would, and say that all nodes are lost.
func TestAPIServerCut(t *testing.T) {
	w := begin(t)
	address := w.quickstart(1)
	// A Gateway of its own for the Envoy that dies: what it was serving is lost with it.
	w.apply(gateway(w.ns, "victim") + backend(w.ns, "two", 1) + fmt.Sprintf(`
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: victim, namespace: %s}
spec: {parentRefs: [{name: victim}], rules: [{backendRefs: [{name: two, port: 80}]}]}
`, w.ns))
	w.programmed(w.ns, "victim")
	w.eventually("the other Gateway's Envoy", func() error { return w.ready(w.ns, "victim", 1) })
	victims, err := w.envoys(w.ns, "victim")
	if err != nil {
		t.Fatal(err)
	}
	direct := net.JoinHostPort(victims[0].Status.PodIP, "80")
	w.answers(direct, "any.example", "two")
	replicas := w.controlled(controlPlanes)
	pair, roots := w.identity(w.ns, "gateway")

	traffic := w.load(address, "one.example", "one")
	reconnect := w.cutOff()
	began := time.Now()
	w.apply(route(w.ns, "late", "late.example", "two"))
	w.signal(replicas[0], serveWord, syscall.SIGKILL)
	w.eventually("the replica to be started again", func() error {
		_, err := w.process(replicas[0], serveWord)
		return err
	})
	w.killEnvoy(victims[0])
	w.answers(direct, "any.example", "two")
	// All this time the replica that knows nothing has been running.
	conn := w.connect(net.JoinHostPort(replicas[0].Status.PodIP, xdsPort), clientTLS(roots, pair))
	if got, err := fetch(t.Context(), conn, "any"); err == nil {
		t.Errorf("a control plane that has not read anything served %v", got)
	}
	time.Sleep(time.Until(began.Add(scaled(20*time.Second, 2*time.Minute))))
	if err := w.answered(address, "late.example", "two"); err == nil {
		t.Error("an edit got through to Envoys: the API server was not cut")
	}
	// Nobody knows more than the replica that remained, so it keeps its Envoys, and takes others.
	if err := w.saysReady(replicas[1]); err != nil {
		t.Errorf("while no replica hears from the API server, none should be left: %v", err)
	}
	back := time.Now()
	reconnect()
	w.answers(address, "late.example", "two")
	t.Logf("the edit was live %v after the API server was back", time.Since(back).Round(time.Millisecond))
	w.controlled(controlPlanes)
	traffic.none()
}

// TestStartWithoutAPIServer starts all replicas anew while the API server is away, under load. They know nothing, and
// so they serve nobody, are not ready, and take nothing from the Envoys, which go on. When it is back they are ready
// within 30 seconds, and what was edited meanwhile is live.
func TestStartWithoutAPIServer(t *testing.T) {
	w := begin(t)
	address := w.quickstart(1)
	w.apply(backend(w.ns, "two", 1))
	w.edit(address, "early") // nobody writes endpoints while the API server is away
	replicas := w.controlled(controlPlanes)
	pair, roots := w.identity(w.ns, "gateway")
	stay, traffic := w.staysProgrammed(), w.load(address, "one.example", "one")
	reconnect := w.cutOff()
	w.apply(route(w.ns, "late", "late.example", "two"))
	before := w.eachProcess(replicas)
	for _, p := range replicas {
		w.signal(p, serveWord, syscall.SIGKILL)
	}
	for _, p := range replicas {
		w.eventually("the replica to be started again", func() error {
			pid, err := w.process(p, serveWord)
			if err == nil && pid == before[p.Name] {
				err = errors.New("it is the old process")
			}
			return err
		})
	}
	// Long enough for an Envoy to have asked both of them.
	for end := time.Now().Add(scaled(10*time.Second, time.Minute)); time.Now().Before(end); time.Sleep(time.Second) {
		for _, p := range replicas {
			if err := w.saysReady(p); err == nil {
				t.Fatalf("%s is ready and knows nothing", p.Name)
			}
			conn := w.connect(net.JoinHostPort(p.Status.PodIP, xdsPort), clientTLS(roots, pair))
			if got, err := fetchFor(t.Context(), time.Second, conn, "any"); err == nil {
				t.Fatalf("%s has not read anything and served %v", p.Name, got)
			}
		}
	}
	back := time.Now()
	reconnect()
	w.within(30*time.Second, "the replicas to be ready", func() error { return w.startedAgain(replicas, before) })
	t.Logf("the replicas were ready %v after the API server was back", time.Since(back).Round(time.Millisecond))
	w.answers(address, "late.example", "two")
	w.controlled(controlPlanes)
	traffic.none()
	stay()
}

// killEnvoy kills an Envoy, and waits until its container runs again. The API server need not be there to know.
func (w *world) killEnvoy(p corev1.Pod) {
	w.t.Helper()
	before, err := w.process(p, envoyWord)
	if err != nil {
		w.t.Fatal(err)
	}
	w.signal(p, envoyWord, syscall.SIGKILL)
	w.eventually("the Envoy to be started again", func() error {
		pid, err := w.process(p, envoyWord)
		if err == nil && pid == before {
			err = errors.New("it is the old process")
		}
		return err
	})
}

// cutOff takes the API server away from the nodes. What it returns gives it back.
func (w *world) cutOff() (reconnect func()) {
	w.t.Helper()
	const manager = "kube-controller-manager"
	w.t.Cleanup(func() {
		// Only when the nodes have been heard of again is there no reason to take them for lost.
		restored := time.Now()
		w.eventually("the nodes to report", func() error { return w.reported(restored) })
		if err := w.Restart(manager); err != nil {
			w.t.Error(err)
		}
	})
	if err := w.Kill(manager); err != nil {
		w.t.Fatal(err)
	}
	restore, err := w.CutAPIServer(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	reconnect = sync.OnceFunc(func() {
		if err := restore(context.WithoutCancel(w.t.Context())); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(reconnect)
	return reconnect
}

// reported says which node has not renewed its Lease since a moment.
func (w *world) reported(since time.Time) error {
	var list coordinationv1.LeaseList
	path := "/apis/coordination.k8s.io/v1/namespaces/" + corev1.NamespaceNodeLease + "/leases"
	if err := w.api.Get(context.WithoutCancel(w.t.Context()), path, &list); err != nil {
		return err
	}
	for _, lease := range list.Items {
		if lease.Spec.RenewTime.Time.Before(since) {
			return fmt.Errorf("%s has not", lease.Name)
		}
	}
	return nil
}

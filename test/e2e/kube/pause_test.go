package kube

import (
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestReplicaPaused pauses one replica of the control plane after the other, as if its node had hung: its connections
// stay open and say nothing. What is edited then reaches all Envoys soon, because those that it served notice and turn
// to the other replica. The second replica that is paused serves them all by then.
func TestReplicaPaused(t *testing.T) {
	w := begin(t)
	const envoys = 3
	address := w.quickstart(envoys)
	w.apply(backend(w.ns, "two", 1))
	traffic := w.load(address, "one.example", "one")
	for i, p := range w.controlled(controlPlanes) {
		w.signal(p, serveWord, syscall.SIGSTOP)
		resume := sync.OnceFunc(func() { w.signal(p, serveWord, syscall.SIGCONT) })
		t.Cleanup(resume)
		// A PING after 3 s, its answer missed 2 s later, and perhaps one new connection to the same replica in vain.
		w.reaches(10*time.Second, envoys, fmt.Sprint("paused", i))
		resume()
		w.controlled(controlPlanes)
	}
	traffic.none()
}

// reaches makes a route, which every Envoy has to serve within some time.
func (w *world) reaches(limit time.Duration, envoys int, name string) {
	w.t.Helper()
	pods, err := w.envoys(w.ns, "gateway")
	if err != nil || len(pods) != envoys {
		w.t.Fatalf("there are %d Envoys, want %d: %v", len(pods), envoys, err)
	}
	began := time.Now()
	w.apply(route(w.ns, name, name+".example", "two"))
	for _, p := range pods {
		at := net.JoinHostPort(p.Status.PodIP, "80")
		w.within(limit-time.Since(began), "the route "+name+" at "+p.Name,
			func() error { return w.answered(at, name+".example", "two") })
		w.t.Logf("%s has %s after %v", p.Name, name, time.Since(began).Round(time.Millisecond))
	}
}

package kube

import (
	"fmt"
	"net"
	"slices"
	"syscall"
	"testing"
)

// TestControlPlaneKilled kills all replicas again and again, under load and with edits between. An Envoy that connects
// to each replica that comes back is never told to remove anything.
func TestControlPlaneKilled(t *testing.T) {
	w := begin(t)
	address := w.quickstart(1)
	w.apply(backend(w.ns, "two", 1))
	replicas := w.controlled(controlPlanes)
	pair, roots := w.identity(w.ns, "gateway")
	viewers := w.viewers()
	traffic := w.load(address, "one.example", "one")
	const times = 20
	for i := range times {
		before := w.eachProcess(replicas)
		for _, pid := range before {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		w.eventually("the replicas to be started again", func() error { return w.startedAgain(replicas, before) })
		if edits := 5; i%edits == edits-1 {
			host := fmt.Sprintf("edit%d.example", i)
			w.apply(route(w.ns, fmt.Sprint("edit", i), host, "two"))
			w.answers(address, host, "two")
		}
	}
	w.controlled(controlPlanes)
	last := fmt.Sprintf("edit%d.example", times-1)
	for i, v := range viewers {
		w.eventually("a replica to serve everything", func() error {
			conn := w.connect(net.JoinHostPort(replicas[i].Status.PodIP, xdsPort), clientTLS(roots, pair))
			now, err := fetch(t.Context(), conn, "any")
			if err != nil {
				return err
			}
			for _, typeURL := range types[:3] {
				if got, want := v.names(typeURL), now.names(typeURL); !slices.Equal(got, want) {
					return fmt.Errorf("of %s the viewer has %v, want %v", typeURL, got, want)
				}
			}
			return nil
		})
		if removed, _ := v.noted(); len(removed) > 0 {
			t.Errorf("replica %d told an Envoy to remove %v", i, removed)
		}
	}
	w.answers(address, last, "two")
	traffic.none()
}

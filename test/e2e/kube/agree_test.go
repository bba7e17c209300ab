package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// TestReplicasAgree pauses one replica while objects change, so that it hears of them late and at once. When it goes on
// it serves the same as the other one, to the version of each resource, and after that each change of a route is one
// push of each replica.
func TestReplicasAgree(t *testing.T) {
	w := begin(t)
	address := w.quickstart(1)
	w.apply(backend(w.ns, "two", 1) + route(w.ns, "both", "both.example", "two"))
	w.answers(address, "both.example", "two")
	replicas := w.controlled(controlPlanes)
	viewers := w.viewers()
	w.eventually("the replicas to agree", func() error { return agree(viewers) })

	late := replicas[0]
	w.signal(late, serveWord, syscall.SIGSTOP)
	resume := sync.OnceFunc(func() { w.signal(late, serveWord, syscall.SIGCONT) })
	t.Cleanup(resume)
	const edits = 20
	for i := range edits {
		w.post(routePath(w.ns, ""), routeTo(w.ns, i, []string{"one", "two"}[i%2]))
		w.lead("both", []string{"one", "two"}[i%2])
	}
	if err := w.api.Delete(t.Context(), routePath(w.ns, nameOf(0))); err != nil {
		t.Fatal(err)
	}
	w.eventually("the edits at the other replica", func() error { return w.status(address, hostOf(edits-1), 200) })
	if agree(viewers) == nil {
		t.Error("the replica that is paused has the edits: it was not late")
	}
	resume()
	w.eventually("the replicas to agree again", func() error { return agree(viewers) })
	w.controlled(controlPlanes)
	w.quiet(w.ns)
	if err := agree(viewers); err != nil {
		t.Errorf("some time later: %v", err)
	}

	before := routesSent(viewers)
	for i := range edits {
		service := []string{"one", "two"}[i%2]
		w.lead("both", service)
		w.eventually("the edit", func() error { return w.answered(address, "both.example", service) })
	}
	w.eventually("the replicas to agree in the end", func() error { return agree(viewers) })
	for i, sent := range routesSent(viewers) {
		if n := sent - before[i]; n > edits {
			t.Errorf("%d edits of a route were %d pushes of replica %d", edits, n, i)
		}
	}
}

// viewers are xDS clients, one of each replica, until the end of the test.
func (w *world) viewers() []*viewer {
	w.t.Helper()
	pair, roots := w.identity(w.ns, "gateway")
	ctx, cancel := context.WithCancel(w.t.Context())
	w.t.Cleanup(cancel)
	var out []*viewer
	for i, p := range w.controlled(controlPlanes) {
		v := &viewer{held: resources{}}
		conn := w.connect(net.JoinHostPort(p.Status.PodIP, xdsPort), clientTLS(roots, pair))
		go v.watch(ctx, conn, fmt.Sprint("viewer-", i))
		out = append(out, v)
	}
	return out
}

// agree says in what the replicas differ, by what viewers have of them.
func agree(viewers []*viewer) error {
	for _, t := range types {
		first := viewers[0].versions(t)
		for i, v := range viewers[1:] {
			if now := v.versions(t); !maps.Equal(first, now) {
				return fmt.Errorf("of %s replica 0 has %v, replica %d has %v", t, first, i+1, now)
			}
		}
	}
	if len(viewers[0].versions(types[2])) == 0 {
		return errors.New("there are no routes yet")
	}
	return nil
}

// routesSent is how often each viewer was sent a route table that it had in another version.
func routesSent(viewers []*viewer) []int {
	out := make([]int, len(viewers))
	for i, v := range viewers {
		_, fresh := v.noted()
		for _, name := range fresh {
			if strings.HasPrefix(name, types[2]+" ") {
				out[i]++
			}
		}
	}
	return out
}

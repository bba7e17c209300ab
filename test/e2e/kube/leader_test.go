package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// leaseOver is when another replica leads at the latest that was not told: a Lease of 8 seconds, tried for once a
// second, and some for a machine that is busy.
const leaseOver = 17 * time.Second

// TestLeaderLost loses the leader in four ways, under load. Each time another replica leads, and edits go on: they are
// served, and their status is written.
func TestLeaderLost(t *testing.T) {
	w := begin(t)
	address := w.quickstart(1)
	w.apply(backend(w.ns, "two", 1))
	for _, loss := range []struct {
		name string
		lose func(*world, corev1.Pod) (restore func())
		// apart is true of a leader that still serves Envoys, what it last knew.
		apart bool
		// within is how soon another one has to lead: when the Lease is over, or at once if it is given back.
		within time.Duration
	}{
		{name: "killed", lose: (*world).loseByKill, within: leaseOver},
		{name: "paused", lose: (*world).loseByPause, within: leaseOver},
		{name: "partitioned", lose: (*world).loseByPartition, within: leaseOver, apart: true},
		{name: "ended", lose: (*world).loseByEnd, within: 3 * time.Second},
	} {
		t.Run(loss.name, func(t *testing.T) {
			w := w.in(t)
			replicas := w.controlled(controlPlanes)
			leader := w.leader()
			p, ok := pod(replicas, leader)
			if !ok {
				t.Fatalf("the leader %s is not among the replicas", leader)
			}
			traffic, attached := w.load(address, "one.example", "one"), w.followAttached()
			restore := sync.OnceFunc(loss.lose(w, p))
			t.Cleanup(restore)
			lost := time.Now()
			w.within(loss.within, "another leader", func() error {
				return w.leads(func(now string) bool { return now != leader })
			})
			t.Logf("another replica led after %v", time.Since(lost).Round(time.Millisecond))
			if loss.apart {
				w.apply(route(w.ns, "apart", "apart.example", "two"))
				w.eventually("the status of a route", func() error { return w.accepted(w.ns, "apart") })
			} else {
				w.edit(address, loss.name+"-without")
			}
			restore()
			w.controlled(controlPlanes)
			w.edit(address, loss.name+"-after")
			if loss.apart {
				w.answers(address, "apart.example", "two")
			}
			// The old leader is back. Had it written anything still, it would be what it knew when it was lost.
			w.quiet(w.ns)
			if now := w.leader(); now == leader {
				t.Errorf("%s leads again", leader)
			}
			traffic.none()
			attached.onlyMore()
		})
	}
}

// leads says whether the leader is who it should be.
func (w *world) leads(right func(name string) bool) error {
	now, err := w.holder()
	if err == nil && !right(now) {
		err = fmt.Errorf("it is %s", now)
	}
	return err
}

// edit makes a route, and waits until it is served and said to be accepted.
func (w *world) edit(address, name string) {
	w.t.Helper()
	w.apply(route(w.ns, name, name+".example", "two"))
	w.answers(address, name+".example", "two")
	w.eventually("the status of the route "+name, func() error { return w.accepted(w.ns, name) })
}

func (w *world) loseByKill(leader corev1.Pod) func() {
	w.signal(leader, serveWord, syscall.SIGSTOP) // it must not be back before another leads
	return func() { w.signal(leader, serveWord, syscall.SIGKILL) }
}

// loseByEnd deletes the pod, as an upgrade or an eviction does.
func (w *world) loseByEnd(leader corev1.Pod) func() {
	w.kubectl("-n", leader.Namespace, "delete", "pod", leader.Name, "--wait=false")
	return func() {}
}

func (w *world) loseByPause(leader corev1.Pod) func() {
	w.signal(leader, serveWord, syscall.SIGSTOP)
	return func() { w.signal(leader, serveWord, syscall.SIGCONT) }
}

func (w *world) loseByPartition(leader corev1.Pod) func() {
	restore, err := w.CutPod(w.t.Context(), leader.Spec.NodeName, leader.Status.PodIP)
	if err != nil {
		w.t.Fatal(err)
	}
	return func() {
		if err := restore(context.WithoutCancel(w.t.Context())); err != nil {
			w.t.Error(err)
		}
	}
}

// attachedSeen are the numbers of attached routes that were written to the status of the Gateway, one after another.
type attachedSeen struct {
	w       *world
	mu      sync.Mutex
	numbers []int32
	end     context.CancelFunc
	ended   chan error
}

// followAttached begins to note them.
func (w *world) followAttached() *attachedSeen {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	out := &attachedSeen{w: w, end: cancel, ended: make(chan error, 1)}
	go func() {
		out.ended <- w.follow(ctx, func(g *gwv1.Gateway) {
			out.mu.Lock()
			defer out.mu.Unlock()
			for _, l := range g.Status.Listeners {
				out.numbers = append(out.numbers, l.AttachedRoutes)
			}
		})
	}()
	return out
}

// onlyMore checks that no number was smaller than the one before: routes were only added, so that a smaller one would
// be of a writer that does not know them all.
func (s *attachedSeen) onlyMore() {
	s.w.t.Helper()
	s.end()
	if err := <-s.ended; !errors.Is(err, context.Canceled) {
		s.w.t.Fatalf("statuses were followed only until the watch ended: %v", err)
	}
	if len(s.numbers) == 0 || !slices.IsSorted(s.numbers) {
		s.w.t.Errorf("the numbers of attached routes were %v", s.numbers)
	}
}

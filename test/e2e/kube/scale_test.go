package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// TestAttachedRoutes attaches many routes one after another and takes them away again. The number in the Gateway's
// status ends right, and the Gateway is not written more often than a person or a controller could follow.
func TestAttachedRoutes(t *testing.T) {
	w := begin(t)
	w.apply(proxy(w.ns, "{envoyDeployment: {replicas: 1}}") + gateway(w.ns, "gateway") + backend(w.ns, "one", 1))
	address := w.programmed(w.ns, "gateway")
	w.quiet(w.ns)
	const routes = 1000
	counter := w.count()
	for i := range routes {
		if err := w.api.Post(t.Context(), strings.TrimSuffix(routePath(w.ns, ""), "/"), routeTo(w.ns, i, "one")); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually("all to be attached", func() error { return w.attached(routes) })
	w.answers(address, hostOf(routes-1), "one")
	for i := range routes {
		if err := w.api.Delete(t.Context(), routePath(w.ns, nameOf(i))); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually("all to be detached", func() error { return w.attached(0) })
	writes, most, took := counter.stop()
	t.Logf("%d writes of the Gateway in %v, at most %d in a second", writes, took.Round(time.Millisecond), most)
	const limit = 10
	if most > limit {
		t.Errorf("the Gateway was written %d times in one second, at most %d were promised", most, limit)
	}
}

func nameOf(i int) string { return fmt.Sprintf("route-%d", i) }
func hostOf(i int) string { return fmt.Sprintf("h%d.example", i) }

// routeTo is HTTPRoute i, of a host of its own to a Service.
func routeTo(ns string, i int, service string) any {
	return map[string]any{
		"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
		"metadata": map[string]any{"name": nameOf(i), "namespace": ns},
		"spec": map[string]any{
			"parentRefs": []any{map[string]any{"name": "gateway"}}, "hostnames": []string{hostOf(i)},
			"rules": []any{map[string]any{"backendRefs": []any{map[string]any{"name": service, "port": 80}}}},
		},
	}
}

func (w *world) attached(want int32) error {
	g, err := w.gatewayObject(w.ns, "gateway")
	if err != nil {
		return err
	}
	for _, l := range g.Status.Listeners {
		if l.AttachedRoutes != want {
			return fmt.Errorf("%d routes are attached, want %d", l.AttachedRoutes, want)
		}
	}
	return nil
}

// writes counts the writes of the Gateways of a namespace.
type writes struct {
	mu     sync.Mutex
	times  []time.Time
	began  time.Time
	cancel context.CancelFunc
	done   chan error
	w      *world
}

func (w *world) count() *writes {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	out := &writes{began: time.Now(), cancel: cancel, done: make(chan error, 1), w: w}
	go func() {
		out.done <- w.follow(ctx, func(*gwv1.Gateway) {
			out.mu.Lock()
			defer out.mu.Unlock()
			out.times = append(out.times, time.Now())
		})
	}()
	return out
}

// stop returns how many writes there were, the most in any second, and how long was counted.
func (c *writes) stop() (all, most int, took time.Duration) {
	c.w.t.Helper()
	c.cancel()
	if err := <-c.done; !errors.Is(err, context.Canceled) {
		c.w.t.Fatalf("writes were counted only until the watch ended: %v", err)
	}
	for first, i := 0, 0; i < len(c.times); i++ {
		for c.times[i].Sub(c.times[first]) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return len(c.times), most, time.Since(c.began)
}

// accepted says what keeps a route from being accepted by all its parents.
func (w *world) accepted(ns, name string) error {
	r := new(gwv1.HTTPRoute)
	if err := w.get(routePath(ns, name), r); err != nil {
		return err
	}
	if len(r.Status.Parents) == 0 {
		return errors.New("it has no status")
	}
	for _, p := range r.Status.Parents {
		for _, c := range p.Conditions {
			if c.Status != "True" {
				return fmt.Errorf("%s is %s: %s", c.Type, c.Reason, c.Message)
			}
		}
	}
	return nil
}

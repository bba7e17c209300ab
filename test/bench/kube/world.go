package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sluice-gateway/sluice/test/bench/load"
	"github.com/sluice-gateway/sluice/test/bench/table"
)

// namespace is where everything of a world is.
const namespace = "bench"

// patience is how long anything may take.
const patience = 10 * time.Minute

// pollEvery is how often a change is looked for: the resolution of all times measured.
const pollEvery = 500 * time.Microsecond

// figure is something that was measured, and its place in the table.
type figure struct {
	table.Row

	Order int
}

// world is a Gateway of the system under measurement, with routes and their backends.
type world struct {
	options
	*client

	system   system
	backends *backends
	// address is the Gateway's host:port.
	address string
	// n is how many Services, EndpointSlices and HTTPRoutes there are.
	n        int
	measured map[string]figure
}

func newWorld(ctx context.Context, o options, s system) (*world, error) {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, fmt.Errorf("read $KUBECONFIG: %w", err)
	}
	api, err := newClient(config)
	if err != nil {
		return nil, err
	}
	w := &world{options: o, client: api, system: s, measured: map[string]figure{}}
	if w.backends, err = newBackends(backendIP); err != nil {
		return nil, err
	}
	if err := w.prepare(ctx); err != nil {
		w.close(context.WithoutCancel(ctx))
		return nil, err
	}
	return w, nil
}

// prepare makes the Gateway and waits until it is programmed.
func (w *world) prepare(ctx context.Context) error {
	if err := w.deleteNamespace(ctx, namespace); err != nil {
		return err
	}
	for _, o := range []object{namespaceObject(namespace), gateway(w.system.class)} {
		if err := w.apply(ctx, o); err != nil {
			return err
		}
	}
	return w.until(ctx, "the Gateway is programmed", func() (bool, error) {
		g, err := w.get(ctx, gatewayResource, gatewayName)
		if err != nil {
			return false, err
		}
		address, ok := programmed(g)
		w.address = address
		return ok, nil
	})
}

// programmed returns the address of a Gateway that is programmed.
func programmed(g *unstructured.Unstructured) (address string, ok bool) {
	conditions, _, _ := unstructured.NestedSlice(g.Object, "status", "conditions")
	for _, c := range conditions {
		c, _ := c.(map[string]any)
		ok = ok || c["type"] == "Programmed" && c["status"] == "True"
	}
	addresses, _, _ := unstructured.NestedSlice(g.Object, "status", "addresses")
	if !ok || len(addresses) == 0 {
		return "", false
	}
	first, _ := addresses[0].(map[string]any)
	return fmt.Sprintf("%v:%d", first["value"], gatewayPort), true
}

func (w *world) close(ctx context.Context) {
	w.backends.close()
	if err := w.deleteNamespace(ctx, namespace); err != nil {
		fmt.Fprintln(os.Stderr, "bench: clean up:", err)
	}
}

// add notes a figure.
func (w *world) add(r table.Row) {
	w.measured[r.What] = figure{Row: r, Order: len(w.measured)}
	fmt.Printf("%s: %s: %s %s\n", w.system.name, r.What, r.Unit.Format(r.Measured), r.Note)
}

// until waits until check says so. Errors of the API server are not final: it may be overloaded.
func (w *world) until(ctx context.Context, what string, check func() (bool, error)) error {
	deadline := time.Now().Add(patience)
	for {
		done, err := check()
		if done {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("%s: not after %v", what, patience), err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// answers polls a request until it is answered with a status, and returns when that was and which others came before.
func (w *world) answers(ctx context.Context, conn *load.Conn, req load.Request, want int) (time.Time, seen, error) {
	before := seen{}
	for deadline := time.Now().Add(patience); ; time.Sleep(pollEvery) {
		status, err := conn.Do(req)
		now := time.Now()
		switch {
		case err == nil && status == want:
			return now, before, nil
		case ctx.Err() != nil:
			return now, before, ctx.Err()
		case now.After(deadline):
			return now, before, fmt.Errorf("%q is not answered with %d after %v (last: %d, %w)",
				req, want, patience, status, err)
		}
		before[status]++
	}
}

// grow makes Services, EndpointSlices and routes until there are n, and waits until the last ones are served.
func (w *world) grow(ctx context.Context, n int) error {
	const writers = 8
	next, failed := make(chan int), make(chan error, writers)
	var wait sync.WaitGroup
	for range writers {
		wait.Go(func() {
			for i := range next {
				if err := w.write(ctx, i, path(0)); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	var err error
	for i := w.n; i < n && err == nil; i++ {
		select {
		case next <- i:
		case err = <-failed:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	close(next)
	wait.Wait()
	select {
	case err = <-failed:
	default:
	}
	if err != nil {
		return fmt.Errorf("make %d routes: %w", n, err)
	}
	w.n = max(w.n, n)
	conn := load.NewConn(w.address)
	defer conn.Close()
	for _, i := range []int{0, n / 2, n - 1} {
		if _, _, err := w.answers(ctx, conn, load.NewRequest(host(i), path(0), nil), 200); err != nil {
			return err
		}
	}
	return nil
}

// write makes or changes route i with its Service and EndpointSlice.
func (w *world) write(ctx context.Context, i int, path string) error {
	for _, o := range []object{
		service(name(i)), endpoint(name(i), name(i), w.backends.ok, true), route(i, path),
	} {
		if err := w.apply(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

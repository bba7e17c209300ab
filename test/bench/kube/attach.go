package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/sluice-gateway/sluice/test/bench/table"
)

// writesTarget is how often a Gateway may be written in a second.
const writesTarget = 10

// attach makes routes and Services without endpoints, then deletes them, and looks at the Gateway's status meanwhile:
// how long it takes until attachedRoutes is right, and how often the Gateway is written.
func attach(ctx context.Context, w *world) error {
	n := 1000
	if w.quick {
		n = 100
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	writes, err := w.countWrites(watching)
	if err != nil {
		return err
	}
	began := time.Now()
	for i := range n {
		o := routeTo(fmt.Sprintf("attach-%d", i), host(i), path(0), gatewayParent(), name(i))
		if err := w.apply(ctx, o); err != nil {
			return err
		}
	}
	made := time.Now()
	if err := w.attached(ctx, gatewayResource, gatewayName, n); err != nil {
		return err
	}
	w.add(table.Row{What: fmt.Sprintf("%d routes attached, after the last is made", n),
		Measured: table.InMilliseconds(time.Since(made)),
		Note:     fmt.Sprintf("made in %v", made.Sub(began).Round(time.Millisecond))})
	for i := range n {
		if err := w.remove(ctx, routeResource, fmt.Sprintf("attach-%d", i)); err != nil {
			return err
		}
	}
	gone := time.Now()
	if err := w.attached(ctx, gatewayResource, gatewayName, 0); err != nil {
		return err
	}
	w.add(table.Row{What: fmt.Sprintf("%d routes detached, after the last is deleted", n),
		Measured: table.InMilliseconds(time.Since(gone))})
	total, took := writes.Load(), time.Since(began).Seconds()
	w.add(table.Row{What: "writes of the Gateway a second meanwhile", Unit: table.Ratio, Target: writesTarget,
		Measured: float64(total) / took, Note: fmt.Sprintf("%d writes in %.1f s", total, took)})
	return nil
}

// countWrites counts how often the Gateway changes until the context ends.
func (w *world) countWrites(ctx context.Context) (*atomic.Int64, error) {
	watcher, err := w.in(gatewayResource).Watch(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, gatewayName).String(),
	})
	if err != nil {
		return nil, fmt.Errorf("watch the Gateway: %w", err)
	}
	writes := new(atomic.Int64)
	go func() {
		for event := range watcher.ResultChan() {
			// The first one tells how it is, the last one may tell of the end.
			if event.Type == watch.Modified || event.Type == watch.Deleted {
				writes.Add(1)
			}
		}
	}()
	return writes, nil
}

// attached waits until the first listener of a Gateway or ListenerSet has so many routes.
func (w *world) attached(ctx context.Context, resource schema.GroupVersionResource, name string, n int) error {
	last := int64(-1)
	err := w.until(ctx, fmt.Sprintf("%d routes attached to %s", n, name), func() (bool, error) {
		o, err := w.get(ctx, resource, name)
		if err != nil {
			return false, err
		}
		var ok bool
		last, ok = attachedRoutes(o)
		return ok && last == int64(n), nil
	})
	if err != nil {
		return errors.Join(err, fmt.Errorf("attachedRoutes is %d", last))
	}
	return nil
}

func attachedRoutes(o *unstructured.Unstructured) (n int64, ok bool) {
	listeners, _, _ := unstructured.NestedSlice(o.Object, "status", "listeners")
	if len(listeners) == 0 {
		return 0, false
	}
	first, _ := listeners[0].(map[string]any)
	n, ok = first["attachedRoutes"].(int64)
	return n, ok
}

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/table"
)

const (
	// sliceSize is how many endpoints Kubernetes puts into one EndpointSlice.
	sliceSize = 100
	// shared is the number of the Service that has all the endpoints.
	shared = 0
)

// endpoints measures a Service with very many endpoints.
func endpoints(ctx context.Context, o options, t *table.Table) error {
	n := o.size(10_000)
	w, err := newWorld(ctx, o)
	if err != nil {
		return err
	}
	defer w.close()
	err = w.create(ctx, func(yield func(object) bool) {
		first := []object{
			gateway(mainGateway, httpListener(mainPort)), service(shared),
			route(shared, pathOf(0), gatewayParent(mainGateway)),
		}
		for _, o := range first {
			if !yield(o) {
				return
			}
		}
		for part := range n / sliceSize {
			if !yield(part0(part, 0)) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	p, start, err := w.cold(ctx, 1)
	if err != nil {
		return err
	}
	defer p.Stop()
	t.Add(table.Row{
		What:     fmt.Sprintf("cold start with a Service of %d endpoints", n),
		Measured: start.served,
	})
	if err := w.settled(ctx); err != nil {
		return err
	}
	if err := w.memory(t, p, n, "endpoints of a Service"); err != nil {
		return err
	}
	return w.turnover(ctx, t, n)
}

// part0 is one of the EndpointSlices of the shared Service, after its first endpoint was replaced k times.
func part0(part, k int) object {
	addresses := make([]string, 0, sliceSize)
	for e := range sliceSize {
		addresses = append(addresses, backendAddress(part*sliceSize+e))
	}
	if k > 0 {
		addresses[0] = backendAddress(60_000 + k)
	}
	return slice(shared, part, backendPort, addresses...)
}

// turnover replaces endpoints one after the other.
func (w *world) turnover(ctx context.Context, t *table.Table, n int) error {
	of := fmt.Sprintf("an endpoint change, a Service of %d", n)
	return w.each(ctx, t, changes{of: of, until: "Envoy", count: 50, make: func(k int) (time.Duration, error) {
		before, err := w.plane.work()
		if err != nil {
			return 0, err
		}
		if err := w.replace(ctx, part0(k%(n/sliceSize), k+1)); err != nil {
			return 0, err
		}
		begin := time.Now()
		err = until(ctx, "the endpoints are sent", func() bool {
			now, err := w.plane.work()
			return err == nil && now.sent > before.sent
		})
		return time.Since(begin), err
	}})
}

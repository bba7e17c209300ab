package main

import (
	"context"
	"fmt"
	"slices"
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
	p, took, err := w.cold(ctx, 1)
	if err != nil {
		return err
	}
	defer p.Stop()
	t.Add(table.Row{
		What:     fmt.Sprintf("cold start with a Service of %d endpoints", n),
		Measured: took,
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
	const changes = 50
	before, err := w.plane.work()
	if err != nil {
		return err
	}
	took := make([]float64, 0, changes)
	for k := range changes {
		sent, err := w.plane.work()
		if err != nil {
			return err
		}
		if err := w.replace(ctx, part0(k%(n/sliceSize), k+1)); err != nil {
			return err
		}
		begin := time.Now()
		err = until(ctx, "the endpoints are sent", func() bool {
			now, err := w.plane.work()
			return err == nil && now.sent > sent.sent
		})
		if err != nil {
			return err
		}
		took = append(took, table.InMilliseconds(time.Since(begin)))
	}
	if err := w.settled(ctx); err != nil {
		return err
	}
	after, err := w.plane.work()
	if err != nil {
		return err
	}
	slices.Sort(took)
	of := fmt.Sprintf("an endpoint change, a Service of %d", n)
	t.Add(table.Row{
		What:     of + ": to Envoy",
		Measured: took[changes/2], Note: "p50, looked for every 10 ms",
	})
	w.sayWork(t, after.minus(before), changes, 0, of)
	return nil
}

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/table"
	"github.com/sluice-gateway/sluice/test/bench/usage"
)

func gatewayNameOf(i int) string { return fmt.Sprintf("gateway-%04d", i) }

// gateways measures many Gateways, each with a route. Their Deployments and Services are made, but no kubelet runs
// them: the last Gateway has an Envoy that the benchmark runs.
func gateways(ctx context.Context, o options, t *table.Table) error {
	n := o.size(1000)
	w, err := newWorld(ctx, o)
	if err != nil {
		return err
	}
	defer w.close()
	err = w.create(ctx, func(yield func(object) bool) {
		for i := range n {
			if !yield(gateway(gatewayNameOf(i), httpListener(mainPort))) || !yield(service(i)) ||
				!yield(slice(i, 0, backendPort, backendAddress(i))) ||
				!yield(route(i, pathOf(0), gatewayParent(gatewayNameOf(i)))) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	if err := w.start(); err != nil {
		return err
	}
	began := w.plane.began
	p, err := w.proxy(ctx, gatewayNameOf(n-1), mainPort)
	if err != nil {
		return err
	}
	defer p.Stop()
	at, err := p.answers(ctx, hostOf(n-1), pathOf(0))
	if err != nil {
		return err
	}
	t.Add(table.Row{
		What:     fmt.Sprintf("cold start with %d Gateways", n),
		Measured: table.InMilliseconds(at.Sub(began)), Note: "to the first route of the last one",
	})
	if err := w.settled(ctx); err != nil {
		return err
	}
	t.Add(table.Row{
		What:     fmt.Sprintf("%d Gateways: until all of them have their fleets", n),
		Measured: table.InMilliseconds(time.Since(began)), Note: "Deployments, Services and the rest",
	})
	plane, peak, err := usage.Resident(w.plane.PID())
	if err != nil {
		return err
	}
	t.Add(table.Row{
		What: fmt.Sprintf("memory of the control plane, %d Gateways", n),
		Unit: table.Mebibytes, Measured: plane, Note: fmt.Sprintf("%.0f MiB at most", peak),
	})
	return w.gatewayEdits(ctx, t, p, n)
}

// gatewayEdits changes the route of the Gateway that has an Envoy.
func (w *world) gatewayEdits(ctx context.Context, t *table.Table, p *proxy, n int) error {
	const edits = 30
	name := fmt.Sprintf("a route edit, %d Gateways", n)
	return w.each(ctx, t, changes{of: name, count: edits, make: func(k int) (time.Duration, error) {
		if err := w.replace(ctx, route(n-1, pathOf(k+1), gatewayParent(gatewayNameOf(n-1)))); err != nil {
			return 0, err
		}
		begin := time.Now()
		at, err := p.answers(ctx, hostOf(n-1), pathOf(k+1))
		return at.Sub(begin), err
	}})
}

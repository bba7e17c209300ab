package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/table"
	"github.com/sluice-gateway/sluice/test/bench/usage"
)

// envoys measures a Gateway that many Envoys serve.
func envoys(ctx context.Context, o options, t *table.Table) error {
	n, count := o.size(5000), 100
	w, err := newRoutes(ctx, o, n)
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.start(); err != nil {
		return err
	}
	if err := w.plane.ready(ctx); err != nil {
		return err
	}
	if err := w.settled(ctx); err != nil {
		return err
	}
	alone, _, err := usage.Resident(w.plane.PID())
	if err != nil {
		return err
	}
	fleet, took, done, err := w.connect(ctx, count)
	defer func() {
		for _, s := range fleet {
			s.close()
		}
	}()
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%d Envoys with %d routes", count, n)
	t.Add(table.Row{
		What:     name + ": connecting",
		Measured: took, Note: "all at once, to the last that has its routes",
	})
	t.Add(table.Row{
		What:     name + ": control plane CPU of connecting",
		Measured: done.cpu / float64(count), Note: "for each Envoy",
	})
	now, peak, err := usage.Resident(w.plane.PID())
	if err != nil {
		return err
	}
	t.Add(table.Row{
		What: name + ": memory for connections",
		Unit: table.Mebibytes, Measured: now - alone, Note: fmt.Sprintf("from %.0f MiB; %.0f MiB at most", alone, peak),
	})
	return w.spread(ctx, t, fleet, name, n)
}

// connect connects Envoys at once, and returns the milliseconds until all have their routes, and the work of it.
func (w *world) connect(ctx context.Context, count int) (fleet []*subscriber, took float64, done work, err error) {
	a, err := w.authority(ctx)
	if err != nil {
		return nil, 0, done, err
	}
	before, err := w.plane.work()
	if err != nil {
		return nil, 0, done, err
	}
	begin := time.Now()
	for i := range count {
		s, err := w.subscribe(ctx, a, mainGateway, fmt.Sprintf("pod-%d", i))
		if err != nil {
			return fleet, 0, done, err
		}
		fleet = append(fleet, s)
	}
	for _, s := range fleet {
		if err := s.has(ctx, 1); err != nil {
			return fleet, 0, done, err
		}
	}
	took = table.InMilliseconds(time.Since(begin))
	if err := w.settled(ctx); err != nil {
		return fleet, 0, done, err
	}
	after, err := w.plane.work()
	return fleet, took, after.minus(before), err
}

// spread edits routes, and waits each time until all Envoys have them.
func (w *world) spread(ctx context.Context, t *table.Table, fleet []*subscriber, name string, n int) error {
	const edits = 20
	of := "a route edit, " + name
	return w.each(ctx, t, changes{of: of, until: "the last Envoy", count: edits, make: func(k int) (time.Duration, error) {
		was := make([]int64, len(fleet))
		for i, s := range fleet {
			was[i] = s.routes.Load()
		}
		if err := w.replace(ctx, route(k*17%n, pathOf(k+1), gatewayParent(mainGateway))); err != nil {
			return 0, err
		}
		begin := time.Now()
		for i, s := range fleet {
			if err := s.has(ctx, was[i]+1); err != nil {
				return 0, err
			}
		}
		return time.Since(begin), nil
	}})
}

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/table"
	"github.com/sluice-gateway/sluice/test/bench/usage"
)

const (
	mainGateway = "main"
	mainPort    = 10_080
	// Each Envoy of the bench keeps a connection to each backend that was asked for, and most systems let a process have
	// no more files than this.
	checked = 5_000
)

// The targets, by number of routes.
var (
	coldTarget   = map[int]float64{50_000: 20_000}
	cpuTarget    = map[int]float64{5_000: 10, 10_000: 10, 50_000: 10}
	memoryTarget = map[int]float64{50_000: 1024}
)

// routes measures a Gateway with many HTTPRoutes, each with a host and a Service of its own.
func routes(ctx context.Context, o options, t *table.Table) error {
	for _, n := range o.routes {
		if err := routesOf(ctx, o, t, n); err != nil {
			return fmt.Errorf("%d routes: %w", n, err)
		}
	}
	return nil
}

func routesOf(ctx context.Context, o options, t *table.Table, n int) error {
	w, err := newRoutes(ctx, o, n)
	if err != nil {
		return err
	}
	defer w.close()
	// What there is once only, the certificate authority among it, is made by a first control plane.
	if err := w.start(); err != nil {
		return err
	}
	if _, err := w.authority(ctx); err != nil {
		return err
	}
	p, start, err := w.colds(ctx, n)
	if err != nil {
		return err
	}
	defer p.Stop()
	start.add(t, n)
	if err := p.allServing(n); err != nil {
		return err
	}
	if err := w.statuses(ctx, t, n); err != nil {
		return err
	}
	if err := w.memory(t, p, n, "routes"); err != nil {
		return err
	}
	if err := w.routeEdits(ctx, t, p, n); err != nil {
		return err
	}
	return w.endpointChanges(ctx, t, n)
}

// newRoutes makes a Gateway with n routes.
func newRoutes(ctx context.Context, o options, n int) (*world, error) {
	w, err := newWorld(ctx, o)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	err = w.create(ctx, func(yield func(object) bool) {
		if !yield(gateway(mainGateway, httpListener(mainPort))) {
			return
		}
		for i := range n {
			if !yield(service(i)) || !yield(slice(i, 0, backendPort, backendAddress(i))) ||
				!yield(route(i, pathOf(0), gatewayParent(mainGateway))) {
				return
			}
		}
	})
	if err != nil {
		w.close()
		return nil, err
	}
	fmt.Printf("%d routes, Services and EndpointSlices made in %v\n", n, time.Since(begin).Round(time.Second))
	return w, nil
}

// allServing checks that a spread of the routes is served.
func (p *proxy) allServing(n int) error {
	for i := 0; i < n; i += max(1, n/checked) {
		if status, err := p.conn.Do(request(i, 0)); err != nil || status != 200 {
			return fmt.Errorf("route %d is answered with %d, %w", i, status, err)
		}
	}
	return nil
}

// statuses waits until the statuses are written that a start owes, and adds what that took.
func (w *world) statuses(ctx context.Context, t *table.Table, n int) error {
	before, err := w.plane.work()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := w.settled(ctx); err != nil {
		return err
	}
	took := time.Since(begin) - calm*calmly
	after, err := w.plane.work()
	if err != nil {
		return err
	}
	did := after.minus(before)
	of := fmt.Sprintf("the statuses after a cold start, %d routes", n)
	t.Add(table.Row{
		What: of, Measured: table.InMilliseconds(took),
		Note: fmt.Sprintf("%.0f were written after the last route was served", did.written),
	})
	t.Add(table.Row{What: "control plane CPU of one of " + of, Measured: did.cpu / max(1, did.written)})
	return nil
}

// The control plane is calm if it does next to nothing so many times in a row.
const (
	calm   = 500 * time.Millisecond
	calmly = 4
)

// settled waits until all statuses are written and the control plane has nothing left to do.
func (w *world) settled(ctx context.Context) error {
	last, same := work{}, 0
	return within(ctx, time.Hour, "the control plane has nothing left to do", func() bool {
		now, err := w.plane.work()
		if err != nil {
			return false
		}
		if now.waiting > 0 || now.minus(last).cpu > 20 {
			same = -1
		}
		last, same = now, same+1
		time.Sleep(calm)
		return same >= calmly
	})
}

// memory adds what both planes take.
func (w *world) memory(t *table.Table, p *proxy, n int, of string) error {
	plane, peak, err := usage.Resident(w.plane.PID())
	if err != nil {
		return err
	}
	envoy, _, err := usage.Resident(p.PID())
	if err != nil {
		return err
	}
	target := 0.0
	if of == "routes" {
		target = memoryTarget[n]
	}
	note := fmt.Sprintf("%.0f MiB at most; %.1f KiB each", peak, plane*1024/float64(n))
	t.Add(table.Row{
		What: fmt.Sprintf("memory of the control plane, %d %s", n, of),
		Unit: table.Mebibytes, Measured: plane, Target: target, Note: note,
	})
	target = 0
	if of != "routes" && n == 40_000 {
		target = 400
	}
	t.Add(table.Row{
		What: fmt.Sprintf("memory of Envoy, %d %s", n, of),
		Unit: table.Mebibytes, Measured: envoy, Target: target, Note: "one worker",
	})
	return nil
}

// routeEdits changes one route after the other.
func (w *world) routeEdits(ctx context.Context, t *table.Table, p *proxy, n int) error {
	const edits = 50
	before, err := usage.CPU(p.PID())
	if err != nil {
		return err
	}
	of := fmt.Sprintf("a route edit, %d routes", n)
	err = w.each(ctx, t, changes{of: of, count: edits, cpu: cpuTarget[n], make: func(k int) (time.Duration, error) {
		i := k * 6007 % n
		// A pause, so that no change is merged with the one before.
		time.Sleep(50 * time.Millisecond)
		if err := w.replace(ctx, route(i, pathOf(k+1), gatewayParent(mainGateway))); err != nil {
			return 0, err
		}
		begin := time.Now()
		at, err := p.answers(ctx, hostOf(i), pathOf(k+1))
		return at.Sub(begin), err
	}})
	if err != nil {
		return err
	}
	after, err := usage.CPU(p.PID())
	t.Add(table.Row{
		What: "Envoy's CPU of " + of, Measured: table.InMilliseconds(after-before) / edits,
		Note: "the requests that look for it included",
	})
	return err
}

// endpointChanges moves endpoints away.
func (w *world) endpointChanges(ctx context.Context, t *table.Table, n int) error {
	of := fmt.Sprintf("an endpoint change, %d routes", n)
	return w.each(ctx, t, changes{of: of, until: "the API server", count: 50, make: func(k int) (time.Duration, error) {
		i := k * 7919 % n
		time.Sleep(20 * time.Millisecond)
		begin := time.Now()
		err := w.replace(ctx, slice(i, 0, backendPort, backendAddress(i+1)))
		return time.Since(begin), err
	}})
}

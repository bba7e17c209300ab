package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
	"github.com/sluice-gateway/sluice/test/bench/table"
	"github.com/sluice-gateway/sluice/test/bench/usage"
)

// The targets, by number of routes.
var (
	routeTarget    = map[int]float64{100: 30, 1000: 50, 5000: 130}
	endpointTarget = map[int]float64{100: 20, 1000: 20, 5000: 20}
	cpuTarget      = map[int]float64{100: 10, 1000: 10, 5000: 10}
)

// sizes measures new routes and changed endpoints with more and more routes.
func sizes(ctx context.Context, w *world) error {
	for _, n := range w.routes {
		if err := w.grow(ctx, n); err != nil {
			return err
		}
		if err := w.idle(ctx); err != nil {
			return err
		}
		samples := 30
		if w.quick {
			samples = 5
		}
		if err := newRoutes(ctx, w, samples); err != nil {
			return err
		}
		if err := endpoints(ctx, w, samples); err != nil {
			return err
		}
	}
	return nil
}

// idle waits until the control plane has nothing left to do from before, such as statuses to write.
func (w *world) idle(ctx context.Context) error {
	const quiet = 2 * time.Second
	return w.until(ctx, "the control plane is idle", func() (bool, error) {
		used, err := w.cpuOf(ctx, func() error { time.Sleep(quiet); return nil })
		return err == nil && used < quiet/20, err
	})
}

// newRoutes adds routes with their Services one after the other. The clock starts when the API server has taken the
// route, as in gateway-api-bench.
func newRoutes(ctx context.Context, w *world, samples int) error {
	conn := load.NewConn(w.address)
	defer conn.Close()
	var times []time.Duration
	before := seen{}
	first := w.n
	used, err := w.cpuOf(ctx, func() error {
		for i := first; i < first+samples; i++ {
			for _, o := range []object{service(name(i)), endpoint(name(i), name(i), w.backends.ok, true)} {
				if err := w.apply(ctx, o); err != nil {
					return err
				}
			}
			if err := w.apply(ctx, route(i, path(0))); err != nil {
				return err
			}
			began := time.Now()
			at, statuses, err := w.answers(ctx, conn, load.NewRequest(host(i), path(0), nil), statusOK)
			if err != nil {
				return err
			}
			times = append(times, at.Sub(began))
			before.merge(statuses)
		}
		// What the routes' statuses cost belongs to them.
		return w.attached(ctx, gatewayResource, gatewayName, first+samples)
	})
	if err != nil {
		return err
	}
	for i := first; i < first+samples; i++ {
		if err := w.delete(ctx, i); err != nil {
			return err
		}
	}
	w.add(table.Row{What: fmt.Sprintf("new route to first 200, %d routes", first), Target: routeTarget[first],
		Measured: table.InMilliseconds(median(times)), Note: fmt.Sprintf("p50 of %d; before it %v", samples, before)})
	w.add(table.Row{What: fmt.Sprintf("answers but 404 and 200 before it, %d routes", first), Unit: table.Requests,
		Measured: float64(before.unexpected())})
	w.add(table.Row{What: fmt.Sprintf("control plane CPU of a new route, %d routes", first), Target: cpuTarget[first],
		Measured: table.InMilliseconds(used) / float64(samples)})
	return nil
}

// delete removes route i with its Service and EndpointSlice.
func (w *world) delete(ctx context.Context, i int) error {
	if err := w.remove(ctx, routeResource, name(i)); err != nil {
		return err
	}
	if err := w.remove(ctx, serviceResource, name(i)); err != nil {
		return err
	}
	return w.remove(ctx, sliceResource, name(i))
}

// endpoints moves the endpoint of one route after the other to another backend and back.
func endpoints(ctx context.Context, w *world, samples int) error {
	conn := load.NewConn(w.address)
	defer conn.Close()
	var times []time.Duration
	for k := range samples {
		i := k * w.n / samples
		for _, to := range []struct{ port, status int }{{w.backends.other, statusOther}, {w.backends.ok, statusOK}} {
			if err := w.apply(ctx, endpoint(name(i), name(i), to.port, true)); err != nil {
				return err
			}
			began := time.Now()
			at, _, err := w.answers(ctx, conn, load.NewRequest(host(i), path(0), nil), to.status)
			if err != nil {
				return err
			}
			times = append(times, at.Sub(began))
		}
	}
	w.add(table.Row{What: fmt.Sprintf("endpoint change to live, %d routes", w.n), Target: endpointTarget[w.n],
		Measured: table.InMilliseconds(median(times)), Note: fmt.Sprintf("p50 of %d", len(times))})
	return nil
}

// memory measures the control plane and Envoy with as many routes as there are.
func memory(ctx context.Context, w *world) error {
	if err := w.grow(ctx, slices.Max(w.routes)); err != nil {
		return err
	}
	if err := w.idle(ctx); err != nil {
		return err
	}
	for _, p := range []struct {
		name   string
		pods   pods
		target float64
	}{{"control plane", w.system.control, 150}, {"Envoy", w.system.proxy, 260}} {
		pid, err := w.pid(ctx, p.pods)
		if err != nil {
			return err
		}
		now, peak, err := usage.Resident(pid)
		if err != nil {
			return err
		}
		r := table.Row{What: fmt.Sprintf("memory of %s, %d Services and routes", p.name, w.n), Measured: now,
			Unit: table.Mebibytes, Note: fmt.Sprintf("at most %.0f MiB", peak)}
		if w.n == 5000 {
			r.Target = p.target
		}
		w.add(r)
	}
	return nil
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

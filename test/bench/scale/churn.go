package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
	"github.com/sluice-gateway/sluice/test/bench/table"
	"github.com/sluice-gateway/sluice/test/bench/usage"
)

const (
	// changesPerSecond are half edits of routes, half changes of endpoints.
	changesPerSecond = 50
	// loadRate is how many requests a second go to routes that nobody edits.
	loadRate = 500
)

// churn measures what goes on while routes and endpoints change all the time.
func churn(ctx context.Context, o options, t *table.Table) error {
	n := o.size(10_000)
	w, err := newRoutes(ctx, o, n)
	if err != nil {
		return err
	}
	defer w.close()
	p, _, err := w.cold(ctx, n)
	if err != nil {
		return err
	}
	defer p.Stop()
	if err := w.settled(ctx); err != nil {
		return err
	}
	name := fmt.Sprintf("%d routes, %d changes a second", n, changesPerSecond)
	// With fewer CPUs than there are busy processes Envoy is kept waiting at random, which is not what is asked here.
	if err := w.churnOnce(ctx, t, p, churning{name: name + ", all on the same CPUs", routes: n}); err != nil {
		return err
	}
	release, err := reserve(p.PID())
	if err != nil {
		fmt.Printf("%s, a CPU for Envoy: not measured, %v\n", name, err)
		return nil
	}
	err = w.churnOnce(ctx, t, p, churning{name: name + ", a CPU for Envoy", routes: n, turn: 1, target: 300})
	return errors.Join(err, release())
}

// churning is how routes are changed.
type churning struct {
	name   string
	routes int
	// turn counts how often they were before, target is the latency that the 99th percentile ought to have, in
	// milliseconds.
	turn   int
	target float64
}

func (w *world) churnOnce(ctx context.Context, t *table.Table, p *proxy, c churning) error {
	if err := w.server.Collect(); err != nil {
		return err
	}
	stop := load.Start(load.Config{Address: p.address(), Requests: untouched(c.routes), Conns: 4, Rate: loadRate})
	before, begin := usageOf(w, p), time.Now()
	took, err := w.changes(ctx, p, c)
	seconds := time.Since(begin).Seconds()
	lost := stop()
	if err != nil {
		return err
	}
	addChurn(t, c, churned{before, usageOf(w, p), seconds, took, lost})
	return nil
}

// churned is what was measured.
type churned struct {
	before, after planes
	seconds       float64
	took          []time.Duration
	lost          load.Result
}

func addChurn(t *table.Table, of churning, c churned) {
	slices.Sort(c.took)
	at := func(q float64) float64 { return table.InMilliseconds(c.took[int(q*float64(len(c.took)-1))]) }
	cores := func(before, after time.Duration) float64 { return (after - before).Seconds() / c.seconds }
	for _, r := range []table.Row{
		{What: "to first 200", Measured: at(.5), Note: fmt.Sprintf("p50 of %d route edits", len(c.took))},
		{What: "to first 200", Measured: at(.99), Target: of.target, Note: fmt.Sprintf("p99; at most %.0f ms", at(1))},
		{What: "CPU of the control plane", Unit: table.Cores, Measured: cores(c.before.plane, c.after.plane), Target: .5},
		{
			What: "CPU of Envoy", Unit: table.Cores, Measured: cores(c.before.envoy, c.after.envoy),
			Note: "one worker",
		},
		{What: "requests lost", Unit: table.Requests, Measured: float64(c.lost.Failed()), Note: c.lost.String()},
		{
			What: "growth of the control plane's memory", Unit: table.Mebibytes,
			Measured: c.after.planeMemory - c.before.planeMemory,
			Note:     fmt.Sprintf("from %.0f MiB", c.before.planeMemory),
		},
		{
			What: "growth of Envoy's memory", Unit: table.Mebibytes,
			Measured: c.after.envoyMemory - c.before.envoyMemory,
			Note:     fmt.Sprintf("from %.0f MiB", c.before.envoyMemory),
		},
	} {
		r.What = of.name + ": " + r.What
		t.Add(r)
	}
}

// untouched are requests for the first routes, which changes leave alone.
func untouched(n int) []load.Request {
	var out []load.Request
	for i := range min(50, n/10) {
		out = append(out, request(i, 0))
	}
	return out
}

// planes are the CPU time and the memory, in MiB, of both.
type planes struct {
	plane, envoy             time.Duration
	planeMemory, envoyMemory float64
}

func usageOf(w *world, p *proxy) planes {
	var out planes
	out.plane, _ = usage.CPU(w.plane.PID())
	out.envoy, _ = usage.CPU(p.PID())
	out.planeMemory, _, _ = usage.Resident(w.plane.PID())
	out.envoyMemory, _, _ = usage.Resident(p.PID())
	return out
}

// changes makes changes at a fixed rate, whether or not those before are live, and returns how long each edited route
// took to be served.
func (w *world) changes(ctx context.Context, p *proxy, c churning) ([]time.Duration, error) {
	var mu sync.Mutex
	var took []time.Duration
	var errs []error
	var wg sync.WaitGroup
	ticker := time.NewTicker(time.Second / changesPerSecond)
	defer ticker.Stop()
	// No route is edited again before the edit before is live.
	n := c.routes
	free, next := min(50, n/10), 0
	for end := time.Now().Add(w.churn); time.Now().Before(end) && ctx.Err() == nil; next++ {
		<-ticker.C
		count := next
		i, k := free+count*7919%(n-free), count/(n-free)+1+1000*c.turn
		wg.Go(func() {
			if count%2 == 0 {
				err := w.replace(ctx, slice(i, 0, backendPort, backendAddress(i+count+c.turn)))
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
				return
			}
			d, err := w.edit(ctx, p, i, k)
			mu.Lock()
			defer mu.Unlock()
			took, errs = append(took, d), append(errs, err)
		})
	}
	wg.Wait()
	return took, errors.Join(errs...)
}

// edit changes a route, and returns how long it takes until it is served from when the API server has it.
func (w *world) edit(ctx context.Context, p *proxy, i, k int) (time.Duration, error) {
	if err := w.replace(ctx, route(i, pathOf(k), gatewayParent(mainGateway))); err != nil {
		return 0, err
	}
	begin := time.Now()
	another := p.another(nil)
	another.pollEvery = pollEveryOfMany
	defer another.conn.Close()
	at, err := another.answers(ctx, hostOf(i), pathOf(k))
	return at.Sub(begin), err
}

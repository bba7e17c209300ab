package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/table"
	"github.com/sluice-gateway/sluice/test/bench/usage"
)

// coldStart is what the start of a control plane and an Envoy took, both with nothing, until the last route was
// served.
type coldStart struct {
	// ready is when the control plane had read and computed everything, served when the last of a spread of routes was
	// answered with 200, both in milliseconds.
	ready, served float64
	// fastest and slowest are served of all cold starts of which this is the median.
	fastest, slowest float64
	// plane is the control plane's work until then, envoy and server the CPU milliseconds of Envoy and the API server,
	// read those of the API server until the control plane was ready.
	plane               work
	envoy, server, read float64
}

// coldStarts is how many there are where the target is one of a cold start: the machine's own speed varies.
const coldStarts = 3

// colds starts a control plane and an Envoy several times. It returns the last Envoy, and the median of the cold
// starts.
func (w *world) colds(ctx context.Context, n int) (*proxy, coldStart, error) {
	var p *proxy
	var all []coldStart
	for range coldStarts {
		if p != nil {
			p.Stop()
		}
		var one coldStart
		var err error
		if p, one, err = w.cold(ctx, n); err != nil {
			return nil, one, err
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b coldStart) int { return cmp.Compare(a.served, b.served) })
	out := all[len(all)/2]
	out.fastest, out.slowest = all[0].served, all[len(all)-1].served
	return p, out, nil
}

// cold starts a control plane and an Envoy.
func (w *world) cold(ctx context.Context, n int) (*proxy, coldStart, error) {
	var out coldStart
	if err := w.server.Collect(); err != nil {
		return nil, out, err
	}
	server, err := usage.CPU(w.server.PID())
	if err != nil {
		return nil, out, err
	}
	if err := w.start(); err != nil {
		return nil, out, err
	}
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		_ = w.plane.ready(ctx) // whatever keeps it from being ready keeps routes from being served
		out.ready = table.InMilliseconds(time.Since(w.plane.began))
		read, _ := usage.CPU(w.server.PID())
		out.read = table.InMilliseconds(read - server)
	}()
	p, err := w.proxy(ctx, mainGateway, mainPort)
	if err != nil {
		return nil, out, err
	}
	p.pollEvery = pollEveryOfMany
	defer func() { p.pollEvery = pollEvery }()
	var last time.Time
	for _, i := range []int{n - 1, 0, n / 2, n / 3, n - 1} {
		if last, err = p.answers(ctx, hostOf(i), pathOf(0)); err != nil {
			p.Stop()
			return nil, out, err
		}
	}
	<-ready
	out.served = table.InMilliseconds(last.Sub(w.plane.began))
	if err := w.spent(&out, p, server); err != nil {
		p.Stop()
		return nil, out, err
	}
	return p, out, nil
}

// spent takes in what all processes have used. The API server had used some before.
func (w *world) spent(out *coldStart, p *proxy, before time.Duration) error {
	server, err := usage.CPU(w.server.PID())
	if err != nil {
		return err
	}
	envoy, err := usage.CPU(p.PID())
	if err != nil {
		return err
	}
	out.server, out.envoy = table.InMilliseconds(server-before), table.InMilliseconds(envoy)
	out.plane, err = w.plane.work()
	return err
}

func (c coldStart) add(t *table.Table, n int) {
	of := fmt.Sprintf("a cold start, %d routes", n)
	for _, r := range []table.Row{
		{
			What: fmt.Sprintf("cold start with %d routes", n), Measured: c.served, Target: coldTarget[n],
			Note: fmt.Sprintf("of sluice serve, to the last route served by an Envoy; median of %d, from %.1f to %.1f s",
				coldStarts, c.fastest/1000, c.slowest/1000),
		},
		{What: "of this until the control plane serves", Measured: c.ready, Note: "everything read and computed"},
		{
			What: "control plane CPU of " + of, Measured: c.plane.cpu,
			Note: "until then, statuses that are written meanwhile included",
		},
		{What: "Envoy's CPU of " + of, Measured: c.envoy, Note: "one worker; the requests that look for routes included"},
		{
			What: "API server's CPU of " + of, Measured: c.server,
			Note: fmt.Sprintf("as above; %.1f s until the control plane serves", c.read/1000),
		},
		{What: "keys computed for a route of " + of, Unit: table.Count, Measured: c.plane.keys / float64(n)},
		{What: "sent to Envoy for a route of " + of, Unit: table.Kibibytes, Measured: c.plane.sent / float64(n) / 1024},
		{What: "allocated for a route of " + of, Unit: table.Kibibytes, Measured: c.plane.allocated / float64(n) / 1024},
	} {
		t.Add(r)
	}
}

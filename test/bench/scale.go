package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
)

// patience is how long anything may take.
const patience = 5 * time.Minute

// The targets, by number of routes, in milliseconds.
var (
	coldTarget   = map[int]float64{1000: 3000, 5000: 10_000}
	changeTarget = map[int]float64{100: 30, 1000: 50, 5000: 120}
	cpuTarget    = map[int]float64{5000: 10}
)

// figures are what a system needs at one size, in milliseconds.
type figures struct {
	cold, edit, add, cpu float64
	samples, cpuSamples  int
}

// scale measures cold start, changes and CPU at each size, and the same of the peer at its sizes.
func scale(ctx context.Context, b *bench) error {
	sizes := slices.Concat(b.peerRoutes, b.routes)
	slices.Sort(sizes)
	for _, n := range slices.Compact(sizes) {
		samples, cpuSamples := 20, 100
		if b.quick {
			samples, cpuSamples = 5, 20
		}
		own, err := measure(ctx, b, startSluice, figures{samples: samples, cpuSamples: cpuSamples}, n, false)
		if err != nil {
			return fmt.Errorf("sluice with %d routes: %w", n, err)
		}
		var peer figures
		if slices.Contains(b.peerRoutes, n) {
			// Every change of the peer's takes seconds.
			if peer, err = measure(ctx, b, startPeer, figures{samples: 3, cpuSamples: 2}, n, false); err != nil {
				return fmt.Errorf("envoy-gateway with %d routes: %w", n, err)
			}
		}
		b.addFigures(n, "", own, peer)
	}
	return nil
}

// oneFile measures the same with all routes in one file, as an export of a cluster has them.
func oneFile(ctx context.Context, b *bench) error {
	n, want := 1000, figures{samples: 20, cpuSamples: 40}
	if b.quick {
		n, want = 200, figures{samples: 5, cpuSamples: 10}
	}
	own, err := measure(ctx, b, startSluice, want, n, true)
	if err != nil {
		return err
	}
	b.addFigures(n, ", all in one file", own, figures{})
	return nil
}

func (b *bench) addFigures(n int, where string, own, peer figures) {
	name := func(what string) string { return fmt.Sprintf("%s, %d routes%s", what, n, where) }
	note := fmt.Sprintf("p50 of %d", own.samples)
	targets := struct{ cold, change, cpu float64 }{coldTarget[n], changeTarget[n], cpuTarget[n]}
	if where != "" {
		targets.cold, targets.change, targets.cpu = 0, 0, 0
	}
	b.table.add(row{what: name("cold start to the last route"), measured: own.cold, target: targets.cold, peer: peer.cold})
	b.table.add(row{what: name("edit to first 200"), measured: own.edit, target: targets.change, peer: peer.edit, note: note})
	b.table.add(row{what: name("add to first 200"), measured: own.add, target: targets.change, peer: peer.add, note: note})
	b.table.add(row{what: name("control plane CPU of a change"), measured: own.cpu, target: targets.cpu, peer: peer.cpu,
		note: fmt.Sprintf("mean of %d", own.cpuSamples)})
}

// measure starts a system with n routes and takes its figures. want says how many samples.
func measure(ctx context.Context, b *bench, launch launcher, want figures, n int, single bool) (figures, error) {
	g, err := launch(b, n, single)
	if err != nil {
		return want, err
	}
	defer g.stop()
	out := want
	cold, err := g.coldStart(ctx)
	if err != nil {
		return out, err
	}
	out.cold = inMilliseconds(cold)
	conn := load.NewConn(g.address)
	defer conn.Close()
	edit := func(i int) (int, string) { return i * 7919 % n, fmt.Sprintf("/edit-%d", i) }
	add := func(int) (int, string) { return len(g.config.paths), firstPath }
	if out.edit, err = g.changes(ctx, conn, want.samples, edit); err != nil {
		return out, err
	}
	if out.add, err = g.changes(ctx, conn, want.samples, add); err != nil {
		return out, err
	}
	before, err := cpu(g.cmd.Process.Pid)
	if err != nil {
		return out, err
	}
	again := func(i int) (int, string) { return i * 6007 % n, fmt.Sprintf("/again-%d", i) }
	if _, err = g.changes(ctx, conn, want.cpuSamples, again); err != nil {
		return out, err
	}
	after, err := cpu(g.cmd.Process.Pid)
	out.cpu = inMilliseconds(after-before) / float64(want.cpuSamples)
	return out, err
}

// coldStart waits for the last route to be served, and returns how long that took from the start of the process. A
// spread of routes is polled, then each is checked.
func (g *gateway) coldStart(ctx context.Context) (time.Duration, error) {
	conn := load.NewConn(g.address)
	defer conn.Close()
	n := len(g.config.paths)
	var last time.Time
	for _, i := range []int{n - 1, 0, n / 2, n / 3, n - 1} {
		at, err := g.wait(ctx, conn, host(i), firstPath, patience)
		if err != nil {
			return 0, err
		}
		last = at
	}
	return last.Sub(g.began), g.allServing()
}

// changes makes changes one after the other, and returns the median time in milliseconds from the write of the file to
// the first 200.
func (g *gateway) changes(
	ctx context.Context, conn *load.Conn, n int, change func(i int) (route int, path string),
) (float64, error) {
	var took []time.Duration
	for i := range n {
		route, path := change(i)
		// A pause, so that no change is merged with the one before.
		time.Sleep(50 * time.Millisecond)
		begin := time.Now()
		if err := g.config.set(route, path); err != nil {
			return 0, err
		}
		at, err := g.wait(ctx, conn, host(route), path, patience)
		if err != nil {
			return 0, err
		}
		took = append(took, at.Sub(begin))
	}
	slices.Sort(took)
	return inMilliseconds(took[len(took)/2]), nil
}

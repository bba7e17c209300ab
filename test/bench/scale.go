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

// patience is how long anything may take.
const patience = 5 * time.Minute

// The targets, by number of routes, in milliseconds.
var (
	coldTarget   = map[int]float64{1000: 3000, 5000: 10_000}
	changeTarget = map[int]float64{100: 30, 1000: 50, 5000: 120}
	cpuTarget    = map[int]float64{5000: 10}
)

// session is one system at one size, and how many changes to measure on it.
type session struct {
	launch              launcher
	routes              int
	single              bool
	samples, cpuSamples int
}

// figures are what a system needs at one size, in milliseconds.
type figures struct {
	session
	cold, edit, add, cpu float64
}

// scale measures cold start, changes and CPU at each size, and the same of the peer at its sizes.
func scale(ctx context.Context, b *bench) error {
	sizes := slices.Concat(b.peerRoutes, b.routes)
	slices.Sort(sizes)
	for _, n := range slices.Compact(sizes) {
		s := session{launch: startSluice, routes: n, samples: 20, cpuSamples: 100}
		if b.quick {
			s.samples, s.cpuSamples = 5, 20
		}
		own, err := measure(ctx, b, s)
		if err != nil {
			return fmt.Errorf("sluice with %d routes: %w", n, err)
		}
		var peer figures
		if slices.Contains(b.peerRoutes, n) {
			// Every change of the peer's takes seconds.
			s = session{launch: startPeer, routes: n, samples: 3, cpuSamples: 2}
			if peer, err = measure(ctx, b, s); err != nil {
				return fmt.Errorf("envoy-gateway with %d routes: %w", n, err)
			}
		}
		b.addFigures(own, peer)
	}
	return nil
}

// oneFile measures the same with all routes in one file, as an export of a cluster has them.
func oneFile(ctx context.Context, b *bench) error {
	s := session{launch: startSluice, routes: 1000, single: true, samples: 20, cpuSamples: 40}
	if b.quick {
		s.routes, s.samples, s.cpuSamples = 200, 5, 10
	}
	own, err := measure(ctx, b, s)
	if err != nil {
		return err
	}
	b.addFigures(own, figures{})
	return nil
}

func (b *bench) addFigures(own, peer figures) {
	n, where := own.routes, ""
	targets := struct{ cold, change, cpu float64 }{coldTarget[n], changeTarget[n], cpuTarget[n]}
	if own.single {
		// Nothing was promised for this.
		where, targets.cold, targets.change, targets.cpu = ", all in one file", 0, 0, 0
	}
	name := func(what string) string { return fmt.Sprintf("%s, %d routes%s", what, n, where) }
	note := fmt.Sprintf("p50 of %d", own.samples)
	b.table.Add(table.Row{What: name("cold start to the last route"), Measured: own.cold, Target: targets.cold,
		Peer: peer.cold})
	b.table.Add(table.Row{What: name("edit to first 200"), Measured: own.edit, Target: targets.change, Peer: peer.edit,
		Note: note})
	b.table.Add(table.Row{What: name("add to first 200"), Measured: own.add, Target: targets.change, Peer: peer.add,
		Note: note})
	b.table.Add(table.Row{What: name("control plane CPU of a change"), Measured: own.cpu, Target: targets.cpu,
		Peer: peer.cpu,
		Note: fmt.Sprintf("mean of %d", own.cpuSamples)})
}

// measure starts a system and takes its figures.
func measure(ctx context.Context, b *bench, s session) (figures, error) {
	out := figures{session: s}
	n := s.routes
	g, err := s.launch(b, n, s.single)
	if err != nil {
		return out, err
	}
	defer g.Stop()
	cold, err := g.coldStart(ctx)
	if err != nil {
		return out, err
	}
	if err := g.allServing(); err != nil {
		return out, err
	}
	out.cold = table.InMilliseconds(cold)
	conn := load.NewConn(g.address)
	defer conn.Close()
	edit := func(i int) (int, string) { return i * 7919 % n, fmt.Sprintf("/edit-%d", i) }
	add := func(int) (int, string) { return len(g.config.paths), firstPath }
	if out.edit, err = g.changes(ctx, conn, s.samples, edit); err != nil {
		return out, err
	}
	if out.add, err = g.changes(ctx, conn, s.samples, add); err != nil {
		return out, err
	}
	before, err := usage.CPU(g.controlPlane()...)
	if err != nil {
		return out, err
	}
	again := func(i int) (int, string) { return i * 6007 % n, fmt.Sprintf("/again-%d", i) }
	if _, err = g.changes(ctx, conn, s.cpuSamples, again); err != nil {
		return out, err
	}
	after, err := usage.CPU(g.controlPlane()...)
	out.cpu = table.InMilliseconds(after-before) / float64(s.cpuSamples)
	return out, err
}

// coldStart waits for the last route to be served, and returns how long that took from the start of the process. A
// spread of routes is polled; whether all are served is for allServing to check.
func (g *gateway) coldStart(ctx context.Context) (time.Duration, error) {
	conn := load.NewConn(g.address)
	defer conn.Close()
	n := len(g.config.paths)
	var last time.Time
	for _, i := range []int{n - 1, 0, n / 2, n / 3, n - 1} {
		at, err := g.wait(ctx, conn, host(i), firstPath)
		if err != nil {
			return 0, err
		}
		last = at
	}
	return last.Sub(g.began), nil
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
		at, err := g.wait(ctx, conn, host(route), path)
		if err != nil {
			return 0, err
		}
		took = append(took, at.Sub(begin))
	}
	slices.Sort(took)
	return table.InMilliseconds(took[len(took)/2]), nil
}

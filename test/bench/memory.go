package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/table"
	"github.com/sluice-gateway/sluice/test/bench/usage"
)

// memory measures the memory of both processes with the largest number of routes: after the start, and again after a
// request to each of the routes, when Envoy has a connection to every backend.
func memory(ctx context.Context, b *bench) error {
	n := slices.Max(b.routes)
	g, err := startSluice(b, n, false)
	if err != nil {
		return err
	}
	defer g.Stop()
	if _, err := g.coldStart(ctx); err != nil {
		return err
	}
	if err := b.addMemory(ctx, g, n, "idle"); err != nil {
		return err
	}
	if err := g.allServing(); err != nil {
		return err
	}
	return b.addMemory(ctx, g, n, "every backend connected")
}

// addMemory waits a moment and adds the rows of both processes.
func (b *bench) addMemory(ctx context.Context, g *gateway, n int, when string) error {
	select {
	case <-time.After(3 * time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	envoy, err := g.envoyPID()
	if err != nil {
		return err
	}
	for _, p := range []struct {
		name   string
		pids   []int
		target float64
	}{{"control plane", g.controlPlane(), 150}, {"Envoy", []int{envoy}, 260}} {
		now, peak, err := usage.Resident(p.pids...)
		if err != nil {
			return err
		}
		r := table.Row{What: fmt.Sprintf("memory of %s, %d routes and backends, %s", p.name, n, when), Measured: now,
			Unit: table.Mebibytes, Note: fmt.Sprintf("at most %.0f MiB", peak)}
		if n == 5000 {
			r.Target = p.target
		}
		b.table.Add(r)
	}
	return nil
}

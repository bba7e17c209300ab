package main

import (
	"context"

	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/fleet/local"
)

// startEnvoy starts Envoy as a child.
func (h *household) startEnvoy(
	ctx context.Context, binary local.Binary, dir *local.RuntimeDir,
) (*local.Envoy, error) {
	bootstrap, err := fleet.Bootstrap(fleet.Config{
		Node: "local", Cluster: string(localProxy), XDSSocket: dir.XDSSocket(), AdminSocket: dir.AdminSocket(),
		RateLimitSocket: dir.RateLimitSocket(),
	})
	if err != nil {
		return nil, err
	}
	return local.Start(ctx, local.Config{
		Binary: binary.Path, Dir: dir, Bootstrap: bootstrap,
		Concurrency: h.flags.concurrency, DrainTimeout: h.flags.drain, Stdout: h.out,
		OnLine: func(l local.Line) {
			// At the end it complains that its configuration source goes away.
			if ctx.Err() == nil {
				h.say.logged(l)
			}
		},
		OnCrash: h.say.crashed,
	})
}

// stopEnvoy drains Envoy and ends it. It must work when everything else is over, so it has a context of its own.
func (h *household) stopEnvoy(child *local.Envoy) {
	h.say.stopping(h.flags.drain)
	if err := child.Stop(context.Background()); err != nil {
		h.say.failed(err)
	}
}

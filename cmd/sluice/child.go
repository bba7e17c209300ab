package main

import (
	"context"

	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/fleet/local"
)

// startEnvoy starts Envoy as a child.
func (i *instance) startEnvoy(ctx context.Context, binary local.Binary, dir *local.RuntimeDir) (*local.Envoy, error) {
	bootstrap, err := fleet.Bootstrap(fleet.Config{
		Node: "local", Cluster: string(localProxy), XDSSocket: dir.XDSSocket(), AdminSocket: dir.AdminSocket(),
		RateLimitSocket: dir.RateLimitSocket(),
	})
	if err != nil {
		return nil, err
	}
	return local.Start(ctx, local.Config{
		Binary: binary.Path, Dir: dir, Bootstrap: bootstrap,
		Concurrency: i.flags.concurrency, DrainTimeout: i.flags.drain, Stdout: i.say.out,
		OnLine: func(l local.Line) {
			// At the end it complains that its configuration source goes away.
			if ctx.Err() == nil {
				i.say.logged(l)
			}
		},
		OnCrash: i.say.crashed,
	})
}

// stopEnvoy drains Envoy and ends it. It must work when everything else is over, so it has a context of its own.
func (i *instance) stopEnvoy(child *local.Envoy) {
	i.say.stopping(i.flags.drain)
	if err := child.Stop(context.Background()); err != nil {
		i.say.failed(err)
	}
}

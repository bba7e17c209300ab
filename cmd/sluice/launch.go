package main

import (
	"context"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/fleet/local"
	"github.com/sluice-gateway/sluice/internal/keeper"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

const (
	// launchWord is what a control plane says when it has left another launch.
	launchWord = "launch"
	// launchPoll is how often it looks for what became of that.
	launchPoll = 250 * time.Millisecond
)

// launcher is a control plane's side of how Envoy is started: it leaves launches for the process that holds Envoy, and
// hears what becomes of them.
type launcher struct {
	base   local.Base
	worker *keeper.Worker
	say    *announcer

	mu     sync.Mutex
	wanted *resolve.Launch
	// told is the digest of the last launch that was left.
	told string
	// changed holds a token when wanted is another than was left.
	changed chan struct{}
}

func newLauncher(flags runFlags, dir *local.RuntimeDir, worker *keeper.Worker, say *announcer) *launcher {
	return &launcher{base: launchBase(flags, dir), worker: worker, say: say, changed: make(chan struct{}, 1)}
}

// launchBase is how Envoy is started unless EnvoyProxies say otherwise.
func launchBase(flags runFlags, dir *local.RuntimeDir) local.Base {
	return local.Base{
		Dir: dir, Node: "local", Cluster: string(localProxy), Concurrency: flags.concurrency,
		Drain: fleet.Drain{Timeout: flags.drain}, Zone: flags.zone, MetricsPort: flags.metricsPort,
	}
}

// want takes in what EnvoyProxies say. While that is not known, what was known before holds.
func (l *launcher) want(_ model.ProxyName, launch *resolve.Launch) {
	if launch != nil && launch.Hold != "" {
		return
	}
	l.mu.Lock()
	l.wanted = launch
	l.mu.Unlock()
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// leave leaves what is wanted, unless it was left already.
func (l *launcher) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	launch, err := local.NewLaunch(l.base, l.wanted)
	if err != nil {
		l.say.failed(err) // it was checked: a Service of a sink that turned into something else
		return
	}
	digest, err := l.base.Dir.PutLaunch(launch)
	if err != nil {
		l.say.failed(err)
		return
	}
	if digest != l.told {
		l.told = digest
		l.worker.Say(launchWord)
	}
}

// watch leaves what is wanted each time that it changes, and says what becomes of it, until the context ends.
func (l *launcher) watch(ctx context.Context, p *pipeline.Pipeline, follow func(pipeline.Outcome)) {
	tick := time.NewTicker(launchPoll)
	defer tick.Stop()
	heard := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.changed:
			l.leave()
		case <-tick.C:
		}
		if became, ok := l.became(); ok && became.Digest != heard {
			heard = became.Digest
			follow(p.Launched(localProxy, resolve.Launched{Problem: became.Problem}))
		}
	}
}

// became returns what became of the last launch; false while that is not known.
func (l *launcher) became() (local.Launched, bool) {
	l.mu.Lock()
	told := l.told
	l.mu.Unlock()
	became, ok := l.base.Dir.Launched()
	if !ok {
		return local.Launched{
			Digest: told, Problem: "it was started by another version of Sluice, which cannot; start sluice run again",
		}, told != ""
	}
	return became, became.Digest == told
}

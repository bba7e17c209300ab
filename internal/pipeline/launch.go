package pipeline

import (
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// orderLaunches tells of the launches that the last commit changed.
func (p *Pipeline) orderLaunches() {
	if p.opts.Launch == nil {
		return
	}
	for name, c := range p.resolved.Launches.Changes() {
		if !c.Has {
			p.opts.Launch(name, nil)
			continue
		}
		p.opts.Launch(name, c.New)
	}
}

// Launched says what became of the last launch of a proxy. The statuses of EnvoyProxies follow.
func (p *Pipeline) Launched(name model.ProxyName, launched resolve.Launched) Outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resolved.Launched.Set(name, launched)
	return p.commit()
}

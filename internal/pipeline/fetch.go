package pipeline

import "github.com/sluice-gateway/sluice/internal/model"

// Fetched takes in what became of a fetch. The outcome is that of the commit that followed; nothing follows if nobody
// wants it any more.
func (p *Pipeline) Fetched(fetch model.Fetch, got model.Fetched) Outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, wanted := p.resolved.Fetches.Peek(fetch); !wanted {
		return Outcome{}
	}
	before, _ := p.resolved.Fetched.Peek(fetch)
	p.resolved.Fetched.Set(fetch, got)
	if got.Data != nil && got.SHA256 != before.SHA256 {
		p.forgivePoliced(func(policy model.Ref) bool { return p.resolved.Wants(policy, fetch) })
	}
	return p.commit()
}

// orderFetches tells of what is wanted since the last commit, and of what is not any more.
func (p *Pipeline) orderFetches() {
	if p.opts.Fetch == nil {
		return
	}
	for fetch, c := range p.resolved.Fetches.Changes() {
		if c.Has == c.HadOld {
			continue
		}
		if !c.Has {
			p.resolved.Fetched.Delete(fetch)
		}
		p.opts.Fetch(fetch, c.Has)
	}
}

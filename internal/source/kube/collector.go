package kube

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/source"
)

const (
	// ease is how many times as long as a batch took nothing is handed over after it: with a lot going on, most of the
	// time is left to others, and the more expensive batches are, the more is gathered for the next. A change after a
	// quiet time waits for nothing.
	ease = 4
	// patience bounds that.
	patience = 25 * time.Millisecond
)

// collector gathers changes until they are taken as a batch. Of several changes of an object the last one counts.
type collector struct {
	ready chan struct{} // holds one token while there is something new

	mu      sync.Mutex
	pending map[model.Ref]resource.Object // nil for what is gone
	noticed time.Time
}

func newCollector() *collector {
	return &collector{ready: make(chan struct{}, 1), pending: map[model.Ref]resource.Object{}}
}

func (c *collector) set(ref model.Ref, obj resource.Object) {
	c.mu.Lock()
	if len(c.pending) == 0 {
		c.noticed = time.Now()
	}
	c.pending[ref] = obj
	c.mu.Unlock()
	c.nudge()
}

func (c *collector) remove(ref model.Ref) { c.set(ref, nil) }

func (c *collector) nudge() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// take returns what was gathered, by reference.
func (c *collector) take() source.Batch {
	c.mu.Lock()
	pending, noticed := c.pending, c.noticed
	c.pending = map[model.Ref]resource.Object{}
	c.mu.Unlock()
	b := source.Batch{Noticed: noticed, Set: make([]source.Object, 0, len(pending))}
	refs := slices.AppendSeq(make([]model.Ref, 0, len(pending)), maps.Keys(pending))
	slices.SortFunc(refs, model.Ref.Compare)
	for _, ref := range refs {
		if obj := pending[ref]; obj != nil {
			b.Set = append(b.Set, source.Object{Ref: ref, Object: obj})
		} else {
			b.Delete = append(b.Delete, ref)
		}
	}
	return b
}

// deliver hands batches over until the context ends.
func (c *collector) deliver(ctx context.Context, apply func(source.Batch)) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.ready:
		}
		began := time.Now()
		if b := c.take(); len(b.Set)+len(b.Delete) > 0 {
			apply(b)
		}
		pause.Reset(min(ease*time.Since(began), patience))
	}
}

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
	// quiet is how long nothing has to happen for a batch to be complete while there is a lot going on, patience how
	// long a batch waits for that. A change after a quiet time waits for nothing.
	quiet    = 5 * time.Millisecond
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
	b := source.Batch{Noticed: noticed}
	for _, ref := range slices.SortedFunc(maps.Keys(pending), model.Ref.Compare) {
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
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.ready:
		}
		if time.Since(last) < patience {
			if err := c.settle(ctx); err != nil {
				return err
			}
		}
		if b := c.take(); len(b.Set)+len(b.Delete) > 0 {
			apply(b)
			last = time.Now()
		}
	}
}

// settle returns when nothing has come for a moment, or something all the time.
func (c *collector) settle(ctx context.Context) error {
	end := time.After(patience)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end:
			return nil
		case <-time.After(quiet):
			return nil
		case <-c.ready:
		}
	}
}

package service

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/internal/ratelimit"
)

// guard keeps a slow or dead store from holding up requests: it waits for an answer no longer than budget, and after
// some failures in a row asks no more for a while, but for one request that finds out whether the store is back.
type guard struct {
	store  ratelimit.Store
	budget time.Duration
	now    func() time.Time

	mu       sync.Mutex
	failures int
	// until is when the store is asked again.
	until time.Time
}

const (
	// tripAfter is how many failures in a row stop asking, tripFor how long.
	tripAfter = 5
	tripFor   = 500 * time.Millisecond
)

// errAway is returned while the store is not asked.
var errAway = errors.New("the store of the counters failed several times in a row and is not asked for the moment")

// take is [ratelimit.Store.Take] with the guard.
func (g *guard) take(ctx context.Context, hits []ratelimit.Hit, answers []ratelimit.Answer) error {
	if !g.admit() {
		return errAway
	}
	ctx, cancel := context.WithTimeout(ctx, g.budget)
	defer cancel()
	err := g.store.Take(ctx, hits, answers)
	if errors.Is(err, context.Canceled) {
		// Whoever asked has gone: that says nothing of the store.
		return err
	}
	g.settle(err == nil)
	return err
}

// admit says whether to ask the store. While it is away, one request per pause is let through.
func (g *guard) admit() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failures < tripAfter {
		return true
	}
	now := g.now()
	if now.Before(g.until) {
		return false
	}
	g.until = now.Add(tripFor)
	return true
}

func (g *guard) settle(ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if ok {
		g.failures = 0
		return
	}
	if g.failures++; g.failures == tripAfter {
		g.until = g.now().Add(tripFor)
	}
}

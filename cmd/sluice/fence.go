package main

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// errNotLeading is why a write is not sent.
var errNotLeading = errors.New("this replica does not lead any more")

// fence keeps a replica that was paused, or whose leadership is over, from writing what it had in hand: another one may
// lead by then. Every write of the leader passes it. What it lets through is not outdated either, because statuses are
// written on condition that the object is the one that was read.
type fence struct {
	// term is how long a renewal of the Lease is good for: less than others wait before they take it.
	term time.Duration
	now  func() time.Time

	mu    sync.Mutex
	until time.Time
}

// pass returns an error if writing is over, or has not begun.
func (f *fence) pass() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.now().Before(f.until) {
		return errNotLeading
	}
	return nil
}

func (f *fence) set(until time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.until = until
}

// config returns a configuration whose clients write only while the replica leads.
func (f *fence) config(c *rest.Config) *rest.Config {
	c = rest.CopyConfig(c)
	c.Wrap(func(next http.RoundTripper) http.RoundTripper { return fenced{f, next} })
	return c
}

// fenced is a transport that lets writes through while the fence does.
type fenced struct {
	fence *fence
	next  http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (t fenced) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		if err := t.fence.pass(); err != nil {
			if r.Body != nil {
				_ = r.Body.Close() // as a transport has to, whatever becomes of the request
			}
			return nil, err
		}
	}
	return t.next.RoundTrip(r) //nolint:wrapcheck // a transport passes errors on
}

// lock is the Lease, with the fence following what becomes of it.
type lock struct {
	resourcelock.Interface
	fence *fence
}

// Create implements [resourcelock.Interface].
func (l lock) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.write(r, func() error { return l.Interface.Create(ctx, r) })
}

// Update implements [resourcelock.Interface].
func (l lock) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.write(r, func() error { return l.Interface.Update(ctx, r) })
}

// write writes the Lease. Its term begins when it is sent, because others count from when they see it. One that is
// given back is over before it is sent.
func (l lock) write(r resourcelock.LeaderElectionRecord, send func() error) error {
	began := l.fence.now()
	if r.HolderIdentity != l.Identity() {
		l.fence.set(time.Time{})
	}
	if err := send(); err != nil {
		return err
	}
	if r.HolderIdentity == l.Identity() {
		l.fence.set(began.Add(l.fence.term))
	}
	return nil
}

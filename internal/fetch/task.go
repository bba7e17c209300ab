package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/sluice-gateway/sluice/internal/model"
)

// errSame says that what is there already is what would be fetched.
var errSame = errors.New("nothing new")

// found is what an attempt came to.
type found struct {
	data []byte
	// tag is what the server says by which it can be asked for anything newer: an ETag, or the digest of a manifest.
	tag string
}

// task is something that is wanted, from the first attempt until it is not any more.
type task struct {
	f     *Fetcher
	fetch model.Fetch
	spec  model.FetchSpec
	// tag is what the server says of what is there.
	tag string
	// last is what was delivered last; without Data there is nothing. at is when that was fetched or confirmed.
	last model.Fetched
	at   time.Time
	// pause is how long to wait after the next attempt that fails.
	pause time.Duration
}

func (f *Fetcher) newTask(fetch model.Fetch) *task {
	return &task{f: f, fetch: fetch, spec: fetch.Spec(), pause: f.opts.Pause}
}

// run fetches until it is there or, if it is to be looked for again, until the context ends.
func (t *task) run(ctx context.Context) {
	defer t.end()
	t.restore()
	for {
		got, err := t.f.attempt(ctx, t.spec, t.tag)
		if ctx.Err() != nil {
			return
		}
		wait, more := t.settle(got, err)
		if !more {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// restore takes up what a process before this one has fetched.
func (t *task) restore() {
	data, at, ok := t.f.shelf.get(t.fetch, t.f.now())
	if !ok {
		return
	}
	t.at = at
	t.deliver(model.Fetched{Data: data, SHA256: hashOf(data)})
}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// settle takes in what an attempt came to, and says how long to wait for the next, if there is to be one.
func (t *task) settle(got found, err error) (wait time.Duration, more bool) {
	switch {
	case err == nil:
		t.tag = got.tag
		t.deliver(model.Fetched{Data: got.data, SHA256: hashOf(got.data)})
	case errors.Is(err, errSame):
		t.deliver(model.Fetched{Data: t.last.Data, SHA256: t.last.SHA256})
	default:
		return t.failed(err), true
	}
	t.at, t.pause = t.f.now(), t.f.opts.Pause
	if err := t.f.shelf.put(t.fetch, t.last.Data, t.at); err != nil {
		t.f.opts.Log.Warn("What was fetched would not outlive a restart", "url", t.fetch.String(), "error", err)
	}
	return t.spec.Every, t.spec.Every > 0
}

// failed takes in why an attempt has failed, and returns how long to wait for the next.
func (t *task) failed(err error) time.Duration {
	wait := t.pause + rand.N(t.pause/4+1) //nolint:gosec // so that not all come back at once
	t.pause = min(2*t.pause, patience*t.f.opts.Pause)
	until := t.until()
	left := until.Sub(t.f.now())
	switch {
	case t.last.Data == nil:
		t.deliver(model.Fetched{Error: err.Error()})
		return wait
	case t.spec.Keep > 0 && left <= 0:
		t.tag = "" // what it stands for is no more
		t.f.opts.Log.Warn("What was fetched cannot be fetched anew for too long; it is dropped", "url", t.fetch.String(),
			"error", err)
		t.deliver(model.Fetched{Error: err.Error()})
		return wait
	}
	t.f.opts.Log.Warn("What was fetched cannot be fetched anew; it stays", "url", t.fetch.String(), "error", err)
	if t.spec.Keep == 0 {
		return wait
	}
	stale := t.last
	stale.Stale = model.Stale{
		Error: err.Error(), Since: t.at.UTC().Truncate(time.Second), Until: until.UTC().Truncate(time.Second),
	}
	t.deliver(stale)
	return min(wait, left)
}

// until is how long what is there is kept.
func (t *task) until() time.Time { return t.at.Add(t.spec.Every + t.spec.Keep) }

// deliver says what became of the fetch, unless that is what it was before.
func (t *task) deliver(now model.Fetched) {
	before := t.last
	t.last = now
	if before.SHA256 != now.SHA256 || before.Error != now.Error || before.Stale != now.Stale {
		t.f.opts.Deliver(t.fetch, now)
	}
	t.f.known(t.fetch, isStale(now)-isStale(before))
}

// end takes it out of what is counted.
func (t *task) end() { t.f.known(t.fetch, -isStale(t.last)) }

// isStale is 1 if what was fetched is not up to date, else 0.
func isStale(got model.Fetched) int {
	if got.Stale == (model.Stale{}) {
		return 0
	}
	return 1
}

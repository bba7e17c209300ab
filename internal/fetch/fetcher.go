package fetch

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/internal/model"
)

const (
	// maxAttempts is how many attempts run at a time: with the limits of their sizes, it bounds the memory.
	maxAttempts = 32
	// maxPerHost is how many of them one host has, so that one that hangs has few.
	maxPerHost = 2
	// patience is how many times longer than the first the longest pause between attempts is.
	patience = 60
)

// Options are what a [Fetcher] is made with.
type Options struct {
	// Deliver is told what became of a fetch, from several goroutines at once. It is called again when that changes.
	Deliver func(model.Fetch, model.Fetched)
	// Local allows addresses of this machine and its link.
	Local bool
	// Timeout is how long an attempt takes at most, 0 for 30 seconds.
	Timeout time.Duration
	// Pause is how long to wait after the first attempt that failed, 0 for a second.
	Pause time.Duration
	// Dir is a folder in which keys that were fetched outlive the process; empty for none.
	Dir string
	// Log is where it is logged that what is there cannot be fetched anew.
	Log *slog.Logger
	// Stale is told how many of the things that are kept for a limited time could not be fetched anew when it was time to,
	// whenever that changes, and must not call the fetcher; nil if nobody wants to know.
	Stale func(n int)
}

// Fetcher fetches what it is told to, and again until that works. It is safe for concurrent use.
type Fetcher struct {
	opts     Options
	attempts chan struct{}
	now      func() time.Time
	shelf    shelf

	mu sync.Mutex
	// orders are what Run has not seen yet, woken says that there are some.
	orders []order
	woken  chan struct{}
	hosts  map[string]*queue
	// untried are the fetches that are wanted, and of which nothing is known yet; settled is closed when there are none.
	untried map[model.Fetch]bool
	settled chan struct{}
	// stale is how many tasks have what they could not fetch anew.
	stale int
}

// order says that something is wanted, or not any more.
type order struct {
	fetch  model.Fetch
	wanted bool
}

// queue is where attempts wait that go to one host.
type queue struct {
	slots chan struct{}
	users int
}

// New returns a fetcher that does nothing before [Fetcher.Run].
func New(opts Options) *Fetcher {
	opts.Timeout, opts.Pause = cmp.Or(opts.Timeout, 30*time.Second), cmp.Or(opts.Pause, time.Second)
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Fetcher{
		opts: opts, attempts: make(chan struct{}, maxAttempts), woken: make(chan struct{}, 1), hosts: map[string]*queue{},
		untried: map[model.Fetch]bool{}, shelf: shelf{dir: opts.Dir},
		// By the clock on the wall: a machine that sleeps must not keep what is to be kept for a day.
		now: func() time.Time { return time.Now().Round(0) },
	}
}

// Want says that something is wanted from now on, or not any more. It does not block.
func (f *Fetcher) Want(fetch model.Fetch, wanted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.orders = append(f.orders, order{fetch, wanted})
	if wanted {
		f.untried[fetch] = true
	} else {
		f.tried(fetch)
	}
	select {
	case f.woken <- struct{}{}:
	default:
	}
}

// Settle waits until everything that is wanted has been tried once, or the context ends.
func (f *Fetcher) Settle(ctx context.Context) {
	f.mu.Lock()
	if len(f.untried) == 0 {
		f.mu.Unlock()
		return
	}
	if f.settled == nil {
		f.settled = make(chan struct{})
	}
	settled := f.settled
	f.mu.Unlock()
	select {
	case <-settled:
	case <-ctx.Done():
	}
}

// tried notes that something is known of a fetch. The caller holds the lock.
func (f *Fetcher) tried(fetch model.Fetch) {
	delete(f.untried, fetch)
	if len(f.untried) == 0 && f.settled != nil {
		close(f.settled)
		f.settled = nil
	}
}

// known notes that something is known of a fetch, and how many more there are that could not be fetched anew.
func (f *Fetcher) known(fetch model.Fetch, stale int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tried(fetch)
	if f.stale += stale; stale != 0 && f.opts.Stale != nil {
		f.opts.Stale(f.stale)
	}
}

// Run fetches until the context ends, and returns when all attempts have ended.
func (f *Fetcher) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	cancels := map[model.Fetch]context.CancelFunc{}
	f.shelf.sweep(f.now())
	for {
		select {
		case <-ctx.Done():
			for _, cancel := range cancels {
				cancel()
			}
			return
		case <-f.woken:
		}
		f.mu.Lock()
		orders := f.orders
		f.orders = nil
		f.mu.Unlock()
		for _, o := range orders {
			cancel, has := cancels[o.fetch]
			switch {
			case o.wanted && !has:
				own, cancel := context.WithCancel(ctx)
				cancels[o.fetch] = cancel
				running.Go(func() { f.newTask(o.fetch).run(own) })
			case !o.wanted && has:
				cancel()
				delete(cancels, o.fetch)
				f.shelf.remove(o.fetch)
			}
		}
	}
}

// attempt fetches something once. tag is what the server said of what is there.
func (f *Fetcher) attempt(ctx context.Context, spec model.FetchSpec, tag string) (found, error) {
	place, err := locate(spec)
	if err != nil {
		return found{}, err
	}
	leave, err := f.enter(ctx, place.host())
	if err != nil {
		return found{}, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, f.opts.Timeout)
	defer cancel()
	c, err := f.client(spec)
	if err != nil {
		return found{}, err
	}
	defer c.close()
	got, err := place.fetch(ctx, c, tag)
	if errors.Is(err, errSame) {
		return found{}, err
	}
	return got, explain(err, f.opts.Timeout)
}

// enter waits for its turn to go to a host.
func (f *Fetcher) enter(ctx context.Context, host string) (leave func(), err error) {
	q := f.line(host)
	take := func(slots chan struct{}) error {
		select {
		case slots <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := take(q.slots); err != nil {
		f.unline(host, q)
		return nil, err
	}
	if err := take(f.attempts); err != nil {
		<-q.slots
		f.unline(host, q)
		return nil, err
	}
	return func() {
		<-f.attempts
		<-q.slots
		f.unline(host, q)
	}, nil
}

func (f *Fetcher) line(host string) *queue {
	f.mu.Lock()
	defer f.mu.Unlock()
	q, ok := f.hosts[host]
	if !ok {
		q = &queue{slots: make(chan struct{}, maxPerHost)}
		f.hosts[host] = q
	}
	q.users++
	return q
}

func (f *Fetcher) unline(host string, q *queue) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if q.users--; q.users == 0 {
		delete(f.hosts, host)
	}
}

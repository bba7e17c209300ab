package load

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config says what load to make.
type Config struct {
	// Address is the gateway's host:port.
	Address string
	// Requests are sent in turn by each connection.
	Requests []Request
	// Conns is the number of connections, each with one request at a time.
	Conns int
	// Rate is the number of requests per second over all connections, 0 for as many as get answered.
	Rate float64
	// Dial connects; nil is an ordinary dialer.
	Dial Dial
	// Body is what the body of each answer with status 200 must hold, to tell backends apart; empty for whatever it is.
	Body string
}

// Result is what came of a load.
type Result struct {
	// Sent is the number of requests sent.
	Sent int
	// Failures counts those that were not answered with 200, by what happened instead.
	Failures map[string]int
	// Latencies of the answered requests, sorted.
	Latencies []time.Duration
}

// Failed returns how many requests were not answered with 200.
func (r Result) Failed() int {
	n := 0
	for _, count := range r.Failures {
		n += count
	}
	return n
}

// Quantile returns the latency that a share q, between 0 and 1, of the requests did not exceed; 0 if there were none.
func (r Result) Quantile(q float64) time.Duration {
	if len(r.Latencies) == 0 {
		return 0
	}
	return r.Latencies[min(int(q*float64(len(r.Latencies))), len(r.Latencies)-1)]
}

// String returns the failures, the most frequent first.
func (r Result) String() string {
	kinds := slices.SortedFunc(maps.Keys(r.Failures), func(a, b string) int {
		return cmp.Or(cmp.Compare(r.Failures[b], r.Failures[a]), strings.Compare(a, b))
	})
	out := fmt.Sprintf("%d requests, %d failed", r.Sent, r.Failed())
	for _, kind := range kinds {
		out += fmt.Sprintf("; %d x %s", r.Failures[kind], kind)
	}
	return out
}

// Merge adds the requests of another result.
func (r Result) Merge(o Result) Result {
	out := Result{Sent: r.Sent + o.Sent, Failures: maps.Clone(r.Failures)}
	if out.Failures == nil {
		out.Failures = map[string]int{}
	}
	for kind, n := range o.Failures {
		out.Failures[kind] += n
	}
	out.Latencies = slices.Concat(r.Latencies, o.Latencies)
	slices.Sort(out.Latencies)
	return out
}

// Run makes the load until the context ends; requests under way are waited for.
func Run(ctx context.Context, cfg Config) Result {
	results := make([]Result, cfg.Conns)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() { results[i] = worker(ctx, cfg, i) })
	}
	wg.Wait()
	var out Result
	for _, r := range results {
		out = out.Merge(r)
	}
	return out
}

// Start makes the load in the background. The function that it returns ends it and returns the result.
func Start(cfg Config) (stop func() Result) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan Result, 1)
	go func() { done <- Run(ctx, cfg) }()
	return func() Result {
		cancel()
		return <-done
	}
}

// worker is one connection. The first request of worker i is cfg.Requests[i], so that the connections spread over them.
func worker(ctx context.Context, cfg Config, i int) Result {
	conn := NewConn(cfg.Address)
	conn.Use(cfg.Dial, cfg.Body)
	defer conn.Close()
	out := Result{Failures: map[string]int{}}
	var tick <-chan time.Time
	if cfg.Rate > 0 {
		ticker := time.NewTicker(time.Duration(float64(time.Second) * float64(cfg.Conns) / cfg.Rate))
		defer ticker.Stop()
		tick = ticker.C
	}
	for n := i; ctx.Err() == nil; n++ {
		if tick != nil {
			select {
			case <-tick:
			case <-ctx.Done():
				return out
			}
		}
		begin := time.Now()
		status, err := conn.Do(cfg.Requests[n%len(cfg.Requests)])
		out.Sent++
		switch {
		case err != nil:
			out.Failures[err.Error()]++
			time.Sleep(time.Millisecond) // A refused connection must not become a busy loop.
		case status != 200:
			out.Failures[fmt.Sprintf("status %d", status)]++
		default:
			out.Latencies = append(out.Latencies, time.Since(begin))
		}
	}
	return out
}

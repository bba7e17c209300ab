package ratelimit_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/ratelimit"
	"github.com/sluice-gateway/sluice/internal/ratelimit/ratelimittest"
)

func TestMemory(t *testing.T) { ratelimittest.Conform(t, ratelimit.NewClocked(0)) }

// passed is what was let through, to be held against the promise of a Store.
type passed struct {
	at   int64
	cost int64
}

// TestNeverMoreThanTheLimitInAnyWindow lets requests come at random, in bursts and evenly, and looks at every window
// that ends with a request: if there were one with too much in it, one of these would have it too.
func TestNeverMoreThanTheLimitInAnyWindow(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		store := ratelimit.NewClocked(0)
		limit := ratelimit.Limit{Requests: uint32(1 + r.IntN(200)), Unit: ratelimit.Second}
		key := ratelimittest.NewKey()
		var log []passed
		for range 3000 {
			store.Advance(pause(r, limit))
			h := ratelimit.Hit{Key: key, Limit: limit, Cost: int64(1 + r.IntN(3)*r.IntN(2))}
			if !one(t, store, h).Over {
				log = append(log, passed{store.Now(), h.Cost})
			}
		}
		if at, sum := worst(log, int64(time.Second)); sum > int64(limit.Requests) {
			t.Fatalf("seed %d: %d passed in the second before %v, with a limit of %s", seed, sum, time.Duration(at), limit)
		}
	}
}

// pause is the time to the next request: none within a burst, long after one, or about what the limit allows.
func pause(r *rand.Rand, limit ratelimit.Limit) time.Duration {
	switch r.IntN(10) {
	case 0:
		return time.Duration(r.Int64N(int64(time.Second)))
	case 1, 2, 3, 4:
		return 0
	}
	return time.Duration(r.Int64N(int64(2*time.Second) / int64(limit.Requests)))
}

// worst returns the end of the window with the most in it, and how much that is.
func worst(log []passed, length int64) (at, most int64) {
	from, sum := 0, int64(0)
	for _, p := range log {
		sum += p.cost
		for log[from].at <= p.at-length {
			sum -= log[from].cost
			from++
		}
		if sum > most {
			at, most = p.at, sum
		}
	}
	return at, most
}

func one(t testing.TB, s ratelimit.Store, h ratelimit.Hit) ratelimit.Answer {
	t.Helper()
	var answers [1]ratelimit.Answer
	if err := s.Take(context.Background(), []ratelimit.Hit{h}, answers[:]); err != nil {
		t.Fatal(err)
	}
	return answers[0]
}

// TestSteadyTraffic shows the price of the promise: with twice as many requests as may pass, at most a 32nd fewer pass
// than might.
func TestSteadyTraffic(t *testing.T) {
	store := ratelimit.NewClocked(0)
	h := ratelimit.Hit{
		Key: ratelimittest.NewKey(), Limit: ratelimit.Limit{Requests: 1000, Unit: ratelimit.Second}, Cost: 1,
	}
	const seconds = 60
	through := 0
	for range seconds * 2000 {
		if !one(t, store, h).Over {
			through++
		}
		store.Advance(500 * time.Microsecond)
	}
	if least := seconds * 1000 * 31 / 32; through < least || through > seconds*1000 {
		t.Errorf("%d requests passed in %d seconds of a limit of %s, want %d to %d",
			through, seconds, h.Limit, least, seconds*1000)
	}
}

func TestConcurrentRequestsShareALimit(t *testing.T) {
	store := ratelimit.NewMemory(0)
	a, b := ratelimittest.NewKey(), ratelimittest.NewKey()
	limit := ratelimit.Limit{Requests: 500, Unit: ratelimit.Hour}
	var through atomic.Int64
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			hits := []ratelimit.Hit{{Key: a, Limit: limit, Cost: 1}, {Key: b, Limit: limit, Cost: 1}}
			if i%2 == 0 { // the locks are taken in one order all the same
				hits[0], hits[1] = hits[1], hits[0]
			}
			answers := make([]ratelimit.Answer, 2)
			for range 200 {
				if err := store.Take(context.Background(), hits, answers); err != nil {
					t.Error(err)
				}
				if !ratelimit.Refused(hits, answers) {
					through.Add(1)
				}
			}
		})
	}
	all.Wait()
	if through.Load() != 500 {
		t.Errorf("%d requests passed, want exactly 500", through.Load())
	}
}

func numbered(i uint64) (k ratelimit.Key) {
	binary.LittleEndian.PutUint64(k[:], i)
	return k
}

// TestA42KeyFlood has a client make up a key for each request. Memory stays within its bound, and the counter of a
// client that has used up its limit outlives the flood.
func TestA42KeyFlood(t *testing.T) {
	const room, keys = 4 << 20, 300_000
	store := ratelimit.NewClocked(room)
	limit := ratelimit.Limit{Requests: 100, Unit: ratelimit.Hour}
	busy := make([]ratelimit.Hit, 50)
	for i := range busy {
		busy[i] = ratelimit.Hit{Key: ratelimittest.NewKey(), Limit: limit, Cost: 1}
		for range limit.Requests {
			one(t, store, busy[i])
		}
	}
	before := heap()
	for i := range uint64(keys) {
		one(t, store, ratelimit.Hit{Key: numbered(i), Limit: limit, Cost: 1})
		if i%1000 == 0 {
			store.Advance(time.Millisecond)
		}
	}
	used := store.Usage()
	if used.Bytes > room || used.Evicted == 0 {
		t.Errorf("%d made-up keys take %d bytes of %d, with %d evicted", keys, used.Bytes, room, used.Evicted)
	}
	if grown := heap() - before; grown > room*5/4 {
		t.Errorf("the heap grew by %d bytes with a bound of %d", grown, room)
	}
	runtime.KeepAlive(store)
	for i, h := range busy {
		if !one(t, store, h).Over {
			t.Errorf("client %d, who had used up its limit, got through after the flood", i)
		}
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestExpiredCountersAreRemoved(t *testing.T) {
	store := ratelimit.NewClocked(0)
	for i := range uint64(10_000) {
		one(t, store, ratelimit.Hit{
			Key: numbered(i), Limit: ratelimit.Limit{Requests: 5, Unit: ratelimit.Second}, Cost: 1,
		})
	}
	store.Sweep()
	if got := store.Usage().Counters; got != 10_000 {
		t.Errorf("%d counters are left while they count, want all 10000", got)
	}
	store.Advance(time.Second)
	store.Sweep()
	if got := store.Usage(); got.Counters != 0 || got.Bytes != 0 || got.Evicted != 0 {
		t.Errorf("after their second: %+v", got)
	}
}

func BenchmarkMemory(b *testing.B) {
	store := ratelimit.NewMemory(0)
	limit := ratelimit.Limit{Requests: 1000, Unit: ratelimit.Second}
	hits, answers := make([]ratelimit.Hit, 1), make([]ratelimit.Answer, 1)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		hits[0] = ratelimit.Hit{Key: numbered(uint64(i % 10_000)), Limit: limit, Cost: 1}
		if err := store.Take(context.Background(), hits, answers); err != nil {
			b.Fatal(err)
		}
	}
}

package ratelimit_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/ratelimit"
	"github.com/sluice-gateway/sluice/internal/ratelimit/ratelimittest"
)

// The other ways to keep a limit of so many requests a second, for docs/adr/0008-sliding-window.md.

// fixedWindow counts anew each second.
type fixedWindow struct{ window, used, limit int64 }

func (f *fixedWindow) take(now int64) bool {
	if w := now / int64(time.Second); w != f.window {
		f.window, f.used = w, 0
	}
	if f.used >= f.limit {
		return false
	}
	f.used++
	return true
}

// slidingCounter takes the requests of the window before as if they had come evenly.
type slidingCounter struct{ window, used, before, limit int64 }

func (s *slidingCounter) take(now int64) bool {
	const second = int64(time.Second)
	if w := now / second; w != s.window {
		if s.before = s.used; w != s.window+1 {
			s.before = 0
		}
		s.window, s.used = w, 0
	}
	if s.used+s.before*(second-now%second)/second >= s.limit {
		return false
	}
	s.used++
	return true
}

// gcra is a token bucket that holds limit tokens, kept as the time at which it is full again.
type gcra struct{ full, limit int64 }

func (g *gcra) take(now int64) bool {
	each := int64(time.Second) / g.limit
	full := max(g.full, now) + each
	if full-now > int64(time.Second) {
		return false
	}
	g.full = full
	return true
}

// TestAlgorithms holds Sluice's way to its promise where the others break it: with all clients waiting for the moment
// that suits them best. Run it with -v for the figures.
func TestAlgorithms(t *testing.T) {
	const limit, rounds = 100, 40
	for _, a := range []struct {
		name  string
		make  func() (take func(now int64) bool)
		holds bool
	}{
		{"fixed window", func() func(int64) bool { return (&fixedWindow{limit: limit}).take }, false},
		{"sliding counter", func() func(int64) bool { return (&slidingCounter{limit: limit}).take }, false},
		{"GCRA", func() func(int64) bool { return (&gcra{limit: limit}).take }, false},
		{"sliced window", func() func(int64) bool {
			store, at := ratelimit.NewClocked(0), int64(0)
			h := ratelimit.Hit{
				Key: ratelimittest.NewKey(), Limit: ratelimit.Limit{Requests: limit, Unit: ratelimit.Second}, Cost: 1,
			}
			return func(now int64) bool {
				store.Advance(time.Duration(now - at))
				at = now
				return !one(t, store, h).Over
			}
		}, true},
	} {
		most := int64(0)
		for seed := range uint64(rounds) {
			_, got := worst(attack(a.make(), rand.New(rand.NewPCG(seed, 3)), limit), int64(time.Second))
			most = max(most, got)
		}
		steady := throughput(a.make(), limit)
		t.Logf("%-15s at most %d of %d in a second, %d a second of twice as many", a.name, most, limit, steady)
		if a.holds != (most <= limit) {
			t.Errorf("%s let %d pass in a second, with a limit of %d", a.name, most, limit)
		}
	}
}

// attack sends bursts at random times, as large as they pass, and returns what passed.
func attack(take func(int64) bool, r *rand.Rand, limit int) []passed {
	var log []passed
	now := int64(10 * time.Second)
	for range 50 {
		now += r.Int64N(int64(1200 * time.Millisecond))
		for range 1 + r.IntN(2*limit) {
			if take(now) {
				log = append(log, passed{now, 1})
			}
			now += 1000
		}
	}
	return log
}

// throughput is how many pass a second, of twice as many as may, evenly for a minute.
func throughput(take func(int64) bool, limit int) int {
	through := 0
	now := int64(10 * time.Second)
	for range 60 * 2 * limit {
		if take(now) {
			through++
		}
		now += int64(time.Second) / int64(2*limit)
	}
	return through / 60
}

// Package ratelimittest holds what every store of rate limits has to do, as tests, and starts a Redis for them.
package ratelimittest

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/ratelimit"
)

// NewKey returns a key that no other test has.
func NewKey() ratelimit.Key {
	var k ratelimit.Key
	_, _ = rand.Read(k[:]) // never fails
	return k
}

// Store is a store with a clock that the test moves.
type Store interface {
	ratelimit.Store
	// Advance moves the clock.
	Advance(d time.Duration)
}

// take asks for hits that must be answered.
func take(t *testing.T, s ratelimit.Store, hits ...ratelimit.Hit) []ratelimit.Answer {
	t.Helper()
	answers := make([]ratelimit.Answer, len(hits))
	if err := s.Take(context.Background(), hits, answers); err != nil {
		t.Fatalf("Take: %v", err)
	}
	return answers
}

func hit(k ratelimit.Key, requests uint32, unit ratelimit.Unit, cost int64) ratelimit.Hit {
	return ratelimit.Hit{Key: k, Limit: ratelimit.Limit{Requests: requests, Unit: unit}, Cost: cost}
}

// Conform runs the tests. Each gets counters of its own.
func Conform(t *testing.T, s Store) {
	t.Run("Limit", func(t *testing.T) { testLimit(t, s) })
	t.Run("NothingForTheRefused", func(t *testing.T) { testAllOrNothing(t, s) })
	t.Run("Shadow", func(t *testing.T) { testShadow(t, s) })
	t.Run("Cost", func(t *testing.T) { testCost(t, s) })
	t.Run("Charge", func(t *testing.T) { testCharge(t, s) })
	t.Run("GiveBack", func(t *testing.T) { testGiveBack(t, s) })
	t.Run("RaisedLimit", func(t *testing.T) { testRaised(t, s) })
	t.Run("Units", func(t *testing.T) { testUnits(t, s) })
	t.Run("Extremes", func(t *testing.T) { testExtremes(t, s) })
	t.Run("NoDoubleBurst", func(t *testing.T) { testEdge(t, s) })
}

func testLimit(t *testing.T, s Store) {
	h := hit(NewKey(), 3, ratelimit.Minute, 1)
	for _, left := range []uint32{2, 1, 0} {
		if a := take(t, s, h)[0]; a.Over || a.Remaining != left || a.Reset <= 0 || a.Reset > time.Minute {
			t.Fatalf("with %d left after it: %+v", left, a)
		}
	}
	a := take(t, s, h)[0]
	if !a.Over || a.Remaining != 0 || a.Reset <= 0 || a.Reset > time.Minute {
		t.Fatalf("beyond the limit: %+v", a)
	}
	s.Advance(a.Reset)
	if a := take(t, s, h)[0]; a.Over {
		t.Fatalf("after the reset that it was told: %+v", a)
	}
}

func testAllOrNothing(t *testing.T, s Store) {
	full, other := hit(NewKey(), 1, ratelimit.Hour, 1), hit(NewKey(), 10, ratelimit.Hour, 1)
	take(t, s, full)
	for range 3 {
		answers := take(t, s, other, full)
		if answers[0].Over || answers[0].Remaining != 10 || !answers[1].Over {
			t.Fatalf("a request that one limit refuses was counted for another: %+v", answers)
		}
	}
	if a := take(t, s, other)[0]; a.Remaining != 9 {
		t.Fatalf("then alone: %+v", a)
	}
}

func testShadow(t *testing.T, s Store) {
	shadow, other := hit(NewKey(), 1, ratelimit.Hour, 1), hit(NewKey(), 10, ratelimit.Hour, 1)
	shadow.Shadow = true
	take(t, s, shadow)
	answers := take(t, s, shadow, other)
	if !answers[0].Over || answers[1].Over || answers[1].Remaining != 9 {
		t.Fatalf("a shadow limit that is over must say so, and count for the others: %+v", answers)
	}
}

func testCost(t *testing.T, s Store) {
	k := NewKey()
	if a := take(t, s, hit(k, 10, ratelimit.Hour, 7))[0]; a.Over || a.Remaining != 3 {
		t.Fatalf("7 of 10: %+v", a)
	}
	if a := take(t, s, hit(k, 10, ratelimit.Hour, 4))[0]; !a.Over || a.Remaining != 3 {
		t.Fatalf("4 of 3 that are left: %+v", a)
	}
	if a := take(t, s, hit(k, 10, ratelimit.Hour, 0))[0]; a.Over || a.Remaining != 3 {
		t.Fatalf("0 of 3 that are left: %+v", a)
	}
	if a := take(t, s, hit(k, 10, ratelimit.Hour, 3))[0]; a.Over || a.Remaining != 0 {
		t.Fatalf("3 of 3 that are left: %+v", a)
	}
	if a := take(t, s, hit(k, 10, ratelimit.Hour, 0))[0]; !a.Over {
		t.Fatalf("0 of nothing that is left: %+v", a)
	}
	if a := take(t, s, hit(NewKey(), 10, ratelimit.Hour, 11))[0]; !a.Over || a.Reset != time.Hour {
		t.Fatalf("more than can ever pass: %+v", a)
	}
}

func testCharge(t *testing.T, s Store) {
	k := NewKey()
	charge := hit(k, 10, ratelimit.Minute, 25)
	charge.Force = true
	if a := take(t, s, charge)[0]; a.Over || a.Remaining != 0 {
		t.Fatalf("a charge beyond the limit: %+v", a)
	}
	if a := take(t, s, hit(k, 10, ratelimit.Minute, 0))[0]; !a.Over {
		t.Fatalf("after a charge beyond the limit: %+v", a)
	}
	s.Advance(time.Minute)
	if a := take(t, s, hit(k, 10, ratelimit.Minute, 1))[0]; a.Over || a.Remaining != 9 {
		t.Fatalf("a minute after the charge: %+v", a)
	}
}

func testGiveBack(t *testing.T, s Store) {
	k := NewKey()
	take(t, s, hit(k, 10, ratelimit.Hour, 6))
	if a := take(t, s, hit(k, 10, ratelimit.Hour, -4))[0]; a.Over || a.Remaining != 8 {
		t.Fatalf("4 of 6 given back: %+v", a)
	}
	if a := take(t, s, hit(k, 10, ratelimit.Hour, -4))[0]; a.Over || a.Remaining != 10 {
		t.Fatalf("more given back than was taken: %+v", a)
	}
	if a := take(t, s, hit(NewKey(), 10, ratelimit.Hour, -4))[0]; a.Over || a.Remaining != 10 {
		t.Fatalf("given back to a counter that is not there: %+v", a)
	}
}

func testRaised(t *testing.T, s Store) {
	k := NewKey()
	for range 3 {
		take(t, s, hit(k, 3, ratelimit.Hour, 1))
	}
	if a := take(t, s, hit(k, 5, ratelimit.Hour, 1))[0]; a.Over || a.Remaining != 1 {
		t.Fatalf("with a limit that was raised from 3 to 5, the fourth: %+v", a)
	}
	if a := take(t, s, hit(k, 2, ratelimit.Hour, 1))[0]; !a.Over || a.Remaining != 0 {
		t.Fatalf("with a limit that was lowered to 2, the fifth: %+v", a)
	}
}

func testUnits(t *testing.T, s Store) {
	for u := ratelimit.Second; u <= ratelimit.Year; u++ {
		h := hit(NewKey(), 1, u, 1)
		take(t, s, h)
		s.Advance(u.Length() - 10*time.Millisecond)
		if a := take(t, s, h)[0]; !a.Over {
			t.Errorf("just before the end of a %s: %+v", u, a)
		}
		s.Advance(10 * time.Millisecond)
		if a := take(t, s, h)[0]; a.Over {
			t.Errorf("after a %s: %+v", u, a)
		}
	}
}

func testExtremes(t *testing.T, s Store) {
	if a := take(t, s, hit(NewKey(), 0, ratelimit.Second, 1))[0]; !a.Over || a.Reset != time.Second {
		t.Errorf("a limit of 0: %+v", a)
	}
	k := NewKey()
	const most = 1<<32 - 1
	for i := range 4 {
		want := uint32(most - (i+1)*ratelimit.MaxCost)
		if a := take(t, s, hit(k, most, ratelimit.Year, ratelimit.MaxCost))[0]; a.Over || a.Remaining != want {
			t.Fatalf("the largest cost, %d times, of the largest limit: %+v, want %d left", i+1, a, want)
		}
	}
	if a := take(t, s, hit(k, most, ratelimit.Year, ratelimit.MaxCost))[0]; !a.Over {
		t.Errorf("the largest cost of what is left: %+v", a)
	}
}

// testEdge is what a fixed window does wrong: all of one window at its end, all of the next at its beginning.
func testEdge(t *testing.T, s Store) {
	h := hit(NewKey(), 100, ratelimit.Minute, 1)
	passed := 0
	for range 40 {
		for range 60 {
			if !take(t, s, h)[0].Over {
				passed++
			}
		}
		s.Advance(time.Second)
	}
	if diff := cmp.Diff(100, passed); diff != "" {
		t.Errorf("passed within 40 seconds of a limit of 100 a minute (-want +got):\n%s", diff)
	}
}

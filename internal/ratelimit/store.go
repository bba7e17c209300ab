package ratelimit

import (
	"context"
	"time"
)

// Store keeps the counters.
//
// What it promises: for every counter and every window [t, t+length of the unit), what was taken in it is at most the
// limit, wherever the window begins. That is more than a fixed window promises, which lets twice the limit pass across
// its edge. What is taken regardless ([Hit.Force]) counts, but is not held back.
type Store interface {
	// Take counts the hits of one request, or none of them: if one of them is over its limit, nothing is taken for the
	// others either, so that a request which is refused costs nothing. It writes an answer for each hit. An error means
	// that nothing is known, and perhaps something was counted. The keys of the hits are different.
	Take(ctx context.Context, hits []Hit, answers []Answer) error
}

// Key tells counters apart: a hash of all that a counter is for.
type Key [16]byte

// Hit is what one descriptor of a request takes from one counter.
type Hit struct {
	Key   Key
	Limit Limit
	// Cost is how much is taken. 0 takes nothing and asks only whether there is something left; a negative cost gives
	// back, and is never refused.
	Cost int64
	// Force counts beyond the limit and is never refused: the cost of a response, which has been sent by then.
	Force bool
	// Shadow is never refused. It counts as if it were: what is over the limit is not taken.
	Shadow bool
}

// MaxCost is the largest cost of a hit, Envoy's own bound of hits_addend.
const MaxCost = 1_000_000_000

// Answer is what is to be said of one hit.
type Answer struct {
	// Over says that the hit was over its limit, enforced or not.
	Over bool
	// Remaining is what is left of the limit.
	Remaining uint32
	// Reset is the time until Remaining grows; if the hit was over its limit, until one like it would pass.
	Reset time.Duration
}

// Refused says whether some hit is over its limit and counts.
func Refused(hits []Hit, answers []Answer) bool {
	for i, h := range hits {
		if answers[i].Over && !h.Shadow {
			return true
		}
	}
	return false
}

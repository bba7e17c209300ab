package ratelimit

import (
	"math"
	"time"
)

// Slices is into how many parts a window is cut. What is taken within one part is forgotten together, when the last of
// it is as old as the window: so a counter may hold back up to a 32nd too long, and never lets too much pass. Limits
// below it are counted to the request.
const Slices = 32

// window is what was taken from one counter in the last while, oldest first. Times are in nanoseconds of one clock.
type window []slice

type slice struct {
	last int64
	hits uint64
}

// expire forgets what is as old as length, and returns how much it was.
func (w *window) expire(now, length int64) uint64 {
	gone, sum := 0, uint64(0)
	for ; gone < len(*w) && (*w)[gone].last+length <= now; gone++ {
		sum += (*w)[gone].hits
	}
	if gone > 0 {
		*w = append((*w)[:0], (*w)[gone:]...)
	}
	return sum
}

// add counts hits at now, which is not before any of the window.
func (w *window) add(now, length int64, hits uint64) {
	width := max(length/Slices, 1)
	if n := len(*w); n > 0 {
		newest := &(*w)[n-1]
		// A clock that went back would age what is counted.
		now = max(now, newest.last)
		if newest.last/width == now/width {
			newest.last, newest.hits = now, saturated(newest.hits, hits)
			return
		}
	}
	*w = append(*w, slice{last: now, hits: hits})
}

// giveBack takes back up to hits of what was counted last, and returns how much it was.
func (w *window) giveBack(hits uint64) uint64 {
	left := hits
	for left > 0 && len(*w) > 0 {
		newest := &(*w)[len(*w)-1]
		take := min(left, newest.hits)
		newest.hits -= take
		left -= take
		if newest.hits == 0 {
			*w = (*w)[:len(*w)-1]
		}
	}
	return hits - left
}

// wait returns the time until at most room is counted: never more than length.
func (w window) wait(now, length int64, used, room uint64) time.Duration {
	for _, s := range w {
		if used <= room {
			break
		}
		used -= min(used, s.hits)
		if used <= room {
			return time.Duration(s.last + length - now)
		}
	}
	if used > room {
		return time.Duration(length)
	}
	return 0
}

// saturated is a+b, or the largest there is. Neither is above it.
func saturated(a, b uint64) uint64 { return min(a+b, math.MaxInt64) }

// counter is a window with its sum.
type counter struct {
	window window
	used   uint64
}

// over says whether the hit would be over its limit. It forgets what has expired.
func (c *counter) over(h *Hit, now int64) bool {
	c.used -= min(c.used, c.window.expire(now, int64(h.Limit.Unit.Length())))
	switch limit := uint64(h.Limit.Requests); {
	case h.Force || h.Cost < 0:
		return false
	case h.Cost == 0:
		return c.used >= limit
	default:
		return c.used >= limit || uint64(h.Cost) > limit-c.used
	}
}

// take counts the hit.
func (c *counter) take(h *Hit, now int64) {
	switch {
	case h.Cost > 0:
		c.window.add(now, int64(h.Limit.Unit.Length()), uint64(h.Cost))
		c.used = saturated(c.used, uint64(h.Cost))
	case h.Cost < 0:
		c.used -= min(c.used, c.window.giveBack(uint64(-h.Cost)))
	}
}

// answer says how the counter is.
func (c *counter) answer(h *Hit, now int64, over bool) Answer {
	limit := uint64(h.Limit.Requests)
	out := Answer{Over: over, Remaining: uint32(limit - min(limit, c.used))}
	length := int64(h.Limit.Unit.Length())
	switch {
	case over:
		// Room for one like it, or for anything at all.
		room := limit - min(limit, max(uint64(h.Cost), 1))
		out.Reset = c.window.wait(now, length, c.used, room)
		if uint64(h.Cost) > limit || limit == 0 {
			out.Reset = time.Duration(length)
		}
	case c.used > 0:
		out.Reset = c.window.wait(now, length, c.used, c.used-1)
	}
	return out
}

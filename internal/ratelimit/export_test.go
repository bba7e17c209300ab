package ratelimit

import "time"

// Clocked is a store with a clock that a test moves.
type Clocked struct {
	*Memory
	at int64
}

// NewClocked returns a store whose clock stands.
func NewClocked(room int) *Clocked {
	c := &Clocked{Memory: NewMemory(room)}
	c.now = func() int64 { return c.at }
	return c
}

// Advance moves the clock.
func (c *Clocked) Advance(d time.Duration) { c.at += int64(d) }

// Now is the time of the clock, in nanoseconds.
func (c *Clocked) Now() int64 { return c.at }

package peer

import (
	"sync"
	"time"
)

// contacts are when replicas have heard from the API server, by their address.
type contacts struct {
	mu sync.Mutex
	by map[string]contact
}

// contact is what the last message of a replica said.
type contact struct {
	// at is when it had heard from the API server, told when it said so. Both are of this replica's clock.
	at, told time.Time
}

// note notes what a message says.
func (c *contacts) note(address string, got message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if got.Silence == nil {
		delete(c.by, address)
		return
	}
	now := time.Now()
	c.by[address] = contact{at: now.Add(-time.Duration(*got.Silence) * time.Millisecond), told: now}
}

func (c *contacts) drop(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.by, address)
}

// latest is the latest contact of a replica that is not silent itself; zero if there is none.
func (c *contacts) latest() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	var last time.Time
	for _, of := range c.by {
		if of.at.After(last) && time.Since(of.told) < missed {
			last = of.at
		}
	}
	return last
}

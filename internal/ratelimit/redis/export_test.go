package redis

import "time"

// Advance has the store take the server's clock to be further ahead.
func (s *Store) Advance(d time.Duration) { s.ahead.Add(d.Microseconds()) }

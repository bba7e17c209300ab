package ratelimit

import (
	"context"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Memory keeps counters in the memory of the process, within a bound.
//
// When the memory is used up, each new counter takes the place of others: of a few that are drawn at random, those
// that have expired, and if none has, the one that has used the smallest share of its limit, of equals the oldest. So
// who makes up keys in masses pushes out made-up keys, each worth one request, and gets rid of a counter near its
// limit, his own or another's, only at the price of as many requests for each of the keys.
type Memory struct {
	seed   maphash.Seed
	now    func() int64
	shards [shards]shard
}

const (
	// shards keeps those who decide at the same time apart.
	shards = 64
	// drawn is from how many counters the one to go is chosen.
	drawn = 8
	// counterBytes is what a counter takes with its place in the index, sliceBytes each slice of its window.
	counterBytes, sliceBytes = 144, 16
	// DefaultMemory is room for about a million counters with one slice each.
	DefaultMemory = 160 << 20
)

type shard struct {
	mu    sync.Mutex
	index map[Key]uint32
	// entries are dense, so that one can be drawn.
	entries []entry
	bytes   int
	room    int
	evicted uint64
	// swept is where the search for what has expired goes on.
	swept int
}

type entry struct {
	counter
	key   Key
	limit Limit
}

// NewMemory returns a store without counters that takes no more than about room bytes; 0 stands for [DefaultMemory].
func NewMemory(room int) *Memory {
	if room <= 0 {
		room = DefaultMemory
	}
	began := time.Now()
	// Monotonic: counters do not notice when somebody sets the clock.
	m := &Memory{seed: maphash.MakeSeed(), now: func() int64 { return int64(time.Since(began)) }}
	for i := range m.shards {
		m.shards[i].index = map[Key]uint32{}
		m.shards[i].room = max(room/shards, counterBytes+Slices*sliceBytes)
	}
	return m
}

// Take is that of [Store]. It needs no context and returns no error.
func (m *Memory) Take(_ context.Context, hits []Hit, answers []Answer) error {
	var few [8]int
	held := few[:0]
	for i := range hits {
		held = append(held, m.shardOf(hits[i].Key))
	}
	// In one order, so that nobody waits for somebody who waits for him.
	slices.Sort(held)
	held = slices.Compact(held)
	for _, i := range held {
		m.shards[i].mu.Lock()
	}
	// After the locks: times in a window never go back.
	now := m.now()
	for i := range hits {
		answers[i].Over = m.shards[m.shardOf(hits[i].Key)].over(&hits[i], now)
	}
	refused := Refused(hits, answers)
	for i := range hits {
		answers[i] = m.shards[m.shardOf(hits[i].Key)].take(&hits[i], now, answers[i].Over, refused)
	}
	for _, i := range held {
		m.shards[i].mu.Unlock()
	}
	return nil
}

// shardOf is seeded: otherwise who makes up keys could choose ones that all fall into one shard.
func (m *Memory) shardOf(k Key) int { return int(maphash.Bytes(m.seed, k[:]) % shards) }

// over says whether a hit is over its limit. The caller holds the lock.
func (s *shard) over(h *Hit, now int64) bool {
	if i, ok := s.index[h.Key]; ok {
		e := &s.entries[i]
		before := cap(e.window)
		over := e.over(h, now)
		s.bytes += (cap(e.window) - before) * sliceBytes
		return over
	}
	var none counter
	return none.over(h, now)
}

// take counts a hit unless it is over its limit or its request is refused, and answers it. The caller holds the lock.
func (s *shard) take(h *Hit, now int64, over, refused bool) Answer {
	i, ok := s.index[h.Key]
	if !ok {
		if over || refused || h.Cost <= 0 {
			var none counter
			return none.answer(h, now, over)
		}
		i = s.insert(h.Key, now)
	}
	e := &s.entries[i]
	if e.limit = h.Limit; !over && !refused {
		before := cap(e.window)
		e.take(h, now)
		s.bytes += (cap(e.window) - before) * sliceBytes
	}
	answer := e.answer(h, now, over)
	// Only now: it moves counters.
	s.shrink(h.Key, now)
	return answer
}

// insert makes a counter.
func (s *shard) insert(k Key, now int64) uint32 {
	// Two steps forward for each that is added: what has expired is found without a timer.
	s.sweep(now, 2)
	i := uint32(len(s.entries))
	s.entries = append(s.entries, entry{key: k})
	s.index[k] = i
	s.bytes += counterBytes
	return i
}

// shrink makes room, and keeps the counter of k.
func (s *shard) shrink(k Key, now int64) {
	for s.bytes > s.room && len(s.entries) > 1 {
		least, share, oldest := -1, 0.0, int64(0)
		for range drawn {
			i := rand.IntN(len(s.entries))
			e := &s.entries[i]
			if e.key == k {
				continue
			}
			used := e.share(now)
			if last := e.last(); least < 0 || used < share || used == share && last < oldest {
				least, share, oldest = i, used, last
			}
		}
		if least >= 0 {
			s.remove(least)
			s.evicted++
		}
	}
}

// sweep looks at some counters and removes those that have expired.
func (s *shard) sweep(now int64, steps int) {
	for range min(steps, len(s.entries)) {
		if s.swept >= len(s.entries) {
			s.swept = 0
		}
		if s.entries[s.swept].expired(now) {
			s.remove(s.swept)
		} else {
			s.swept++
		}
		if len(s.entries) == 0 {
			return
		}
	}
}

func (s *shard) remove(i int) {
	e := &s.entries[i]
	s.bytes -= counterBytes + cap(e.window)*sliceBytes
	delete(s.index, e.key)
	end := len(s.entries) - 1
	if i != end {
		s.entries[i] = s.entries[end]
		s.index[s.entries[i].key] = uint32(i)
	}
	s.entries[end] = entry{}
	s.entries = s.entries[:end]
	if end == 0 {
		// A map keeps the size that it once had.
		s.index, s.entries = map[Key]uint32{}, nil
	}
}

// last is when something was counted, the smallest of all times if nothing is.
func (e *entry) last() int64 {
	if len(e.window) == 0 {
		return -1 << 63
	}
	return e.window[len(e.window)-1].last
}

func (e *entry) expired(now int64) bool {
	return len(e.window) == 0 || e.last()+int64(e.limit.Unit.Length()) <= now
}

// share is how much of its limit is used, 0 if all has expired.
func (e *entry) share(now int64) float64 {
	if e.expired(now) {
		return 0
	}
	return float64(e.used) / max(float64(e.limit.Requests), 1)
}

// Sweep removes counters that have expired: all of a shard at a time, so that nobody waits long.
func (m *Memory) Sweep() {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		s.sweep(m.now(), len(s.entries))
		s.mu.Unlock()
	}
}

// Usage is how much a store holds.
type Usage struct {
	// Counters are there, in about Bytes bytes of memory. Evicted were removed before they had expired, since the start.
	Counters, Bytes int
	Evicted         uint64
}

// Usage returns how much there is now.
func (m *Memory) Usage() Usage {
	var out Usage
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		out.Counters += len(s.entries)
		out.Bytes += s.bytes
		out.Evicted += s.evicted
		s.mu.Unlock()
	}
	return out
}

// sweepEvery is how long a counter may stay after it has expired.
const sweepEvery = 10 * time.Second

// Run removes what has expired, until the context ends. Without it memory stays within its bound all the same.
func (m *Memory) Run(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			m.Sweep()
		}
	}
}

package incr

import (
	"fmt"
	"iter"
	"reflect"
)

// Collection is what can be read by key: an [Input] or a [Table].
type Collection[K Key[K], V any] interface {
	node
	held() *slots[K, V]
}

// slots holds the cells of one collection. A cell stays where it is as long as it has a value or a reader, so that
// dependencies are two small numbers rather than keys.
type slots[K Key[K], V any] struct {
	id    uint32
	label string
	eng   *Engine
	equal func(a, b V) bool

	index keyIndex[K]
	cells pages[cell[K, V]]
	// length is how many cells have a value.
	length int
	free   []uint32
	// doomed are the cells to free at the next settle: until then an index may still look at their keys.
	doomed []uint32
	// changed are the cells whose value changed in the running or last commit, in key order.
	changed pages[change[V]]
}

type cell[K Key[K], V any] struct {
	key     K
	value   V
	has     bool
	dirty   bool
	faulty  bool
	claims  int32
	readers refSet
	deps    []ref
}

type change[V any] struct {
	slot   uint32
	old    V
	hadOld bool
}

func newSlots[K Key[K], V any](e *Engine, label string) slots[K, V] {
	return slots[K, V]{
		label: label, eng: e,
		equal: func(a, b V) bool { return reflect.DeepEqual(a, b) },
	}
}

// init readies the collection once it is where it stays.
func (s *slots[K, V]) init(id uint32) {
	s.id = id
	s.index = newKeyIndex(func(slot uint32) K { return s.cells.at(slot).key })
}

func (s *slots[K, V]) held() *slots[K, V]           { return s }
func (s *slots[K, V]) name() string                 { return s.label }
func (s *slots[K, V]) keyName(slot uint32) string   { return fmt.Sprint(s.cells.at(slot).key) }
func (s *slots[K, V]) addReader(slot uint32, r ref) { s.cells.at(slot).readers.add(r) }
func (s *slots[K, V]) claimMissing(key any) uint32  { return s.claim(key.(K)) }
func (s *slots[K, V]) nodeID() uint32               { return s.id }

func (s *slots[K, V]) dropReader(slot uint32, r ref) {
	s.cells.at(slot).readers.remove(r)
	s.release(slot)
}

// claim returns the cell of the key, made if there is none.
func (s *slots[K, V]) claim(key K) uint32 {
	if slot, ok := s.index.find(key); ok {
		return slot
	}
	var slot uint32
	if n := len(s.free); n > 0 {
		slot, s.free = s.free[n-1], s.free[:n-1]
	} else {
		slot = s.cells.add()
	}
	s.cells.at(slot).key = key
	s.index.add(key, slot)
	return slot
}

// release schedules a cell that nothing needs any more to be freed.
func (s *slots[K, V]) release(slot uint32) {
	if s.cells.at(slot).idle() {
		s.doomed = append(s.doomed, slot)
	}
}

// idle reports whether nothing needs the cell: it has no value, no key source claims it, and nobody reads it. It is
// then not dirty either: without a claim it depends on nothing.
func (c *cell[K, V]) idle() bool { return !c.has && c.claims == 0 && c.readers.empty() }

// begin implements [node].
func (s *slots[K, V]) begin() {
	s.changed.clear()
	for _, slot := range s.doomed {
		c := s.cells.at(slot)
		if have, ok := s.index.find(c.key); !ok || have != slot || !c.idle() {
			continue
		}
		s.index.remove(c.key)
		*c = cell[K, V]{}
		s.free = append(s.free, slot)
	}
	s.doomed = emptied(s.doomed)
}

// keep is how much room a list for the work of one commit keeps for the next one: what a whole world took is given
// back.
const keep = 1024

// emptied returns a list without what is in it.
func emptied[T any](list []T) []T {
	if cap(list) > keep {
		return nil
	}
	clear(list)
	return list[:0]
}

// same reports whether the cell holds this value (or its absence) already.
func (s *slots[K, V]) same(slot uint32, value V, has bool) bool {
	c := s.cells.at(slot)
	return c.has == has && (!has || s.equal(c.value, value))
}

// store replaces the value of a cell and tells its readers. The caller has found that it differs.
func (s *slots[K, V]) store(slot uint32, value V, has bool) {
	c := s.cells.at(slot)
	*s.changed.at(s.changed.add()) = change[V]{slot: slot, old: c.value, hadOld: c.has}
	switch {
	case has && !c.has:
		s.length++
	case !has && c.has:
		s.length--
	}
	if !has {
		// A value that came with "there is none" must not be seen: whether it was stored depends on the one before it.
		var zero V
		value = zero
	}
	c.value, c.has = value, has
	s.eng.notify(&c.readers)
}

// presence calls f for every key that came or went in the running commit.
func (s *slots[K, V]) presence(f func(K, bool)) {
	for ch := range s.changed.all() {
		if c := s.cells.at(ch.slot); ch.hadOld != c.has {
			f(c.key, c.has)
		}
	}
}

// Len returns how many keys have a value.
func (s *slots[K, V]) Len() int { return s.length }

// Peek returns the current value of a key without recording anything: for use outside of table functions.
func (s *slots[K, V]) Peek(key K) (V, bool) {
	if slot, ok := s.index.find(key); ok && s.cells.at(slot).has {
		return s.cells.at(slot).value, true
	}
	var zero V
	return zero, false
}

// All iterates over every key and value in no particular order: for use outside of table functions.
func (s *slots[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for i := range s.cells.len() {
			if c := s.cells.at(uint32(i)); c.has && !yield(c.key, c.value) {
				return
			}
		}
	}
}

// Change is what the last commit did to one key.
type Change[V any] struct {
	// Old is the value before, if HadOld; New the value after, if Has.
	Old, New    V
	HadOld, Has bool
}

// Changes iterates over the keys that the last commit changed, in key order; over none after [Engine.Forget].
func (s *slots[K, V]) Changes() iter.Seq2[K, Change[V]] {
	return func(yield func(K, Change[V]) bool) {
		for ch := range s.changed.all() {
			c := s.cells.at(ch.slot)
			if !yield(c.key, Change[V]{Old: ch.old, HadOld: ch.hadOld, New: c.value, Has: c.has}) {
				return
			}
		}
	}
}

// Sources returns what the key's function read when it last ran, misses included: in table order, then by name. For a
// key that faulted it is what was read until then; it is empty for a key of an [Input].
func (s *slots[K, V]) Sources(key K) []Source {
	slot, ok := s.index.find(key)
	if !ok {
		return nil
	}
	return s.eng.trace(s.cells.at(slot).deps)
}

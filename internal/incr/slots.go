package incr

import (
	"fmt"
	"iter"
	"reflect"
)

// Collection is what can be read by key: an [Input] or a [Table].
type Collection[K Key[K], V any] interface {
	node
	slots() *slots[K, V]
}

// slots holds the cells of one collection. A cell stays where it is as long as it has a value or a reader, so that
// dependencies are two small numbers rather than keys.
type slots[K Key[K], V any] struct {
	id    uint32
	label string
	eng   *Engine
	equal func(a, b V) bool

	index map[K]uint32
	cells []cell[K, V]
	free  []uint32
	// doomed are the cells to free at the next settle: until then an index may still look at their keys.
	doomed []uint32
	// changed are the cells whose value changed in the running or last commit.
	changed []change[V]
}

type cell[K Key[K], V any] struct {
	key     K
	value   V
	has     bool
	dirty   bool
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
		label: label, eng: e, index: map[K]uint32{},
		equal: func(a, b V) bool { return reflect.DeepEqual(a, b) },
	}
}

func (s *slots[K, V]) slots() *slots[K, V]          { return s }
func (s *slots[K, V]) name() string                 { return s.label }
func (s *slots[K, V]) keyName(slot uint32) string   { return fmt.Sprint(s.cells[slot].key) }
func (s *slots[K, V]) sources(slot uint32) []ref    { return s.cells[slot].deps }
func (s *slots[K, V]) addReader(slot uint32, r ref) { s.cells[slot].readers.add(r) }
func (s *slots[K, V]) claimMissing(key any) uint32  { return s.claim(key.(K)) }
func (s *slots[K, V]) nodeID() uint32               { return s.id }

func (s *slots[K, V]) dropReader(slot uint32, r ref) {
	s.cells[slot].readers.remove(r)
	s.release(slot)
}

// claim returns the cell of the key, made if there is none.
func (s *slots[K, V]) claim(key K) uint32 {
	if slot, ok := s.index[key]; ok {
		return slot
	}
	var slot uint32
	if n := len(s.free); n > 0 {
		slot, s.free = s.free[n-1], s.free[:n-1]
	} else {
		slot = uint32(len(s.cells)) //nolint:gosec // fewer than four thousand million objects
		s.cells = append(s.cells, cell[K, V]{})
	}
	s.cells[slot].key = key
	s.index[key] = slot
	return slot
}

// release schedules a cell that nothing needs any more to be freed.
func (s *slots[K, V]) release(slot uint32) {
	c := &s.cells[slot]
	if !c.has && !c.dirty && c.claims == 0 && c.readers.empty() {
		s.doomed = append(s.doomed, slot)
	}
}

// begin starts a settle: the changes of the last commit are forgotten and the cells it left unused are freed.
func (s *slots[K, V]) begin() {
	clear(s.changed)
	s.changed = s.changed[:0]
	for _, slot := range s.doomed {
		c := &s.cells[slot]
		if have, ok := s.index[c.key]; !ok || have != slot || c.has || c.dirty || c.claims > 0 || !c.readers.empty() {
			continue
		}
		delete(s.index, c.key)
		*c = cell[K, V]{}
		s.free = append(s.free, slot)
	}
	s.doomed = s.doomed[:0]
}

// put stores a value (or its absence) and tells the readers if it differs. It reports whether it did.
func (s *slots[K, V]) put(slot uint32, value V, has bool) bool {
	c := &s.cells[slot]
	if c.has == has && (!has || s.equal(c.value, value)) {
		return false
	}
	s.changed = append(s.changed, change[V]{slot: slot, old: c.value, hadOld: c.has})
	c.value, c.has = value, has
	s.eng.notify(&c.readers)
	return true
}

// presence calls f for every key that came or went in the running commit.
func (s *slots[K, V]) presence(f func(K, bool)) {
	for _, ch := range s.changed {
		if c := &s.cells[ch.slot]; ch.hadOld != c.has {
			f(c.key, c.has)
		}
	}
}

// Len returns how many keys have a value.
func (s *slots[K, V]) Len() int {
	n := 0
	for i := range s.cells {
		if s.cells[i].has {
			n++
		}
	}
	return n
}

// Peek returns the current value of a key without recording anything: for use outside of table functions.
func (s *slots[K, V]) Peek(key K) (V, bool) {
	if slot, ok := s.index[key]; ok && s.cells[slot].has {
		return s.cells[slot].value, true
	}
	var zero V
	return zero, false
}

// All iterates over every key and value in no particular order: for use outside of table functions.
func (s *slots[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for i := range s.cells {
			if c := &s.cells[i]; c.has && !yield(c.key, c.value) {
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

// Changes iterates over the keys that the last commit changed, in no particular order.
func (s *slots[K, V]) Changes() iter.Seq2[K, Change[V]] {
	return func(yield func(K, Change[V]) bool) {
		for _, ch := range s.changed {
			c := &s.cells[ch.slot]
			if !yield(c.key, Change[V]{Old: ch.old, HadOld: ch.hadOld, New: c.value, Has: c.has}) {
				return
			}
		}
	}
}

// Sources returns what the key's current value was derived from, in table and arrival order.
func (s *slots[K, V]) Sources(key K) []Source {
	slot, ok := s.index[key]
	if !ok {
		return nil
	}
	return s.eng.trace(s.cells[slot].deps)
}

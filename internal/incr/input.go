package incr

import "slices"

// Input is a table whose values come from outside the engine.
type Input[K Key[K], V any] struct {
	slots[K, V]
	// staged are the changes since the last commit, in the order in which they were made.
	staged []staged[K, V]
}

type staged[K Key[K], V any] struct {
	key   K
	value V
	has   bool
}

// NewInput adds an input to the engine. Values are immutable from the moment they are set, and compared with
// [reflect.DeepEqual]: setting an equal value changes nothing.
func NewInput[K Key[K], V any](e *Engine, name string) *Input[K, V] {
	in := &Input[K, V]{slots: newSlots[K, V](e, name)}
	in.init(e.register(in))
	return in
}

// Set stages a value for the next commit. Of several changes of a key between two commits the last one counts.
func (in *Input[K, V]) Set(key K, value V) {
	in.staged = append(in.staged, staged[K, V]{key: key, value: value, has: true})
}

// Delete stages the removal of a key for the next commit. Deleting a key that is not there changes nothing.
func (in *Input[K, V]) Delete(key K) { in.staged = append(in.staged, staged[K, V]{key: key}) }

func (in *Input[K, V]) settle(*commit) {
	in.begin()
	byKey := func(a, b staged[K, V]) int { return a.key.Compare(b.key) }
	if !slices.IsSortedFunc(in.staged, byKey) { // a whole world comes sorted
		slices.SortStableFunc(in.staged, byKey)
	}
	for i := range in.staged {
		st := &in.staged[i]
		if i+1 < len(in.staged) && in.staged[i+1].key == st.key {
			continue
		}
		slot := in.claim(st.key)
		if !in.same(slot, st.value, st.has) {
			in.store(slot, st.value, st.has)
		}
		in.release(slot)
	}
	in.staged = emptied(in.staged)
}

func (in *Input[K, V]) invalidate(uint32) {}

package incr

import "slices"

// Input is a table whose values come from outside the engine.
type Input[K Key[K], V any] struct {
	slots[K, V]
	staged map[K]staged[V]
	// order is scratch space for the staged keys.
	order []K
}

// keepStaged is the size of a batch above which an input gives the memory of its staging area back.
const keepStaged = 64

type staged[V any] struct {
	value V
	has   bool
}

// NewInput adds an input to the engine. Values are immutable from the moment they are set, and compared with
// [reflect.DeepEqual]: setting an equal value changes nothing.
func NewInput[K Key[K], V any](e *Engine, name string) *Input[K, V] {
	in := &Input[K, V]{slots: newSlots[K, V](e, name), staged: map[K]staged[V]{}}
	in.init(e.register(in))
	return in
}

// Set stages a value for the next commit. Of several changes of a key between two commits the last one counts.
func (in *Input[K, V]) Set(key K, value V) { in.staged[key] = staged[V]{value: value, has: true} }

// Delete stages the removal of a key for the next commit. Deleting a key that is not there changes nothing.
func (in *Input[K, V]) Delete(key K) { in.staged[key] = staged[V]{} }

func (in *Input[K, V]) settle(*commit) {
	in.begin()
	for key := range in.staged {
		in.order = append(in.order, key)
	}
	slices.SortFunc(in.order, func(a, b K) int { return a.Compare(b) })
	for _, key := range in.order {
		st, slot := in.staged[key], in.claim(key)
		if !in.same(slot, st.value, st.has) {
			in.store(slot, st.value, st.has)
		}
		in.release(slot)
	}
	// To walk or to clear a map costs what it can hold, so one that held a whole world is not kept for single changes.
	if len(in.order) > keepStaged {
		in.staged, in.order = map[K]staged[V]{}, nil
		return
	}
	clear(in.staged)
	clear(in.order)
	in.order = in.order[:0]
}

func (in *Input[K, V]) invalidate(uint32) {}

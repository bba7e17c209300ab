package incr

// Input is a table whose values come from outside the engine.
type Input[K Key[K], V any] struct {
	slots[K, V]
	staged map[K]staged[V]
}

type staged[V any] struct {
	value V
	has   bool
}

// NewInput adds an input to the engine. Values are immutable from the moment they are set, and compared with
// [reflect.DeepEqual]: setting an equal value changes nothing.
func NewInput[K Key[K], V any](e *Engine, name string) *Input[K, V] {
	in := &Input[K, V]{slots: newSlots[K, V](e, name), staged: map[K]staged[V]{}}
	in.id = e.register(in)
	return in
}

// Set stages a value for the next commit.
func (in *Input[K, V]) Set(key K, value V) { in.staged[key] = staged[V]{value: value, has: true} }

// Delete stages the removal of a key for the next commit. Deleting a key that is not there changes nothing.
func (in *Input[K, V]) Delete(key K) { in.staged[key] = staged[V]{} }

func (in *Input[K, V]) settle(*commit) {
	in.begin()
	for key, st := range in.staged {
		slot := in.claim(key)
		in.put(slot, st.value, st.has)
		in.release(slot)
	}
	clear(in.staged)
}

func (in *Input[K, V]) invalidate(uint32) {}

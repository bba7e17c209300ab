package incr

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// batch is how many keys are computed before what came of them is stored: what is known of them meanwhile is more than
// what stays.
const batch = 1024

// parallelFrom is the number of dirty keys from which a table uses more than one goroutine.
const parallelFrom = 16

// ErrCycle is the cause of a [Fault] when a function reads a collection that was created after its own table.
var ErrCycle = errors.New("reads a table that is not before it")

// KeySource is what can say which keys a [Table] has: an [Input], another [Table] or an [Index].
type KeySource[K Key[K]] interface {
	node
	presence(func(key K, up bool))
	nodeID() uint32
}

// Func computes the value of a key from what it reads through r. It returns false when the key has no value. It must
// be pure: no state, no clock, no I/O, and it must not change what it reads.
type Func[K Key[K], V any] func(r *Reader, key K) (V, bool)

// Table is a derived table: for each key of its key sources, the value of its function.
type Table[K Key[K], V any] struct {
	slots[K, V]
	fn    Func[K, V]
	keys  []KeySource[K]
	dirty []uint32
	// onFault is nil for a table whose keys keep what they have.
	onFault func(r *Reader, key K, last V, had bool) (V, bool)
}

// NewTable adds a derived table to the engine. It has the keys that any of the key sources has. Values are compared
// with [reflect.DeepEqual] unless [Table.Equal] says otherwise.
func NewTable[K Key[K], V any](e *Engine, name string, fn Func[K, V], keys ...KeySource[K]) *Table[K, V] {
	t := &Table[K, V]{slots: newSlots[K, V](e, name), fn: fn, keys: keys}
	t.init(e.register(t))
	for _, k := range keys {
		if k.nodeID() >= t.id {
			panic(fmt.Sprintf("incr: table %s takes its keys from %s, which is not before it", name, k.name()))
		}
	}
	return t
}

// Equal replaces the comparison of values and returns the table. Like the table's function it is called from several
// goroutines at once.
func (t *Table[K, V]) Equal(equal func(a, b V) bool) *Table[K, V] {
	t.equal = equal
	return t
}

// OnFault has f choose what a key is to have when its function panics, instead of what it had: for tables where that
// could be less strict than what is asked for now. It is called as the table's function is, and returns the table. If
// it panics too, the key keeps what it had.
func (t *Table[K, V]) OnFault(f func(r *Reader, key K, last V, had bool) (V, bool)) *Table[K, V] {
	t.onFault = f
	return t
}

func (t *Table[K, V]) invalidate(slot uint32) {
	if c := t.cells.at(slot); !c.dirty {
		c.dirty = true
		t.dirty = append(t.dirty, slot)
	}
}

// outcome is what computing one key gave.
type outcome[V any] struct {
	value V
	has   bool
	// same is true if the key had this value (or none) before, or is to keep what it has.
	same bool
	deps []ref
	miss []missing
	err  error
}

func (t *Table[K, V]) settle(c *commit) {
	started := time.Now()
	t.begin()
	for _, src := range t.keys {
		src.presence(func(key K, up bool) {
			slot := t.claim(key)
			if up {
				t.cells.at(slot).claims++
			} else {
				t.cells.at(slot).claims--
			}
			t.invalidate(slot)
		})
	}
	if len(t.dirty) == 0 {
		return
	}
	// Key order makes faults and traces the same whatever order the changes came in.
	slices.SortFunc(t.dirty, func(a, b uint32) int { return t.cells.at(a).key.Compare(t.cells.at(b).key) })
	outcomes := make([]outcome[V], min(len(t.dirty), batch))
	for slots := range slices.Chunk(t.dirty, batch) {
		t.computeAll(slots, outcomes, c.engine.workers)
		for i, slot := range slots {
			t.cells.at(slot).dirty = false
			t.apply(c, slot, &outcomes[i])
			t.release(slot)
		}
	}
	c.result.Tables = append(c.result.Tables, TableWork{
		Table: t.label, Recomputed: len(t.dirty), Changed: t.changed.len(), Elapsed: time.Since(started),
	})
	t.dirty = emptied(t.dirty)
}

// computeAll computes the keys in slots.
func (t *Table[K, V]) computeAll(slots []uint32, outcomes []outcome[V], workers int) {
	if len(slots) < parallelFrom || workers == 1 {
		r := &Reader{self: t.id}
		for i, slot := range slots {
			outcomes[i] = t.compute(slot, r)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			r := &Reader{self: t.id}
			for {
				i := int(next.Add(1)) - 1
				if i >= len(slots) {
					return
				}
				outcomes[i] = t.compute(slots[i], r)
			}
		})
	}
	wg.Wait()
}

// compute runs the function for one key. It only reads the engine, so keys of one table can be computed in parallel.
func (t *Table[K, V]) compute(slot uint32, r *Reader) (out outcome[V]) {
	c := t.cells.at(slot)
	if c.claims == 0 {
		return outcome[V]{same: !c.has}
	}
	r.deps, r.miss = r.deps[:0], r.miss[:0]
	out = t.attempt(r, slot, false)
	if out.err != nil && t.onFault != nil {
		chosen := t.attempt(r, slot, true)
		chosen.err = out.err
		out = chosen
	}
	out.deps, out.miss = exact(r.deps), slices.Clone(r.miss)
	return out
}

// attempt runs the function for a key, or the one for after a fault. One that panics leaves the key as it is.
func (t *Table[K, V]) attempt(r *Reader, slot uint32, faulted bool) (out outcome[V]) {
	c := t.cells.at(slot)
	defer func() {
		if p := recover(); p != nil {
			out = outcome[V]{same: true, err: panicked(p)}
		}
	}()
	if faulted {
		out.value, out.has = t.onFault(r, c.key, c.value, c.has)
	} else {
		out.value, out.has = t.fn(r, c.key)
	}
	// Comparing can cost more than computing, so it is done here, where keys run in parallel.
	out.same = t.same(slot, out.value, out.has)
	return out
}

// apply stores what compute found and registers what it read.
func (t *Table[K, V]) apply(c *commit, slot uint32, out *outcome[V]) {
	if len(out.miss) > 0 {
		for _, m := range out.miss {
			out.deps = append(out.deps, ref{node: m.from.nodeID(), slot: m.from.claimMissing(m.key)})
		}
		out.deps = exact(out.deps)
	}
	t.subscribe(slot, out.deps)
	if !out.same {
		t.store(slot, out.value, out.has)
	}
	cell := t.cells.at(slot)
	if out.err != nil || cell.faulty {
		fault := Fault{Table: t.label, Key: t.keyName(slot), At: cell.key, Kept: cell.has, Err: out.err}
		cell.faulty = c.judge(fault, cell.deps, cell.faulty)
	}
}

// subscribe replaces what the cell depends on, touching only what differs. Both lists are sorted.
func (t *Table[K, V]) subscribe(slot uint32, deps []ref) {
	self := ref{node: t.id, slot: slot}
	old := t.cells.at(slot).deps
	t.cells.at(slot).deps = deps
	for len(old) > 0 || len(deps) > 0 {
		switch {
		case len(old) == 0 || len(deps) > 0 && compareRefs(deps[0], old[0]) < 0:
			t.eng.nodes[deps[0].node].addReader(deps[0].slot, self)
			deps = deps[1:]
		case len(deps) == 0 || compareRefs(old[0], deps[0]) < 0:
			t.eng.nodes[old[0].node].dropReader(old[0].slot, self)
			old = old[1:]
		default:
			old, deps = old[1:], deps[1:]
		}
	}
}

// exact returns the refs in order, each once, in a list of their own that has no room for more. They may be reordered.
func exact(refs []ref) []ref {
	slices.SortFunc(refs, compareRefs)
	return append([]ref(nil), slices.Compact(refs)...)
}

func compareRefs(a, b ref) int {
	return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(a.slot, b.slot))
}

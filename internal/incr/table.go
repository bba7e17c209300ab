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

func (t *Table[K, V]) invalidate(slot uint32) {
	if c := &t.cells[slot]; !c.dirty {
		c.dirty = true
		t.dirty = append(t.dirty, slot)
	}
}

// outcome is what computing one key gave.
type outcome[V any] struct {
	value V
	has   bool
	// same is true if the key had this value (or none) before.
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
				t.cells[slot].claims++
			} else {
				t.cells[slot].claims--
			}
			t.invalidate(slot)
		})
	}
	if len(t.dirty) == 0 {
		return
	}
	// Key order makes faults and traces the same whatever order the changes came in.
	slices.SortFunc(t.dirty, func(a, b uint32) int { return t.cells[a].key.Compare(t.cells[b].key) })
	outcomes := t.computeAll(c.engine.workers)
	for i, slot := range t.dirty {
		t.cells[slot].dirty = false
		t.apply(c, slot, &outcomes[i])
		t.release(slot)
	}
	c.result.Tables = append(c.result.Tables, TableWork{
		Table: t.label, Recomputed: len(t.dirty), Changed: len(t.changed), Elapsed: time.Since(started),
	})
	t.dirty = t.dirty[:0]
}

func (t *Table[K, V]) computeAll(workers int) []outcome[V] {
	outcomes := make([]outcome[V], len(t.dirty))
	if len(t.dirty) < parallelFrom || workers == 1 {
		for i, slot := range t.dirty {
			outcomes[i] = t.compute(slot)
		}
		return outcomes
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(t.dirty) {
					return
				}
				outcomes[i] = t.compute(t.dirty[i])
			}
		})
	}
	wg.Wait()
	return outcomes
}

// compute runs the function for one key. It only reads the engine, so keys of one table can be computed in parallel.
func (t *Table[K, V]) compute(slot uint32) (out outcome[V]) {
	c := &t.cells[slot]
	if c.claims == 0 {
		return outcome[V]{same: !c.has}
	}
	r := &Reader{self: t.id}
	defer func() {
		out.deps, out.miss = r.deps, r.miss
		if p := recover(); p != nil {
			out.err = panicked(p)
		}
	}()
	out.value, out.has = t.fn(r, c.key)
	// Comparing can cost more than computing, so it is done here, where keys run in parallel.
	out.same = t.same(slot, out.value, out.has)
	return out
}

// apply stores what compute found and registers what it read.
func (t *Table[K, V]) apply(c *commit, slot uint32, out *outcome[V]) {
	for _, m := range out.miss {
		out.deps = append(out.deps, ref{node: m.from.nodeID(), slot: m.from.claimMissing(m.key)})
	}
	slices.SortFunc(out.deps, compareRefs)
	t.subscribe(slot, slices.Compact(out.deps))
	if out.err != nil {
		c.fault(t, slot, out.err)
		return
	}
	if !out.same {
		t.store(slot, out.value, out.has)
	}
}

// subscribe replaces what the cell depends on, touching only what differs. Both lists are sorted.
func (t *Table[K, V]) subscribe(slot uint32, deps []ref) {
	self := ref{node: t.id, slot: slot}
	old := t.cells[slot].deps
	t.cells[slot].deps = slices.Clip(deps)
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

func compareRefs(a, b ref) int {
	return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(a.slot, b.slot))
}

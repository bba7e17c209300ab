package incr

import (
	"fmt"
	"iter"
	"slices"
)

// Index groups the keys of a collection by something in their values. It can be read by group, and it can be the key
// source of a table that has one key per group.
type Index[G Key[G], K Key[K], V any] struct {
	id    uint32
	label string
	eng   *Engine
	src   *slots[K, V]
	fn    func(key K, value V) []G

	index  keyIndex[G]
	groups []group[G]
	free   []uint32
	doomed []uint32
	// groupsOf says, for each slot of the source, which groups it is in.
	groupsOf [][]uint32
	// touched are the groups with staged members in the running settle; moved those that came or went.
	touched []uint32
	moved   []moved[G]
}

type group[G any] struct {
	key     G
	members []uint32 // slots of the source, in key order
	// keyReaders read the members' keys, valueReaders their values too.
	keyReaders, valueReaders refSet
	joining                  []uint32
	leaving                  map[uint32]struct{}
}

type moved[G any] struct {
	key G
	up  bool
}

// NewIndex adds an index of src to the engine. fn returns the groups of a key; it must be pure, and may return a
// group more than once. A key for which it panics stays in the groups it was in.
func NewIndex[G Key[G], K Key[K], V any](
	e *Engine, name string, src Collection[K, V], fn func(K, V) []G,
) *Index[G, K, V] {
	ix := &Index[G, K, V]{label: name, eng: e, src: src.held(), fn: fn}
	ix.index = newKeyIndex(func(slot uint32) G { return ix.groups[slot].key })
	ix.id = e.register(ix)
	return ix
}

// Keys returns the keys in a group, in key order, and records that the caller depends on which they are.
func (ix *Index[G, K, V]) Keys(r *Reader, g G) []K {
	members := ix.read(r, g, readKeys)
	keys := make([]K, len(members))
	for i, slot := range members {
		keys[i] = ix.src.cells[slot].key
	}
	return keys
}

// Values iterates over the keys and values in a group, in key order. It records one dependency on the whole group,
// however large, values included.
func (ix *Index[G, K, V]) Values(r *Reader, g G) iter.Seq2[K, V] {
	members := ix.read(r, g, readValues)
	return func(yield func(K, V) bool) {
		for _, slot := range members {
			if c := &ix.src.cells[slot]; !yield(c.key, c.value) {
				return
			}
		}
	}
}

// Len returns how many keys are in the group, and records that the caller depends on which they are.
func (ix *Index[G, K, V]) Len(r *Reader, g G) int { return len(ix.read(r, g, readKeys)) }

// A reader of a group says in the lowest bit of the slot what it depends on.
const (
	readKeys = iota
	readValues
	readKinds
)

func (ix *Index[G, K, V]) read(r *Reader, g G, kind uint32) []uint32 {
	r.check(ix.id, ix.label)
	slot, ok := ix.index.find(g)
	if !ok {
		r.miss = append(r.miss, missing{from: groupClaimer[G, K, V]{ix, kind}, key: g})
		return nil
	}
	r.deps = append(r.deps, ref{node: ix.id, slot: slot*readKinds + kind})
	return ix.groups[slot].members
}

type groupClaimer[G Key[G], K Key[K], V any] struct {
	*Index[G, K, V]
	kind uint32
}

func (c groupClaimer[G, K, V]) claimMissing(key any) uint32 {
	return c.claim(key.(G))*readKinds + c.kind
}

func (ix *Index[G, K, V]) settle(c *commit) {
	ix.begin()
	for _, ch := range ix.src.changed {
		ix.regroup(c, ch.slot)
	}
	for _, slot := range ix.touched {
		ix.merge(slot)
	}
	ix.touched = ix.touched[:0]
}

// regroup stages the moves of one source slot between groups and tells the value readers of the groups it stays in.
func (ix *Index[G, K, V]) regroup(c *commit, slot uint32) {
	if n := int(slot) + 1 - len(ix.groupsOf); n > 0 {
		ix.groupsOf = append(ix.groupsOf, make([][]uint32, n)...)
	}
	before := ix.groupsOf[slot]
	now, ok := ix.classify(c, slot)
	if !ok {
		for _, g := range before {
			ix.eng.notify(&ix.groups[g].valueReaders)
		}
		return
	}
	after := make([]uint32, 0, len(now))
	for len(before) > 0 || len(now) > 0 {
		order := 0
		if len(before) > 0 && len(now) > 0 {
			order = now[0].Compare(ix.groups[before[0]].key)
		}
		switch {
		case len(before) == 0 || order < 0:
			after = append(after, ix.join(now[0], slot))
			now = now[1:]
		case len(now) == 0 || order > 0:
			ix.leave(before[0], slot)
			before = before[1:]
		default:
			ix.eng.notify(&ix.groups[before[0]].valueReaders)
			after = append(after, before[0])
			before, now = before[1:], now[1:]
		}
	}
	ix.groupsOf[slot] = after
}

// classify returns the groups that a source slot is in now, sorted, each once; false if the function panicked.
func (ix *Index[G, K, V]) classify(c *commit, slot uint32) (groups []G, ok bool) {
	cell := &ix.src.cells[slot]
	if !cell.has {
		return nil, true
	}
	defer func() {
		if p := recover(); p != nil {
			ok = false
			c.result.Faults = append(c.result.Faults, Fault{Table: ix.label, Key: ix.src.keyName(slot), Err: panicked(p)})
		}
	}()
	groups = slices.Clone(ix.fn(cell.key, cell.value))
	slices.SortFunc(groups, func(a, b G) int { return a.Compare(b) })
	return slices.Compact(groups), true
}

// join stages that a source slot becomes a member of a group, and returns the group.
func (ix *Index[G, K, V]) join(key G, member uint32) uint32 {
	slot := ix.claim(key)
	g := ix.touch(slot)
	g.joining = append(g.joining, member)
	return slot
}

// leave stages that a source slot is a member of a group no more.
func (ix *Index[G, K, V]) leave(slot, member uint32) {
	g := ix.touch(slot)
	if g.leaving == nil {
		g.leaving = map[uint32]struct{}{}
	}
	g.leaving[member] = struct{}{}
}

func (ix *Index[G, K, V]) touch(slot uint32) *group[G] {
	g := &ix.groups[slot]
	if g.joining == nil && g.leaving == nil {
		ix.touched = append(ix.touched, slot)
	}
	return g
}

// merge applies the staged moves of one group: one pass however many there are.
func (ix *Index[G, K, V]) merge(slot uint32) {
	g := &ix.groups[slot]
	had := len(g.members) > 0
	// Readers may still iterate the old slice, so the members are never changed in place.
	members := make([]uint32, 0, len(g.members)+len(g.joining))
	for _, m := range g.members {
		if _, gone := g.leaving[m]; !gone {
			members = append(members, m)
		}
	}
	compare := func(a, b uint32) int { return ix.src.cells[a].key.Compare(ix.src.cells[b].key) }
	if len(g.joining) <= 4 {
		for _, m := range g.joining {
			at, _ := slices.BinarySearchFunc(members, m, compare)
			members = slices.Insert(members, at, m)
		}
	} else {
		members = append(members, g.joining...)
		slices.SortFunc(members, compare)
	}
	g.members, g.joining, g.leaving = members, nil, nil
	if has := len(members) > 0; has != had {
		ix.moved = append(ix.moved, moved[G]{key: g.key, up: has})
	}
	ix.eng.notify(&g.keyReaders)
	ix.eng.notify(&g.valueReaders)
	ix.release(slot)
}

func (ix *Index[G, K, V]) begin() {
	ix.moved = ix.moved[:0]
	for _, slot := range ix.doomed {
		g := &ix.groups[slot]
		if have, ok := ix.index.find(g.key); !ok || have != slot || !g.unused() {
			continue
		}
		ix.index.remove(g.key)
		*g = group[G]{}
		ix.free = append(ix.free, slot)
	}
	ix.doomed = ix.doomed[:0]
}

func (g *group[G]) unused() bool {
	return len(g.members) == 0 && g.keyReaders.empty() && g.valueReaders.empty()
}

func (ix *Index[G, K, V]) claim(key G) uint32 {
	if slot, ok := ix.index.find(key); ok {
		return slot
	}
	var slot uint32
	if n := len(ix.free); n > 0 {
		slot, ix.free = ix.free[n-1], ix.free[:n-1]
	} else {
		slot = uint32(len(ix.groups)) // fewer than two thousand million groups
		ix.groups = append(ix.groups, group[G]{})
	}
	ix.groups[slot].key = key
	ix.index.add(key, slot)
	return slot
}

func (ix *Index[G, K, V]) release(slot uint32) {
	if ix.groups[slot].unused() {
		ix.doomed = append(ix.doomed, slot)
	}
}

func (ix *Index[G, K, V]) readers(slot uint32) *refSet {
	g := &ix.groups[slot/readKinds]
	if slot%readKinds == readKeys {
		return &g.keyReaders
	}
	return &g.valueReaders
}

func (ix *Index[G, K, V]) addReader(slot uint32, r ref) { ix.readers(slot).add(r) }

func (ix *Index[G, K, V]) dropReader(slot uint32, r ref) {
	ix.readers(slot).remove(r)
	ix.release(slot / readKinds)
}

func (ix *Index[G, K, V]) presence(f func(G, bool)) {
	for _, m := range ix.moved {
		f(m.key, m.up)
	}
}

func (ix *Index[G, K, V]) name() string      { return ix.label }
func (ix *Index[G, K, V]) nodeID() uint32    { return ix.id }
func (ix *Index[G, K, V]) invalidate(uint32) {}
func (ix *Index[G, K, V]) keyName(slot uint32) string {
	return fmt.Sprint(ix.groups[slot/readKinds].key)
}

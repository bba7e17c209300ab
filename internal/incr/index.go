package incr

import (
	"cmp"
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
	groups pages[group[G]]
	free   []uint32
	doomed []uint32
	// groupsOf says, for each slot of the source, which groups it is in.
	groupsOf pages[[]uint32]
	// faulty are the slots of the source for which the function panicked.
	faulty map[uint32]struct{}
	// moves are those between groups in the running settle, moved the groups that came or went with them.
	moves []move
	moved []moved
}

type group[G any] struct {
	key     G
	members []uint32 // slots of the source, in key order
	// keyReaders read the members' keys, valueReaders their values too.
	keyReaders, valueReaders refSet
}

// move is a slot of the source that joins a group or leaves it.
type move struct {
	group, member uint32
	join          bool
}

// moved is a group that has members now, if up, and had none before, or the other way round.
type moved struct {
	group uint32
	up    bool
}

// NewIndex adds an index of src to the engine. fn returns the groups of a key; it must be pure, and may return a
// group more than once. A key for which it panics stays in the groups it was in.
func NewIndex[G Key[G], K Key[K], V any](
	e *Engine, name string, src Collection[K, V], fn func(K, V) []G,
) *Index[G, K, V] {
	ix := &Index[G, K, V]{label: name, eng: e, src: src.held(), fn: fn}
	ix.index = newKeyIndex(func(slot uint32) G { return ix.groups.at(slot).key })
	ix.id = e.register(ix)
	return ix
}

// Keys returns the keys in a group, in key order, and records that the caller depends on which they are.
func (ix *Index[G, K, V]) Keys(r *Reader, g G) []K {
	members := ix.read(r, g, readKeys)
	keys := make([]K, len(members))
	for i, slot := range members {
		keys[i] = ix.src.cells.at(slot).key
	}
	return keys
}

// Values iterates over the keys and values in a group, in key order. It records one dependency on the whole group,
// however large, values included.
func (ix *Index[G, K, V]) Values(r *Reader, g G) iter.Seq2[K, V] {
	members := ix.read(r, g, readValues)
	return func(yield func(K, V) bool) {
		for _, slot := range members {
			if c := ix.src.cells.at(slot); !yield(c.key, c.value) {
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
	return ix.groups.at(slot).members
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
	for ch := range ix.src.changed.all() {
		ix.regroup(c, ch.slot)
	}
	slices.SortFunc(ix.moves, func(a, b move) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.member, b.member))
	})
	for rest := ix.moves; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].group == rest[0].group {
			n++
		}
		ix.merge(rest[0].group, rest[:n])
		rest = rest[n:]
	}
	ix.moves = emptied(ix.moves)
}

// regroup stages the moves of one source slot between groups and tells the value readers of the groups it stays in.
func (ix *Index[G, K, V]) regroup(c *commit, slot uint32) {
	for ix.groupsOf.len() <= int(slot) {
		ix.groupsOf.add()
	}
	before := *ix.groupsOf.at(slot)
	now, ok := ix.classify(c, slot)
	if !ok {
		for _, g := range before {
			ix.eng.notify(&ix.groups.at(g).valueReaders)
		}
		return
	}
	after := ix.eng.scratch[:0]
	for len(before) > 0 || len(now) > 0 {
		order := 0
		if len(before) > 0 && len(now) > 0 {
			order = now[0].Compare(ix.groups.at(before[0]).key)
		}
		switch {
		case len(before) == 0 || order < 0:
			group := ix.claim(now[0])
			ix.moves = append(ix.moves, move{group: group, member: slot, join: true})
			after = append(after, group)
			now = now[1:]
		case len(now) == 0 || order > 0:
			ix.moves = append(ix.moves, move{group: before[0], member: slot})
			before = before[1:]
		default:
			ix.eng.notify(&ix.groups.at(before[0]).valueReaders)
			after = append(after, before[0])
			before, now = before[1:], now[1:]
		}
	}
	*ix.groupsOf.at(slot) = ix.eng.keep(after)
}

// classify returns the groups that a source slot is in now, sorted, each once; false if the function panicked.
func (ix *Index[G, K, V]) classify(c *commit, slot uint32) (groups []G, ok bool) {
	cell := ix.src.cells.at(slot)
	defer func() {
		var err error
		if p := recover(); p != nil {
			ok, err = false, panicked(p)
		}
		ix.judge(c, slot, err)
	}()
	if !cell.has {
		return nil, true
	}
	if groups = ix.fn(cell.key, cell.value); len(groups) < 2 {
		return groups, true
	}
	groups = slices.Clone(groups)
	slices.SortFunc(groups, func(a, b G) int { return a.Compare(b) })
	return slices.Compact(groups), true
}

// judge notes whether the function panicked for a slot of the source.
func (ix *Index[G, K, V]) judge(c *commit, slot uint32, err error) {
	_, was := ix.faulty[slot]
	if err == nil && !was {
		return
	}
	fault := Fault{Table: ix.label, Key: ix.src.keyName(slot), At: ix.src.cells.at(slot).key, Kept: true, Err: err}
	if !c.judge(fault, nil, was) {
		delete(ix.faulty, slot)
		return
	}
	if ix.faulty == nil {
		ix.faulty = map[uint32]struct{}{}
	}
	ix.faulty[slot] = struct{}{}
}

// merge makes the moves of one group, which are in the order of their members: one pass however many there are.
func (ix *Index[G, K, V]) merge(slot uint32, moves []move) {
	g := ix.groups.at(slot)
	had := len(g.members) > 0
	// Readers may still iterate the old slice, so the members are never changed in place.
	members := ix.eng.scratch[:0]
	for _, m := range g.members {
		if _, gone := slices.BinarySearchFunc(moves, m, byMember); !gone {
			members = append(members, m)
		}
	}
	compare := func(a, b uint32) int { return ix.src.cells.at(a).key.Compare(ix.src.cells.at(b).key) }
	few := len(moves) <= 4
	for _, m := range moves {
		switch {
		case !m.join:
		case few:
			at, _ := slices.BinarySearchFunc(members, m.member, compare)
			members = slices.Insert(members, at, m.member)
		default:
			members = append(members, m.member)
		}
	}
	if !few {
		slices.SortFunc(members, compare)
	}
	g.members = ix.eng.keep(members)
	if has := len(members) > 0; has != had {
		ix.moved = append(ix.moved, moved{group: slot, up: has})
	}
	ix.eng.notify(&g.keyReaders)
	ix.eng.notify(&g.valueReaders)
	ix.release(slot)
}

func byMember(m move, slot uint32) int { return cmp.Compare(m.member, slot) }

func (ix *Index[G, K, V]) begin() {
	ix.moved = emptied(ix.moved)
	for _, slot := range ix.doomed {
		g := ix.groups.at(slot)
		if have, ok := ix.index.find(g.key); !ok || have != slot || !g.unused() {
			continue
		}
		ix.index.remove(g.key)
		*g = group[G]{}
		ix.free = append(ix.free, slot)
	}
	ix.doomed = emptied(ix.doomed)
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
		slot = ix.groups.add() // fewer than two thousand million groups
	}
	ix.groups.at(slot).key = key
	ix.index.add(key, slot)
	return slot
}

func (ix *Index[G, K, V]) release(slot uint32) {
	if ix.groups.at(slot).unused() {
		ix.doomed = append(ix.doomed, slot)
	}
}

func (ix *Index[G, K, V]) readers(slot uint32) *refSet {
	g := ix.groups.at(slot / readKinds)
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
		f(ix.groups.at(m.group).key, m.up)
	}
}

func (ix *Index[G, K, V]) name() string      { return ix.label }
func (ix *Index[G, K, V]) nodeID() uint32    { return ix.id }
func (ix *Index[G, K, V]) invalidate(uint32) {}
func (ix *Index[G, K, V]) keyName(slot uint32) string {
	return fmt.Sprint(ix.groups.at(slot / readKinds).key)
}

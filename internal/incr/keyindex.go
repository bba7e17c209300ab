package incr

import (
	"hash/maphash"
)

// keyIndex finds the slot of a key. It does not hold the keys, which the cells have already and which are large beside
// a slot: it is a hash table of slots, with so much of the hash of each that hardly another key is ever looked at.
type keyIndex[K comparable] struct {
	// at returns the key in a slot, hash the hash of a key.
	at   func(slot uint32) K
	hash func(K) uint64

	// entries are open addressed, and as many as a power of two. What hashes to a place is there or behind it, with no
	// empty entry in between.
	entries []entry
	count   int
}

// entry is a slot, with the lower half of the hash of its key. There is one more than the slot in it: the zero entry is
// empty.
type entry struct {
	hash, next uint32
}

func newKeyIndex[K comparable](at func(slot uint32) K) keyIndex[K] {
	seed := maphash.MakeSeed()
	return keyIndex[K]{at: at, hash: func(key K) uint64 { return maphash.Comparable(seed, key) }}
}

// find returns the slot of a key.
func (x *keyIndex[K]) find(key K) (uint32, bool) {
	if x.count == 0 {
		return 0, false
	}
	i, ok := x.place(key, uint32(x.hash(key)))
	return x.entries[i].next - 1, ok
}

// place returns where the entry of a key with a hash is, or is to be. There are empty entries.
func (x *keyIndex[K]) place(key K, hash uint32) (i int, ok bool) {
	mask := len(x.entries) - 1
	for i = int(hash) & mask; x.entries[i] != (entry{}); i = (i + 1) & mask {
		if e := x.entries[i]; e.hash == hash && x.at(e.next-1) == key {
			return i, true
		}
	}
	return i, false
}

// add enters a key that is not there yet and that its slot holds.
func (x *keyIndex[K]) add(key K, slot uint32) {
	if 8*(x.count+1) > 7*len(x.entries) {
		x.grow()
	}
	hash := uint32(x.hash(key))
	i, _ := x.place(key, hash)
	x.entries[i] = entry{hash: hash, next: slot + 1}
	x.count++
}

// grow makes room for twice as many entries.
func (x *keyIndex[K]) grow() {
	old := x.entries
	x.entries = make([]entry, max(8, 2*len(old)))
	mask := len(x.entries) - 1
	for _, e := range old {
		if e == (entry{}) {
			continue
		}
		i := int(e.hash) & mask
		for x.entries[i] != (entry{}) {
			i = (i + 1) & mask
		}
		x.entries[i] = e
	}
}

// remove drops a key that its slot still holds.
func (x *keyIndex[K]) remove(key K) {
	if x.count == 0 {
		return
	}
	gap, ok := x.place(key, uint32(x.hash(key)))
	if !ok {
		return
	}
	x.count--
	// Entries behind the gap that are not found any more with it there move into it, and leave another one.
	mask := len(x.entries) - 1
	for i := (gap + 1) & mask; x.entries[i] != (entry{}); i = (i + 1) & mask {
		home := int(x.entries[i].hash) & mask
		if (i-home)&mask >= (i-gap)&mask {
			x.entries[gap] = x.entries[i]
			gap = i
		}
	}
	x.entries[gap] = entry{}
}

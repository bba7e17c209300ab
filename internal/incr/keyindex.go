package incr

import "hash/maphash"

// keyIndex finds the slot of a key. It does not hold the keys, which the cells have already and which are large beside
// a slot: it goes by their hashes, and keeps only those keys whose hash another one has.
type keyIndex[K comparable] struct {
	// at returns the key in a slot, hash the hash of a key.
	at   func(slot uint32) K
	hash func(K) uint64

	byHash map[uint64]uint32
	spill  map[K]uint32
}

func newKeyIndex[K comparable](at func(slot uint32) K) keyIndex[K] {
	seed := maphash.MakeSeed()
	return keyIndex[K]{
		at: at, hash: func(key K) uint64 { return maphash.Comparable(seed, key) },
		byHash: map[uint64]uint32{}, spill: map[K]uint32{},
	}
}

// find returns the slot of a key.
func (x *keyIndex[K]) find(key K) (uint32, bool) {
	slot, ok := x.byHash[x.hash(key)]
	if ok && x.at(slot) == key {
		return slot, true
	}
	if len(x.spill) == 0 {
		return 0, false
	}
	slot, ok = x.spill[key]
	return slot, ok
}

// add enters a key that is not there yet and that its slot holds.
func (x *keyIndex[K]) add(key K, slot uint32) {
	h := x.hash(key)
	if _, taken := x.byHash[h]; taken {
		x.spill[key] = slot
		return
	}
	x.byHash[h] = slot
}

// remove drops a key that its slot still holds.
func (x *keyIndex[K]) remove(key K) {
	h := x.hash(key)
	if slot, ok := x.byHash[h]; ok && x.at(slot) == key {
		delete(x.byHash, h)
		return
	}
	delete(x.spill, key)
}

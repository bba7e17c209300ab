package incr

import (
	"math/rand/v2"
	"testing"
)

func (x *keyIndex[K]) len() int { return x.count }

// Keys whose hashes collide are told apart, whatever order they come and go in.
func TestKeyIndexWithCollisions(t *testing.T) {
	keys := []string{"a", "b", "c", "d"}
	x := newKeyIndex(func(slot uint32) string { return keys[slot] })
	x.hash = func(key string) uint64 {
		if key == "d" {
			return 2
		}
		return 1
	}
	expect := func(when string, want ...string) {
		t.Helper()
		there := map[string]bool{}
		for _, k := range want {
			there[k] = true
		}
		for i, k := range keys {
			slot, ok := x.find(k)
			if ok != there[k] || ok && slot != uint32(i) {
				t.Errorf("%s: find(%q) = %d, %v", when, k, slot, ok)
			}
		}
	}
	for i, k := range keys {
		x.add(k, uint32(i))
	}
	expect("all added", "a", "b", "c", "d")
	x.remove("a")
	expect("the first of the colliding removed", "b", "c", "d")
	x.remove("c")
	x.add("a", 0)
	expect("another removed, the first added again", "a", "b", "d")
	x.remove("b")
	x.remove("a")
	expect("all colliding removed", "d")
}

// TestKeyIndexLikeAMap adds and removes keys at random, with so few hashes that runs of entries meet and go around the
// end, and asks for all of them after each step.
func TestKeyIndexLikeAMap(t *testing.T) {
	const keys = 60
	random := rand.New(rand.NewPCG(1, 2))
	x := newKeyIndex(func(slot uint32) int { return int(slot) })
	x.hash = func(key int) uint64 { return uint64(key) % 7 * 9 }
	want := map[int]bool{}
	for step := range 5_000 {
		key := random.IntN(keys)
		if want[key] {
			x.remove(key)
			delete(want, key)
		} else {
			x.add(key, uint32(key))
			want[key] = true
		}
		x.remove(keys + key) // was never there
		if x.len() != len(want) {
			t.Fatalf("step %d: %d keys, want %d", step, x.len(), len(want))
		}
		for key := range keys {
			slot, ok := x.find(key)
			if ok != want[key] || ok && slot != uint32(key) {
				t.Fatalf("step %d: find(%d) = %d, %v", step, key, slot, ok)
			}
		}
	}
}

package incr

import "testing"

func (x *keyIndex[K]) len() int { return len(x.byHash) + len(x.spill) }

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

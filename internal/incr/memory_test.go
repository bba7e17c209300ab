package incr

import (
	"fmt"
	"strings"
	"testing"
)

type id string

func (i id) Compare(o id) int { return strings.Compare(string(i), string(o)) }

// TestCellsAreReused adds and removes other keys over and over: in an input, in tables keyed by the input and by an
// index of it, and as misses. What the engine holds must not grow.
func TestCellsAreReused(t *testing.T) {
	e := New(1)
	in := NewInput[id, id](e, "in")
	byValue := NewIndex(e, "by value", in, func(_ id, v id) []id { return []id{v, v + "'"} })
	unread := NewIndex(e, "unread", in, func(_ id, v id) []id { return []id{v} })
	groups := NewTable(e, "groups", func(r *Reader, g id) (int, bool) { return byValue.Len(r, g), true }, byValue)
	out := NewTable(e, "out", func(r *Reader, k id) (int, bool) {
		v, _ := Get(r, in, k)
		Get(r, in, "missing "+v)
		n, _ := Get(r, groups, v)
		m, _ := Get(r, groups, "missing "+v)
		for range byValue.Values(r, "missing "+v) {
			n++
		}
		return n + m, true
	}, in)

	size := func() int {
		return in.cells.len() + out.cells.len() + groups.cells.len() + byValue.groups.len() + byValue.groupsOf.len() +
			unread.groups.len()
	}
	warm := 0
	for i := range 10_000 {
		key := id(fmt.Sprint("key", i))
		in.Set(key, id(fmt.Sprint("value", i)))
		if i >= 3 {
			in.Delete(id(fmt.Sprint("key", i-3)))
		}
		in.Delete(id(fmt.Sprint("never", i)))
		e.Commit()
		if i == 100 {
			warm = size()
		}
	}
	if got := size(); got > warm {
		t.Errorf("after 10,000 keys came and went there are %d cells, %d after the first hundred", got, warm)
	}

	for i := range 10_000 {
		in.Delete(id(fmt.Sprint("key", i)))
	}
	e.Commit()
	e.Commit() // what the last commit left unused is freed by the next
	for what, n := range map[string]int{
		"in": in.index.len(), "out": out.index.len(), "groups": groups.index.len(), "by value": byValue.index.len(),
		"unread": unread.index.len(),
	} {
		if n != 0 {
			t.Errorf("%s still knows %d keys after all were deleted", what, n)
		}
	}
	for slot := range in.cells.len() {
		if c := in.cells.at(uint32(slot)); c.key != "" || c.value != "" || !c.readers.empty() {
			t.Errorf("cell %d of in was freed but holds %+v", slot, *c)
		}
	}
}

// TestDeletedKeyKeepsItsCellWhileRead: readers hold numbers, so the cell of a key that went must stay theirs.
func TestDeletedKeyKeepsItsCellWhileRead(t *testing.T) {
	e := New(1)
	in := NewInput[id, int](e, "in")
	watch := NewInput[id, id](e, "watch")
	out := NewTable(e, "out", func(r *Reader, k id) (int, bool) {
		target, _ := Get(r, watch, k)
		v, _ := Get(r, in, target)
		return v, true
	}, watch)
	watch.Set("w", "a")
	in.Set("a", 1)
	e.Commit()
	in.Delete("a")
	e.Commit()
	for i := range 10 { // would take the cell if it were free
		in.Set(id(fmt.Sprint("other", i)), 100+i)
		e.Commit()
	}
	if v, _ := out.Peek("w"); v != 0 {
		t.Errorf("out[w] is %d while a is deleted, want 0", v)
	}
	in.Set("a", 2)
	if n := e.Commit().Recomputed(); n != 1 {
		t.Errorf("the return of a recomputed %d keys, want 1", n)
	}
	if v, _ := out.Peek("w"); v != 2 {
		t.Errorf("out[w] is %d after a came back, want 2", v)
	}
}

// TestRefSet goes through all forms of the set. Node 0 reads nothing, so it is in none.
func TestRefSet(t *testing.T) {
	for _, n := range []uint32{1, refSetSpill, refSetSpill + 1, 100} {
		var s refSet
		for i := range n {
			s.add(ref{node: i%3 + 1, slot: i})
			s.add(ref{node: i%3 + 1, slot: i}) // adding twice is adding once
		}
		seen := map[ref]int{}
		s.each(func(r ref) { seen[r]++ })
		if len(seen) != int(n) {
			t.Errorf("a set of %d refs has %d", n, len(seen))
		}
		for r, times := range seen {
			if times != 1 {
				t.Errorf("%v is in the set %d times", r, times)
			}
		}
		s.remove(ref{node: 9, slot: 9})
		for i := range n {
			if s.empty() {
				t.Fatalf("the set of %d refs is empty before %d was removed", n, i)
			}
			s.remove(ref{node: i%3 + 1, slot: i})
		}
		if !s.empty() {
			t.Errorf("the set of %d refs is not empty after all were removed", n)
		}
	}
}

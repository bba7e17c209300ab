package incr

import "testing"

// TestPages adds elements beyond several pages, twice over, and finds each in its place.
func TestPages(t *testing.T) {
	var p pages[int]
	for round := range 2 {
		const n = 3*pageSize + 1
		for i := range n {
			if at := p.add(); int(at) != i {
				t.Fatalf("round %d: element %d is number %d", round, i, at)
			} else if *p.at(at) != 0 {
				t.Fatalf("round %d: element %d begins as %d", round, i, *p.at(at))
			} else {
				*p.at(at) = i + 1
			}
		}
		next := 0
		for v := range p.all() {
			if next++; *v != next || *p.at(uint32(next - 1)) != next {
				t.Fatalf("round %d: element %d is %d", round, next-1, *v)
			}
		}
		if next != n || p.len() != n {
			t.Fatalf("round %d: %d elements of %d, want %d", round, next, p.len(), n)
		}
		for range p.all() {
			break // early
		}
		p.clear()
		if p.len() != 0 || len(p.list) != 1 {
			t.Fatalf("after clear there are %d elements in %d pages", p.len(), len(p.list))
		}
	}
	p.clear()
	if room := cap(p.list[0]); room > pageSize {
		t.Errorf("the first page has room for %d", room)
	}
}

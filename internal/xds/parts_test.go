package xds

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestParts compares parts with plain maps of what is in them, over random changes.
func TestParts(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	want := map[string]*Part{}
	var now Parts
	for round := range 200 {
		before, was := now, maps.Clone(want)
		for range rnd.IntN(4) {
			name := fmt.Sprintf("host-%d", rnd.IntN(300))
			if delete(want, name); rnd.IntN(3) > 0 {
				want[name] = part(name, fmt.Sprint(round))
			}
		}
		list := slices.Collect(maps.Values(want))
		now = NewParts(list)
		check := func(what string, p Parts) {
			t.Helper()
			if !p.Equal(now) || RoutesHash(nil, p) != RoutesHash(nil, now) || p.Len() != len(want) {
				t.Fatalf("round %d: %s differs", round, what)
			}
		}
		rnd.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		check("another order", NewParts(list))
		for name := range was {
			if now.Find(name) != want[name] {
				t.Fatalf("round %d: found %v", round, now.Find(name))
			}
		}
		if got := now.Sorted(); !slices.IsSortedFunc(got, comparePart) || len(got) != len(want) {
			t.Fatalf("round %d: sorted to %v", round, got)
		}
		changed := changedIn(was, want)
		if got := Changed(before, now); !slices.Equal(got, changed) {
			t.Fatalf("round %d: %v have changed, want %v", round, got, changed)
		}
		sameHash := RoutesHash(nil, before) == RoutesHash(nil, now)
		if same := before.Equal(now); same != (len(changed) == 0) || same != sameHash {
			t.Fatalf("round %d: equal %v with changes %v", round, same, changed)
		}
		check("what is mapped to itself", now.Map(func(p *Part) *Part { return p }))
		kept := now.Map(func(p *Part) *Part { return was[p.Name] })
		for name := range want {
			if kept.Find(name) != was[name] {
				t.Fatalf("round %d: mapped to %v", round, kept.Find(name))
			}
		}
	}
}

// changedIn are the names of which two maps say different things.
func changedIn(a, b map[string]*Part) []string {
	names := map[string]bool{}
	for name := range a {
		names[name] = a[name] != b[name]
	}
	for name := range b {
		names[name] = a[name] != b[name]
	}
	maps.DeleteFunc(names, func(_ string, changed bool) bool { return !changed })
	return slices.Sorted(maps.Keys(names))
}

// TestPartsShareBlocks says that a version in which one part differs shares all blocks but one with the version before,
// and that those are not looked into.
func TestPartsShareBlocks(t *testing.T) {
	var list []*Part
	for i := range 1000 {
		list = append(list, part(fmt.Sprintf("host-%d", i), "0"))
	}
	before := NewParts(list)
	now := before.Map(func(p *Part) *Part {
		if p.Name == "host-77" {
			return part(p.Name, "1")
		}
		return p
	})
	shared := 0
	for i, b := range now.blocks {
		if before.blocks[i] == b {
			shared++
		}
	}
	if shared != exactBlocks-1 || len(before.blocks) != exactBlocks {
		t.Errorf("%d of %d blocks are shared", shared, len(before.blocks))
	}
	asked := 0
	now.mapFrom(before, func(p *Part) *Part {
		asked++
		return p
	})
	if most := 1000 / exactBlocks * 3; asked == 0 || asked > most {
		t.Errorf("asked about %d parts, want at most %d", asked, most)
	}
}

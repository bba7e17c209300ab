package incr_test

import (
	"math/rand/v2"
	"testing"
)

// FuzzChanges makes the changes and commits that the bytes say, and holds the tables to the law.
func FuzzChanges(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x01\x00\x00\x00\x00\xff\x01\x01\x02\x02\x00\x01\x01\x01\x03\x01\xff\x00\x01\x00"))
	rng := rand.New(rand.NewPCG(3, 3))
	for range 4 {
		seed := make([]byte, 300)
		for i := range seed {
			seed[i] = byte(rng.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 600 {
			t.Skip("longer programs find nothing else")
		}
		w, facts := newWorld(1), newFacts()
		next := func(n int) int {
			if len(program) == 0 {
				return 0
			}
			b := program[0]
			program = program[1:]
			return int(b) % n
		}
		for len(program) > 0 {
			if next(4) == 0 {
				w.commit(t)
				w.check(t, facts)
			}
			anyChange(next)(facts, w)
		}
		w.commit(t)
		w.check(t, facts)
		w.checkFresh(t, facts, rand.New(rand.NewPCG(1, 1)))
	})
}

package main

import (
	"runtime"
	"testing"
	"time"
)

func TestGarbageTarget(t *testing.T) {
	const mib = 1 << 20
	for _, test := range []struct {
		live uint64
		want int
	}{{0, 100}, {6 * mib, 100}, {24 * mib, 50}, {60 * mib, 20}, {100 * mib, 12}, {150 * mib, 8}, {1 << 40, 8}} {
		if got := garbageTarget(test.live); got != test.want {
			t.Errorf("with %d bytes kept it is %d %%, want %d", test.live, got, test.want)
		}
	}
}

// TestAfterCollection: what is called after one collection can ask for the next.
func TestAfterCollection(t *testing.T) {
	called := make(chan uint64)
	var again func(struct{})
	again = func(struct{}) {
		called <- liveHeap()
		afterCollection(again)
	}
	afterCollection(again)
	deadline := time.After(20 * time.Second)
	for range 3 {
		for seen := false; !seen; {
			runtime.GC() // once more if it had begun when it was asked to be followed
			select {
			case live := <-called:
				if seen = true; live == 0 {
					t.Error("nothing is said to be kept")
				}
			case <-time.After(10 * time.Millisecond):
			case <-deadline:
				t.Fatal("it was not called after a collection")
			}
		}
	}
}

package incr_test

import (
	"fmt"
	"testing"
)

// BenchmarkOneChange edits one of many routes; its time must hardly depend on how many there are. All hosts are on one
// gateway, whose table is the one value that grows with them, so the change is one that leaves it alone.
func BenchmarkOneChange(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n, " routes"), func(b *testing.B) {
			w := town(1, n)
			b.ReportAllocs()
			recomputed := 0
			for i := 0; b.Loop(); i++ {
				w.routes.Set("route000007", townRoute(7, 3*(i%2)))
				recomputed += w.engine.Commit().Recomputed()
			}
			b.ReportMetric(float64(recomputed)/float64(b.N), "keys/op")
		})
	}
}

// BenchmarkFirstCommit computes everything from nothing.
func BenchmarkFirstCommit(b *testing.B) {
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprint(workers, " workers"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				town(workers, 10_000)
			}
		})
	}
}

package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// The garbage collector's targets, in percent of what is kept. While everything is read it is readGC: little of what
// reading allocates is kept, and what is made of it afterwards needs more memory than that. While everything is
// computed it is computeGC, which keeps the heap from being spread over more pages than are needed later. From then on
// it is what makes for headroom bytes, within bounds. Where much is kept it can be low, because a change allocates
// little beside that (some 130 KB at 50,000 routes): collections stay rare, and others can use the memory. Where little
// is kept it must not be: a collection after every few changes would cost more than the changes.
const (
	readGC    = 200
	computeGC = 60
	lowestGC  = 8
	usualGC   = 100 // Go's own
	headroom  = 12 << 20
)

// limitGarbage sets a target of the garbage collector, unless the user set one with GOGC.
func limitGarbage(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

// startComputing comes between reading everything and computing it.
func startComputing() {
	runtime.GC() // else what reading left behind would be there while most memory is needed
	limitGarbage(computeGC)
}

// settleMemory gives back what reading everything took. From now on the target follows what is kept, and whenever that
// has grown by a quarter, what growing took is given back too.
func settleMemory() {
	giveBack()
	followHeap.Do(func() {
		percent, settled := 0, liveHeap()
		var follow func(struct{})
		follow = func(struct{}) {
			live := liveHeap()
			if 4*live > 5*settled {
				giveBack()
				settled = live
			}
			// Setting it stops the world, so small steps are not worth it.
			if p := garbageTarget(live); 10*max(p-percent, percent-p) > percent {
				percent = p
				limitGarbage(percent)
			}
			afterCollection(follow)
		}
		follow(struct{}{})
	})
}

// giveBack returns memory to the system that is not used any more.
func giveBack() {
	debug.FreeOSMemory()
	unmapProgram()
}

var followHeap sync.Once

// garbageTarget is the target for a heap of which so many bytes are kept.
func garbageTarget(live uint64) int {
	return int(min(max(headroom*100/max(live, 1), lowestGC), usualGC))
}

// liveHeap is how many bytes the last collection kept.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// afterCollection calls f once, after the next collection.
func afterCollection(f func(struct{})) {
	// Something with a pointer is not put into one block with others that would keep it.
	garbage := new(struct{ self any })
	runtime.AddCleanup(garbage, f, struct{}{})
}

package kube

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// TestReplicaPartitioned cuts one replica of the control plane after the other off from the API server alone. Its
// Envoys are handed to the replica that still hears of changes, so that an edit reaches all of them soon. The second
// replica that is cut off serves them all by then.
func TestReplicaPartitioned(t *testing.T) {
	w := begin(t)
	const envoys = 3
	address := w.quickstart(envoys)
	w.apply(backend(w.ns, "two", 1))
	traffic := w.load(address, "one.example", "one")
	for i, p := range w.controlled(controlPlanes) {
		restore := sync.OnceFunc(w.loseByPartition(p))
		t.Cleanup(restore)
		// The other one has to be ahead by 5 s, and connections to this one end soon after.
		w.reaches(15*time.Second, envoys, fmt.Sprint("partitioned", i))
		restore()
		w.controlled(controlPlanes)
	}
	traffic.none()
}

package kube

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/source"
)

// TestPace has batches handed over that take some time each, while changes come.
func TestPace(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name string
		// takes is how long a batch takes, comes when each change comes, want when batches are handed over, and of how
		// many changes.
		takes time.Duration
		comes []time.Duration
		want  []string
	}{
		{"what comes in quiet times waits for nothing", ms, []time.Duration{0, 6 * ms, 12 * ms},
			[]string{"0s: 1", "6ms: 1", "12ms: 1"}},
		{"what comes meanwhile is gathered", ms, []time.Duration{0, ms / 2, 2 * ms, 4 * ms, 6 * ms, 9 * ms},
			[]string{"0s: 1", "5ms: 3", "10ms: 2"}},
		{"nothing waits for long", 100 * ms, []time.Duration{0, ms, 2 * ms, 130 * ms},
			[]string{"0s: 1", "125ms: 2", "250ms: 1"}},
	}
	for _, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			c := newCollector()
			ctx, cancel := context.WithCancel(t.Context())
			began := time.Now()
			var got []string
			done := make(chan error)
			go func() {
				done <- c.deliver(ctx, func(b source.Batch) {
					got = append(got, fmt.Sprintf("%v: %d", time.Since(began), len(b.Delete)))
					time.Sleep(test.takes)
				})
			}()
			for i, at := range test.comes {
				time.Sleep(at - time.Since(began))
				c.remove(model.Ref{Kind: "k", Name: model.Name{Name: fmt.Sprint(i)}})
				synctest.Wait()
			}
			time.Sleep(time.Second)
			cancel()
			if err := <-done; err != context.Canceled {
				t.Errorf("%s: it ends with %v", test.name, err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s: %s", test.name, diff)
			}
		})
	}
}

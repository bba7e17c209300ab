package kube

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A writer waits for what is more urgent, but not forever, and not at all when there is nothing or when it is to end.
func TestGiveWay(t *testing.T) {
	for name, c := range map[string]struct {
		// urgent is how long something is, ends when the context does.
		urgent, ends, want time.Duration
	}{
		"nothing is urgent":       {ends: time.Hour},
		"something is for a time": {urgent: 5 * look, ends: time.Hour, want: 5 * look},
		"something stays urgent":  {urgent: time.Hour, ends: time.Hour, want: yield},
		"another replica leads":   {urgent: time.Hour, ends: 3*look + look/2, want: 3*look + look/2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), c.ends)
				defer cancel()
				began := time.Now()
				w := &Writer{busy: func() bool { return time.Since(began) < c.urgent }}
				w.giveWay(ctx, began.Add(yield))
				if took := time.Since(began); took != c.want {
					t.Errorf("it waits %v, want %v", took, c.want)
				}
			})
		})
	}
}

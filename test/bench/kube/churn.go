package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/table"
)

// churn changes one endpoint and the path of one route each second, and measures what the control plane needs for it.
func churn(ctx context.Context, w *world) error {
	if err := w.grow(ctx, w.routes[len(w.routes)-1]); err != nil {
		return err
	}
	if err := w.idle(ctx); err != nil {
		return err
	}
	seconds := 60
	if w.quick {
		seconds = 10
	}
	used, err := w.cpuOf(ctx, func() error {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for k := range seconds {
			// Others each time, from the end: the beginning is where other scenarios look.
			i := w.n - 1 - k%w.n
			if err := w.apply(ctx, endpoint(name(i), name(i), w.backends.spare[k%len(w.backends.spare)], true)); err != nil {
				return err
			}
			if err := w.apply(ctx, route(i, path(k+1))); err != nil {
				return err
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	r := table.Row{What: fmt.Sprintf("one endpoint and one path a second, %d routes: CPU", w.n), Unit: table.Cores,
		Measured: used.Seconds() / float64(seconds), Note: fmt.Sprintf("over %d s", seconds)}
	if w.n == 5000 {
		r.Target = 0.02
	}
	w.add(r)
	return nil
}

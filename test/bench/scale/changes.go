package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/table"
)

// changes are changes of one kind, made one after the other.
type changes struct {
	// of is what they are, until where a change has arrived when make returns how long it took: "first 200" unless it is
	// set.
	of, until string
	count     int
	make      func(k int) (time.Duration, error)
	// cpu is the target for the control plane's CPU time of one of them in milliseconds, 0 for none.
	cpu float64
}

// each makes changes, and adds how long they took and what the control plane does for each.
func (w *world) each(ctx context.Context, t *table.Table, c changes) error {
	before, err := w.plane.work()
	if err != nil {
		return err
	}
	took := make([]time.Duration, 0, c.count)
	for k := range c.count {
		d, err := c.make(k)
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	if err := w.settled(ctx); err != nil {
		return err
	}
	after, err := w.plane.work()
	if err != nil {
		return err
	}
	slices.Sort(took)
	if c.until == "" {
		c.until = "first 200"
	}
	done, count := after.minus(before), float64(c.count)
	for _, r := range []table.Row{
		{
			What: c.of + ": to " + c.until, Measured: table.InMilliseconds(took[c.count/2]),
			Note: fmt.Sprintf("p50 of %d; at most %.0f ms", c.count, table.InMilliseconds(took[c.count-1])),
		},
		{
			What: "control plane CPU of " + c.of, Measured: done.cpu / count, Target: c.cpu,
			Note: "statuses and idle time between the changes included",
		},
		{What: "keys computed for " + c.of, Unit: table.Count, Measured: done.keys / count},
		{What: "sent to Envoy for " + c.of, Unit: table.Kibibytes, Measured: done.sent / count / 1024},
		{What: "allocated for " + c.of, Unit: table.Kibibytes, Measured: done.allocated / count / 1024},
	} {
		t.Add(r)
	}
	return nil
}

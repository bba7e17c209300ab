package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// row is one line of the result.
type row struct {
	// what was measured, and under which conditions.
	what string
	// measured is the value of Sluice in the unit.
	measured float64
	unit     unit
	// target is what must be reached, 0 if nothing was promised. Less is better in all rows.
	target float64
	// peer is the same of the peer, 0 if it was not measured.
	peer float64
	// note says more, for example how many samples there were.
	note string
}

// unit is how a value is written.
type unit int

const (
	milliseconds unit = iota
	mebibytes
	requests
	ratio
)

func (u unit) format(v float64) string {
	switch u {
	case milliseconds:
		return time.Duration(v * float64(time.Millisecond)).Round(roundTo(v)).String()
	case mebibytes:
		return fmt.Sprintf("%.0f MiB", v)
	case requests:
		return fmt.Sprintf("%.0f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}

// roundTo keeps three digits or so.
func roundTo(ms float64) time.Duration {
	switch {
	case ms < 1:
		return time.Microsecond
	case ms < 100:
		return 100 * time.Microsecond
	default:
		return time.Millisecond
	}
}

type table struct{ rows []row }

func (t *table) add(r row) {
	t.rows = append(t.rows, r)
	// The run takes minutes: say what there is so far.
	fmt.Printf("%s: %s %s\n", r.what, r.unit.format(r.measured), r.note)
}

// print writes the table. A ratio to the target below 1, and one to the peer above 1, is good.
func (t *table) print(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintln(tw, "\nWHAT\tSLUICE\tTARGET\tOF TARGET\tPEER\tPEER/SLUICE\tNOTE")
	for _, r := range t.rows {
		target, ofTarget, peer, times := "-", "-", "-", "-"
		switch {
		case r.unit == requests:
			target = r.unit.format(r.target)
			ofTarget = map[bool]string{true: "reached", false: "MISSED"}[r.measured <= r.target]
		case r.target > 0:
			target = r.unit.format(r.target)
			ofTarget = fmt.Sprintf("%.2f", r.measured/r.target)
			if r.measured > r.target {
				ofTarget += " MISSED"
			}
		}
		if r.peer > 0 {
			peer = r.unit.format(r.peer)
			times = fmt.Sprintf("%.0f x", r.peer/r.measured)
		}
		_, _ = fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.what, r.unit.format(r.measured), target, ofTarget, peer,
			times, r.note)
	}
	_ = tw.Flush()
}

func inMilliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

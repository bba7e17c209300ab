// Package table prints what benchmarks measured, beside what was promised and what a peer needs for the same.
package table

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Row is one line of the result.
type Row struct {
	// What was measured, and under which conditions.
	What string
	// Measured is the value of Sluice in the unit.
	Measured float64
	Unit     Unit
	// Target is what must be reached, 0 if nothing was promised. Less is better in all rows.
	Target float64
	// Peer is the same of the peer, 0 if it was not measured.
	Peer float64
	// Note says more, for example how many samples there were.
	Note string
}

// Unit is how a value is written.
type Unit int

// The units. Of Requests none at all may be lost, unless a target allows some.
const (
	Milliseconds Unit = iota
	Mebibytes
	Requests
	Ratio
	Cores
	Kibibytes
	Count
)

// Format writes a value of the unit.
func (u Unit) Format(v float64) string {
	switch u {
	case Milliseconds:
		return time.Duration(v * float64(time.Millisecond)).Round(roundTo(v)).String()
	case Mebibytes:
		return fmt.Sprintf("%.0f MiB", v)
	case Kibibytes:
		return fmt.Sprintf("%.1f KiB", v)
	case Requests:
		return fmt.Sprintf("%.0f", v)
	case Count:
		return fmt.Sprintf("%.1f", v)
	case Cores:
		return fmt.Sprintf("%.3f cores", v)
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

// Table is the rows so far.
type Table struct {
	// Rows are printed in this order.
	Rows []Row
}

// Add adds a row, and prints it on standard output.
func (t *Table) Add(r Row) {
	t.Rows = append(t.Rows, r)
	// The run takes minutes: say what there is so far.
	fmt.Printf("%s: %s %s\n", r.What, r.Unit.Format(r.Measured), r.Note)
}

// Print writes the table. A ratio to the target below 1, and one to the peer above 1, is good.
func (t *Table) Print(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintln(tw, "\nWHAT\tSLUICE\tTARGET\tOF TARGET\tPEER\tPEER/SLUICE\tNOTE")
	for _, r := range t.Rows {
		target, ofTarget, peer, times := "-", "-", "-", "-"
		switch {
		case r.Unit == Requests:
			target = r.Unit.Format(r.Target)
			ofTarget = map[bool]string{true: "reached", false: "MISSED"}[r.Measured <= r.Target]
		case r.Target > 0:
			target = r.Unit.Format(r.Target)
			ofTarget = fmt.Sprintf("%.2f", r.Measured/r.Target)
			if r.Measured > r.Target {
				ofTarget += " MISSED"
			}
		}
		if r.Peer > 0 {
			peer = r.Unit.Format(r.Peer)
		}
		if r.Peer > 0 && r.Measured > 0 {
			times = fmt.Sprintf("%.0f x", r.Peer/r.Measured)
		}
		_, _ = fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.What, r.Unit.Format(r.Measured), target, ofTarget, peer,
			times, r.Note)
	}
	_ = tw.Flush()
}

// InMilliseconds is a duration as rows have it.
func InMilliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

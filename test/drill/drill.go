package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// drill is a fault, and what is promised about it.
type drill struct {
	id, fault, promise string
	// long says that it is only run with -all, or if it is named.
	long bool
	// loses says that the promise allows requests to be lost, or is about how many are.
	loses bool
	// run injects the fault and returns what was seen, in words. An error that wraps errBroken says which promise is
	// broken; any other, that the drill itself failed.
	run func(ctx context.Context, f *field) (seen string, err error)
}

// drills are all of them, in the order in which they are run and listed.
var drills = slices.Concat(planeDrills, envoyDrills, editDrills, endpointDrills, certificateDrills, fileDrills,
	clientDrills, hostileDrills, panicDrills, serviceDrills, issuerDrills, storeDrills, sinkDrills, nameDrills,
	modelDrills, fuzzDrills, soakDrills)

// errBroken is wrapped by what says that a promise is broken.
var errBroken = errors.New("broken promise")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errBroken, fmt.Sprintf(format, args...))
}

// result is what came of a drill.
type result struct {
	drill
	seen string
	// broken is what is wrong, empty if nothing is.
	broken string
	// sent and lost are its requests, and those of them that were not answered as they should have been.
	sent, lost int
}

// choose returns the drills that the command line asks for.
func choose(o options) []drill {
	var out []drill
	for _, d := range drills {
		named := slices.Contains(strings.Split(o.only, ","), d.id)
		if named || o.only == "" && (o.all || !d.long) {
			out = append(out, d)
		}
	}
	return out
}

// drillTimeout bounds one drill.
const drillTimeout = 40 * time.Minute

// drillAll runs drills one after the other, and returns what came of those that ran to their end.
func (f *field) drillAll(ctx context.Context, list []drill) ([]result, error) {
	if len(list) == 0 {
		return nil, errors.New("there is no such drill")
	}
	var out []result
	for _, d := range list {
		began := time.Now()
		r, err := f.drillOne(ctx, d)
		if err != nil {
			return out, err
		}
		verdict := "kept"
		if r.broken != "" {
			verdict = "BROKEN: " + r.broken
		}
		fmt.Fprintf(os.Stderr, "%s %v: %s: %s\n", d.id, time.Since(began).Round(time.Second), r.seen, verdict)
		out = append(out, r)
	}
	return out, nil
}

func (f *field) drillOne(ctx context.Context, d drill) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, drillTimeout)
	defer cancel()
	defer f.endAll()
	f.sent, f.lost = 0, 0
	seen, err := d.run(ctx, f)
	out := result{drill: d, seen: seen, sent: f.sent, lost: f.lost}
	switch {
	case err == nil:
		return out, nil
	case errors.Is(err, errBroken):
		out.broken = err.Error()
		return out, nil
	}
	return result{}, fmt.Errorf("%s: %w", d.id, err)
}

// print writes the results as a table.
func print(w io.Writer, results []result) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "id\tinjected\texpected\tseen\t")
	for _, r := range results {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.id, r.fault, r.promise, r.seen, r.broken)
	}
	_, _ = fmt.Fprintln(t, total(results))
	_ = t.Flush() // of a file or terminal: the exit status says the same
}

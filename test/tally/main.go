// Command tally reads what "go test -json" says from standard input and prints what people need: a line for each
// package, the output of what failed, why tests were skipped, and at the end how many passed, failed and were skipped.
//
// It exits with 1 if anything failed or if no test ran, and, with CI=true, if anything was skipped.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	t := newTally()
	if err := t.read(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(1)
	}
	if !t.report(os.Stdout, os.Getenv("CI") == "true") {
		os.Exit(1)
	}
}

// event is a line of "go test -json"; see "go doc test2json".
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// test names a test, or with an empty name a package (or its build).
type test struct{ pkg, name string }

// tally is what was seen so far.
type tally struct {
	result  map[test]string
	output  map[test][]string
	parents map[test]bool
	// broken are the packages and builds that failed by themselves, not for a test in them.
	broken []test
}

func newTally() *tally {
	return &tally{result: map[test]string{}, output: map[test][]string{}, parents: map[test]bool{}}
}

// read takes in the events of r and prints the line of each package to w as it comes.
func (t *tally) read(r io.Reader, w io.Writer) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("%q is not a line of go test -json: %w", lines.Text(), err)
		}
		t.take(e, w)
	}
	return lines.Err()
}

func (t *tally) take(e event, w io.Writer) {
	id := test{pkg: e.Package, name: e.Test}
	if id.pkg == "" { // a build
		id.pkg, _, _ = strings.Cut(e.ImportPath, " ")
	}
	switch e.Action {
	case "output", "build-output":
		t.output[id] = append(t.output[id], e.Output)
	case "pass", "fail", "skip":
		t.result[id] = e.Action
		if id.name == "" {
			t.finish(id, e, w)
			return
		}
		if at := strings.LastIndex(id.name, "/"); at >= 0 {
			t.parents[test{pkg: id.pkg, name: id.name[:at]}] = true
		}
	}
}

// finish prints the line of a package.
func (t *tally) finish(id test, e event, w io.Writer) {
	words := map[string]string{"pass": "ok  ", "fail": "FAIL", "skip": "none"}
	_, _ = fmt.Fprintf(w, "%s  %s  %.1fs\n", words[e.Action], id.pkg, e.Elapsed)
	if e.Action != "fail" {
		return
	}
	for other, result := range t.result {
		if other.pkg == id.pkg && other.name != "" && result == "fail" {
			return
		}
	}
	t.broken = append(t.broken, id)
}

// report prints the rest, and reports whether all is well.
func (t *tally) report(w io.Writer, strict bool) bool {
	for _, id := range t.broken {
		_, _ = fmt.Fprintf(w, "\n--- FAIL: %s\n%s", id.pkg, strings.Join(t.output[id], ""))
	}
	for _, id := range t.leaves("fail") {
		_, _ = fmt.Fprintf(w, "\n%s %s\n%s", id.pkg, id.name, strings.Join(t.said(id), ""))
	}
	skipped := t.leaves("skip")
	for _, id := range skipped {
		_, _ = fmt.Fprintf(w, "\nskipped: %s %s\n%s", id.pkg, id.name, strings.Join(t.said(id), ""))
	}
	passed, failed := len(t.leaves("pass")), len(t.leaves("fail"))+len(t.broken)
	if strict && len(skipped) > 0 {
		_, _ = fmt.Fprintf(w, "\nWith CI=true nothing may be skipped.\n")
		failed += len(skipped)
	}
	_, _ = fmt.Fprintf(w, "\n%d passed, %d failed, %d skipped\n", passed, failed, len(skipped))
	return failed == 0 && passed > 0
}

// leaves returns the tests with a result that are no more than the sum of others: those without subtests, and those
// that failed or were skipped while all of their subtests passed. They are sorted.
func (t *tally) leaves(result string) []test {
	var out []test
	for id, r := range t.result {
		if id.name != "" && r == result && (!t.parents[id] || result != "pass" && !t.inChild(id, result)) {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, func(a, b test) int { return strings.Compare(a.pkg+" "+a.name, b.pkg+" "+b.name) })
	return out
}

func (t *tally) inChild(id test, result string) bool {
	for other, r := range t.result {
		if other.pkg == id.pkg && r == result && strings.HasPrefix(other.name, id.name+"/") {
			return true
		}
	}
	return false
}

// said is the output of a test without the lines that say that it started, paused or went on.
func (t *tally) said(id test) []string {
	return slices.DeleteFunc(slices.Clone(t.output[id]), func(line string) bool {
		return strings.HasPrefix(line, "=== ")
	})
}

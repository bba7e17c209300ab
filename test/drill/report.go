package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Between these lines of the page is what was seen.
const (
	tableBegin = "<!-- seen: written by `make drill-all` -->"
	tableEnd   = "<!-- seen ends -->"
)

// update writes what was seen into the table of a page. Rows of drills that were not run stay.
func update(path string, results []result) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(page), tableBegin)
	old, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		return fmt.Errorf("%s: the lines %s and %s are missing", path, tableBegin, tableEnd)
	}
	rows := map[string]string{}
	for line := range strings.Lines(old) {
		if id, ok := rowID(line); ok {
			rows[id] = line
		}
	}
	for _, r := range results {
		verdict := r.seen
		if r.broken != "" {
			verdict = "**broken**: " + r.broken
		}
		rows[r.id] = fmt.Sprintf("| %s | %s | %s | %s |\n", r.id, r.fault, r.promise, verdict)
	}
	var table strings.Builder
	table.WriteString("\n| id | fault | promise | seen |\n| --- | --- | --- | --- |\n")
	for _, d := range drills {
		table.WriteString(rows[d.id])
	}
	if all(results) {
		table.WriteString("\n" + total(results) + "\n")
	} else if at := strings.Index(old, totalBegin); at >= 0 {
		table.WriteString("\n" + old[at:])
	}
	return os.WriteFile(path, []byte(before+tableBegin+table.String()+tableEnd+after), 0o644) //nolint:gosec // a page
}

// totalBegin is what the line with the total begins with.
const totalBegin = "All drills together sent "

// total says how many requests were sent and lost.
func total(results []result) string {
	sent, lost, allowed := 0, 0, 0
	for _, r := range results {
		sent += r.sent
		if r.loses {
			allowed += r.lost
		} else {
			lost += r.lost
		}
	}
	return fmt.Sprintf(totalBegin+"%d requests. Lost where none may be: %d. Lost where the promise is about how many: %d.",
		sent, lost, allowed)
}

// all reports whether every drill was run.
func all(results []result) bool { return len(results) == len(drills) }

// rowID is the id of a drill that a line of the table is about.
func rowID(line string) (string, bool) {
	id, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " ")
	return id, id != "" && slices.ContainsFunc(drills, func(d drill) bool { return d.id == id })
}

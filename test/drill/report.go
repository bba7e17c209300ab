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
	return os.WriteFile(path, []byte(before+tableBegin+table.String()+tableEnd+after), 0o644) //nolint:gosec // a page
}

// rowID is the id of a drill that a line of the table is about.
func rowID(line string) (string, bool) {
	id, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " ")
	return id, id != "" && slices.ContainsFunc(drills, func(d drill) bool { return d.id == id })
}

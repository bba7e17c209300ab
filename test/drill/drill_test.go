package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/test/program"
)

// TestQuickDrills runs what `make drill` runs.
func TestQuickDrills(t *testing.T) {
	if testing.Short() {
		t.Skip("drills take minutes")
	}
	binary, err := program.Binary(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	envoy, missing := program.Envoy(binary)
	if envoy == "" && os.Getenv("CI") != "true" {
		t.Skip(missing)
	}
	f, err := newField(options{sluice: binary, envoy: envoy})
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	for _, d := range choose(f.options) {
		t.Run(d.id, func(t *testing.T) {
			r, err := f.drillOne(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			if t.Logf("%s: %s", d.fault, r.seen); r.broken != "" {
				t.Errorf("promised: %s; %s", d.promise, r.broken)
			}
		})
	}
}

// TestPageNamesEveryDrill says that the page has a row for each drill, with its fault and promise as they are now.
func TestPageNamesEveryDrill(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "reliability.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range drills {
		if row := "| " + d.id + " | " + d.fault + " | " + d.promise + " | "; !strings.Contains(string(page), row) {
			t.Errorf("docs/reliability.md has no row %q: run `make drill-all`, or that drill with -update", row)
		}
	}
}

// TestUpdate writes what was seen into a page, and keeps the rows of other drills.
func TestUpdate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	first, second := drills[0], drills[1]
	content := "before\n" + tableBegin + "\n| id |\n| " + second.id + " | a | b | old |\n" + tableEnd + "\nafter\n"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := update(path, []result{{drill: first, seen: "what was seen"}}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "before\n" + tableBegin + "\n| id | fault | promise | seen |\n| --- | --- | --- | --- |\n" +
		"| " + first.id + " | " + first.fault + " | " + first.promise + " | what was seen |\n" +
		"| " + second.id + " | a | b | old |\n" + tableEnd + "\nafter\n"
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := os.WriteFile(path, []byte("nothing to replace"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := update(path, nil); err == nil {
		t.Error("a page without the lines is no error")
	}
}

package docs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const quote = "```"

func TestParsePage(t *testing.T) {
	t.Parallel()
	page := strings.Join([]string{
		"# Title", quote + "yaml", "# file: a.yaml", "kind: A", quote, "Text.", quote + "console", "$ first \\", "> second",
		"> line of output", "$ third", quote, quote + "text", "$ not run", quote, quote + "console", "printed", quote,
	}, "\n")
	want := []step{
		{line: 3, file: "a.yaml", content: "# file: a.yaml\nkind: A\n"},
		{line: 8, command: "first \\\nsecond\nline of output", block: 1},
		{line: 11, command: "third", block: 1},
		{line: 17, want: []string{"printed"}, block: 3},
	}
	got, err := parsePage(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(step{})); diff != "" {
		t.Error(diff)
	}
}

func TestParsePageRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		block []string
		want  string
	}{
		"a language that is not run": {[]string{quote + "bash", "rm x", quote}, "line 1"},
		"a file without a name":      {[]string{quote + "yaml", "kind: A", quote}, "line 2"},
		"a file elsewhere":           {[]string{quote + "yaml", "# file: ../a.yaml", quote}, "line 2"},
		"a port of somebody else":    {[]string{quote + "yaml", "# file: a.yaml", "port: 5432", quote}, "line 3"},
		"an empty console":           {[]string{quote + "console", quote}, "line 2"},
		"a block without an end":     {[]string{"", quote + "console", "$ ls"}, "line 2"},
	}
	for name, tt := range tests {
		if steps, err := parsePage(strings.Join(tt.block, "\n")); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, %v; want an error with %q", name, steps, err, tt.want)
		}
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		want, got string
		ok        bool
	}{
		{"the same", "a\nb", "a\nb\n", true},
		{"carriage returns and trailing blanks", "a\n", "a \r\n\r\n", true},
		{"other columns", "KIND  NAME", "KIND      NAME", true},
		{"nothing", "", "", true},
		{"nothing wanted", "", "a", false},
		{"nothing there", "a", "", false},
		{"a missing line", "a\nb", "a", false},
		{"an additional line", "a", "a\nb", false},
		{"text within a line", `{"name":"one",...}`, `{"name":"one","path":"/"}`, true},
		{"text ends at the line", "a...b", "a\nb", false},
		{"other text around it", `"one"...}`, `"two",}`, false},
		{"any lines", "a\n...\nz", "a\nb\nc\nz", true},
		{"no lines are any lines too", "a\n...\nz", "a\nz", true},
		{"lines at the end", "a\n...", "a\nb", true},
		{"lines at the start", "...\nb", "a\nb", true},
		{"a line that does not come", "...\nx\n...", "a\nb", false},
		{"special characters are themselves", "a.c (x)", "abc (x)", false},
	}
	for _, tt := range tests {
		if got := matches(strings.Split(tt.want, "\n"), tt.got); got != tt.ok {
			t.Errorf("%s: matches(%q, %q) = %v", tt.name, tt.want, tt.got, got)
		}
	}
}

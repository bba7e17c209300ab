package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// foreign are messages, or parts of them, that are not Sluice's own words: those of the Kubernetes API, of its CRDs,
// and of Go's base64.
var foreign = []string{
	"Required value", "Invalid value:", "Unsupported value:", "illegal base64 data", "must be of type string",
	"Combination of port, protocol and hostname must be unique",
}

var (
	// joined is where a string of the program goes on in the next line.
	joined = regexp.MustCompile("[\"`] ?\\+\\s+[\"`]")
	// verbs are what stands for a value in a format.
	verbs = regexp.MustCompile(`%[a-z]|\\"`)
	// quoted is code in Markdown.
	quoted = regexp.MustCompile("`([^`]+)`")
)

// TestMessages checks that the messages which docs/troubleshooting.md explains are messages of the program.
func TestMessages(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "docs", "troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	said := words(t)
	_, tables, _ := strings.Cut(string(text), "\n## Messages about")
	checked := 0
	for line := range strings.Lines(tables) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		message := strings.SplitN(line, " | ", 2)[0]
		for _, m := range quoted.FindAllStringSubmatch(message, -1) {
			checked++
			for _, part := range parts(m[1]) {
				if !slices.Contains(foreign, part) && !strings.Contains(said, part) {
					t.Errorf("docs/troubleshooting.md explains %q, but nothing says %q", m[1], part)
				}
			}
		}
	}
	if checked == 0 {
		t.Error("no messages are explained")
	}
}

// parts returns the words of a message that are the same whatever it is about.
func parts(message string) []string {
	var out []string
	for _, part := range strings.Split(strings.ReplaceAll(message, `"`, anything), anything) {
		if part = strings.TrimSpace(part); strings.Trim(part, " :.") != "" {
			out = append(out, part)
		}
	}
	return out
}

// words returns the source of the program with its strings in one piece and values left out.
func words(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	for _, dir := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			out.WriteString(verbs.ReplaceAllString(joined.ReplaceAllString(string(b), ""), anything))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

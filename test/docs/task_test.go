package docs

import (
	"os"
	"path/filepath"
	"testing"
)

// TestTask runs every page of docs/task.
func TestTask(t *testing.T) {
	t.Parallel()
	needEnvoy(t)
	pages, err := filepath.Glob(filepath.Join(root, "docs", "task", "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	for _, path := range pages {
		name := filepath.Base(path)
		if name == "README.md" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			page := "docs/task/" + name
			steps, err := parsePage(string(text))
			if err != nil {
				t.Fatalf("%s: %v", page, err)
			}
			r := newRunner(t, page)
			commands := 0
			for _, s := range steps {
				if s.command != "" {
					commands++
				}
				r.do(s)
			}
			if commands == 0 {
				t.Errorf("%s: no command is run: nothing says that the page is true", page)
			}
		})
	}
}

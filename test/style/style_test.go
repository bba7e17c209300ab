package style

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRepository holds the repository to every rule.
func TestRepository(t *testing.T) {
	root := repository(t)
	tree, err := Load(root, module(t, root))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(tree.Files); n < 50 {
		t.Fatalf("only %d files were found: the test looks at the wrong place", n)
	}
	used := make([]bool, len(exceptions))
	for _, rule := range Rules {
		t.Run(rule.Name, func(t *testing.T) {
			for _, f := range rule.Check(tree) {
				if i := excepted(rule.Name, f); i >= 0 {
					used[i] = true
					continue
				}
				t.Error(f)
			}
		})
	}
	for i, e := range exceptions {
		if !used[i] {
			t.Errorf("the exception of %s %s from %s finds nothing any more: remove it", e.path, e.subject, e.rule)
		}
		if len(e.why) < 20 {
			t.Errorf("the exception of %s %s from %s has no reason", e.path, e.subject, e.rule)
		}
	}
}

// TestExceptionsOnlyShrink makes adding an exception a change of two places, one of which says that it must not be.
func TestExceptionsOnlyShrink(t *testing.T) {
	if n := len(exceptions); n != maxExceptions {
		t.Errorf("there are %d exceptions and maxExceptions is %d: lower it with the list, never raise it", n, maxExceptions)
	}
}

// repository is the root: the nearest folder above with a go.mod.
func repository(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
}

func module(t *testing.T, root string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimPrefix(first, "module ")
}

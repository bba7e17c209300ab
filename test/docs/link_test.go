package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages returns the text of every Markdown file below a folder of the repository, by path.
func pages(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".md" {
			return err
		}
		text, err := os.ReadFile(path)
		out[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	marks   = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns what headings of a page are linked as.
func anchors(text string) map[string]bool {
	out := map[string]bool{}
	for _, h := range heading.FindAllStringSubmatch(text, -1) {
		plain := marks.ReplaceAllString(strings.ToLower(h[1]), "")
		out[strings.ReplaceAll(plain, " ", "-")] = true
	}
	return out
}

// TestLinks checks that links within the repository lead to something that is there.
func TestLinks(t *testing.T) {
	t.Parallel()
	checked := 0
	for path, text := range pages(t, "docs") {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			checked++
			file := path
			if target != "" {
				file = filepath.Join(filepath.Dir(path), target)
			}
			info, err := os.Stat(file)
			if err != nil {
				t.Errorf("%s: the link %s leads nowhere: %v", path, m[1], err)
				continue
			}
			if anchor == "" || info.IsDir() {
				continue
			}
			there, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !anchors(string(there))[anchor] {
				t.Errorf("%s: the link %s leads to a heading that is not there", path, m[1])
			}
		}
	}
	if checked == 0 {
		t.Error("there are no links")
	}
}

// TestEveryPageIsListed checks that the index of the tasks has every page.
func TestEveryPageIsListed(t *testing.T) {
	t.Parallel()
	tasks := pages(t, filepath.Join("docs", "task"))
	index := tasks[filepath.Join(root, "docs", "task", "README.md")]
	for path := range tasks {
		if name := filepath.Base(path); name != "README.md" && !strings.Contains(index, "]("+name+")") {
			t.Errorf("docs/task/README.md does not list %s", name)
		}
	}
}

var testName = regexp.MustCompile("`(Test[A-Za-z0-9]+)`")

// TestFeaturesAreTested checks that the tests exist which docs/features.md names.
func TestFeaturesAreTested(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "docs", "features.md"))
	if err != nil {
		t.Fatal(err)
	}
	code := testCode(t)
	named := testName.FindAllStringSubmatch(string(text), -1)
	if len(named) == 0 {
		t.Fatal("docs/features.md names no test")
	}
	for _, m := range named {
		if !strings.Contains(code, "\nfunc "+m[1]+"(") {
			t.Errorf("docs/features.md names %s, which does not exist", m[1])
		}
	}
}

// testCode is the text of all tests of Sluice.
func testCode(t *testing.T) string {
	t.Helper()
	var code strings.Builder
	for _, dir := range []string{"internal", "test"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			code.Write(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return code.String()
}

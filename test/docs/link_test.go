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

var testName = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`")

// TestFeaturesAreTested checks that the tests exist by which docs/features.md and SECURITY.md say what they say.
func TestFeaturesAreTested(t *testing.T) {
	t.Parallel()
	code := testCode(t)
	for _, page := range []string{"docs/features.md", "SECURITY.md"} {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		named := testName.FindAllStringSubmatch(string(text), -1)
		if len(named) == 0 {
			t.Errorf("%s names no test", page)
		}
		for _, m := range named {
			if !strings.Contains(code, "\nfunc "+m[1]+"(") {
				t.Errorf("%s names %s, which does not exist", page, m[1])
			}
		}
	}
}

// abuseTest is a test that is named after an abuse case.
var abuseTest = regexp.MustCompile(`\nfunc (Test(A\d\d)[A-Za-z0-9]*)\(`)

// TestAbuseCasesAreListed compares the tests that are named after abuse cases with docs/security.md: each is in the row
// of its case, and the tests of each row exist.
func TestAbuseCasesAreListed(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	code := testCode(t)
	there := map[string]string{}
	for _, m := range abuseTest.FindAllStringSubmatch(code, -1) {
		there[m[1]] = m[2]
	}
	listed := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "A") {
			continue
		}
		found := testName.FindAllStringSubmatch(cells[3], -1)
		if len(found) == 0 {
			t.Errorf("docs/security.md names no test of %s", cells[1])
		}
		for _, m := range found {
			name, of := m[1], there[m[1]]
			listed[name] = true
			if of != "" && of != strings.TrimSpace(cells[1]) {
				t.Errorf("docs/security.md lists %s for %s", name, cells[1])
			}
			if !strings.Contains(code, "\nfunc "+name+"(") {
				t.Errorf("docs/security.md names %s, which does not exist", name)
			}
		}
	}
	for name := range there {
		if !listed[name] {
			t.Errorf("docs/security.md does not list %s", name)
		}
	}
}

// testCode is the text of all tests of Sluice.
func testCode(t *testing.T) string {
	t.Helper()
	var code strings.Builder
	for _, dir := range []string{"build", "charts", "cmd", "internal", "test"} {
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

package coverage

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestCasesHaveTests says that docs/security.md lists the tests of abuse cases that there are, and no others.
func TestCasesHaveTests(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/security.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := regexp.MustCompile(`TestA\d\d\w+`).FindAllString(string(text), -1)
	slices.Sort(listed)
	var there []string
	function := regexp.MustCompile(`(?m)^func (TestA\d\d\w+)\(`)
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, found := range function.FindAllSubmatch(text, -1) {
			there = append(there, string(found[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(there)
	for _, name := range there {
		if !slices.Contains(listed, name) {
			t.Errorf("docs/security.md does not list %s", name)
		}
	}
	for _, name := range slices.Compact(listed) {
		if !slices.Contains(there, name) {
			t.Errorf("docs/security.md lists %s, which is no test", name)
		}
	}
}

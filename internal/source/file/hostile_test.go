package file

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestA54HostileFiles has files in the folder that are meant to harm: each is a problem that is told in its own words,
// nothing of what a link leads to is repeated, and the good file beside them is served.
func TestA54HostileFiles(t *testing.T) {
	head := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: hostile}\n"
	outside := filepath.Join(t.TempDir(), "passwd")
	for name, test := range map[string]struct{ text, want string }{
		"the same key twice":      {head + "data: {v: one, v: two}\n", "data.v: duplicate"},
		"the same field twice":    {head + "data: {v: one}\ndata: {v: two}\n", "data: duplicate"},
		"the same name twice":     {strings.Replace(head, "hostile", "hostile, name: other", 1), "metadata.name: duplicate"},
		"tabs":                    {head + "data:\n\tv: one\n", ":5: "},
		"a NUL":                   {head + "data: {v: \"a\x00\"}\n", "hostile.yaml"},
		"no UTF-8":                {head + "data: {v: \"\xff\"}\n", "hostile.yaml"},
		"a tag of another kind":   {head + "data: {v: !!python/object:os.system one}\n", "hostile.yaml"},
		"a deep value":            {head + "data: " + strings.Repeat("[", 1000) + strings.Repeat("]", 1000), "nested deeper"},
		"a name that is a path":   {strings.Replace(head, "hostile", "../../etc/passwd", 1), "metadata.name"},
		"a namespace of a path":   {strings.Replace(head, "hostile", "a, namespace: ../b", 1), "metadata.namespace"},
		"a name that never ends":  {strings.Replace(head, "hostile", strings.Repeat("a", 1<<20), 1), "metadata.name"},
		"a link out":              {"root:secret-word:0:0\nvalue: [secret-word\n", "hostile.yaml"},
		"a value of another type": {head + "data: {v: {deep: secret-word}}\n", "data: "},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, map[string]string{"good.yaml": configMap("good", "1")})
			if name == "a link out" {
				w.must(os.WriteFile(outside, []byte(test.text), 0o600))
				w.must(os.Symlink(outside, w.path("hostile.yaml")))
			} else {
				w.write("hostile.yaml", test.text)
			}
			w.load(Options{})
			if w.data("good") != "1" || len(w.live) != 2 { // and the class that is built in
				t.Errorf("there are %v", w.names()[:min(5, len(w.live))])
			}
			w.wantProblem(test.want)
			for _, p := range w.problems {
				if strings.Contains(p.String(), "secret-word") || len(p.String()) > 4000 {
					t.Errorf("a problem says too much: %.3000s", p)
				}
			}
		})
	}
}

// TestA54OddButRight has what some editors write, which is as good as anything else.
func TestA54OddButRight(t *testing.T) {
	w := newWorld(t, map[string]string{
		"bom.yaml": "\ufeff" + configMap("bom", "1"), "crlf.yaml": strings.ReplaceAll(configMap("crlf", "1"), "\n", "\r\n"),
		"end.yaml":      strings.TrimSuffix(configMap("end", "1"), "\n"),
		"comments.yaml": strings.Repeat("# nothing\n", 100_000) + configMap("comments", "1"),
		"markers.yaml":  "%YAML 1.2\n---\n" + configMap("markers", "1") + "...\n",
	}).load(Options{})
	for _, name := range []string{"bom", "crlf", "end", "comments", "markers"} {
		if w.data(name) != "1" {
			t.Errorf("%s is not read: %v", name, w.problems)
		}
	}
	if len(w.problems) > 0 {
		t.Errorf("there are problems: %v", w.problems)
	}
}

// TestA54ManyDocuments reads a file with a million documents in which nothing is, and one with many that are wrong: it
// costs time that grows with the file and no more, and what is wrong is told once for each.
func TestA54ManyDocuments(t *testing.T) {
	var wrong strings.Builder
	const documents = 2000
	for i := range documents {
		fmt.Fprintf(&wrong, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: w%d}\ndta: {}\n", i)
	}
	w := newWorld(t, map[string]string{
		"empty.yaml": strings.Repeat("---\n", 1_000_000), "wrong.yaml": wrong.String(), "good.yaml": configMap("good", "1"),
	})
	begun := time.Now()
	w.load(Options{})
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if w.data("good") != "1" || len(w.problems) != documents {
		t.Errorf("there are %d objects and %d problems, want %d", len(w.live), len(w.problems), documents)
	}
}

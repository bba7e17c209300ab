package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// TestInput reads standard input, in both formats.
func TestInput(t *testing.T) {
	object := func(name string) string {
		return fmt.Sprintf(`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": %q}, "data": {"v": "1"}}`, name)
	}
	flow := `{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {v: "1"}}`
	wrong := "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: wrong}\ndta: {}\n"
	for name, test := range map[string]struct {
		text    string
		want    []string
		problem string
	}{
		"YAML":          {text: configMap("a", "1") + "---\n" + configMap("b", "1"), want: []string{"a", "b"}},
		"JSON":          {text: object("a") + "\n", want: []string{"a"}},
		"JSON values":   {text: object("a") + object("b"), want: []string{"a", "b"}},
		"JSON by tab":   {text: "{\n\t" + object("a")[1:], want: []string{"a"}},
		"YAML in flow":  {text: flow, want: []string{"a"}},
		"a wrong field": {text: configMap("a", "1") + wrong, want: []string{"a"}, problem: "<stdin>:11: ConfigMap"},
		"nothing":       {problem: "<stdin>: is empty"},
		"space":         {text: " \n", problem: "<stdin>: is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, map[string]string{"file.yaml": configMap("file", "1")})
			w.load(Options{Paths: []string{Input, w.dir, Input}, Input: strings.NewReader(test.text)})
			for _, want := range append([]string{"file"}, test.want...) {
				if w.data(want) != "1" {
					t.Errorf("%s is not read: %v", want, w.problems)
				}
			}
			if test.problem != "" {
				w.wantProblem(test.problem)
			} else if len(w.problems) > 0 {
				t.Errorf("there are problems: %v", w.problems)
			}
		})
	}
}

// TestInputThatFails has standard inputs that break off, do not end, and are not asked for.
func TestInputThatFails(t *testing.T) {
	w := newWorld(t, nil)
	w.load(Options{Paths: []string{Input}, Input: iotest.ErrReader(errors.New("broken pipe"))})
	w.wantProblem("<stdin>: cannot be read: broken pipe")
	w.load(Options{Paths: []string{Input}, Input: io.LimitReader(zeros{}, maxSize+2)})
	w.wantProblem("<stdin>: is larger than 64 MiB")

	open, _ := io.Pipe()
	src, err := New(Options{Paths: []string{Input}, Input: open})
	w.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := src.Load(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("an input that does not end: got %v", err)
	}
	if _, err := New(Options{Paths: []string{Input}}); err == nil || !strings.Contains(err.Error(), "cannot be watched") {
		t.Errorf("without an input: got %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestRootThatIsNoFile says that a root which cannot be read is an error.
func TestRootThatIsNoFile(t *testing.T) {
	w := newWorld(t, nil)
	mkfifo(t, w.path("pipe.yaml"))
	w.must(os.Symlink("pipe.yaml", w.path("link.yaml")))
	for _, path := range []string{w.path("pipe.yaml"), w.path("link.yaml"), os.DevNull} {
		if _, err := New(Options{Paths: []string{path}}); err == nil || !strings.Contains(err.Error(), "neither a file nor") {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

// TestRootThatLeadsElsewhere has roots in /proc, whose links say of what they lead to what is not a path here: each is
// read, or a problem.
func TestRootThatLeadsElsewhere(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("there is no /proc")
	}
	w := newWorld(t, map[string]string{"dir/a.yaml": configMap("a", "1"), "gone.yaml": configMap("gone", "1")})
	open := func(path string) string {
		f, err := os.Open(path)
		w.must(err)
		t.Cleanup(func() { _ = f.Close() })
		return fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	}
	gone := open(w.path("gone.yaml"))
	w.must(os.Remove(w.path("gone.yaml")))
	w.load(Options{Paths: []string{gone, open(w.path("dir"))}})
	if w.data("gone") != "1" || w.data("a") != "1" || len(w.problems) > 0 {
		t.Errorf("there are %v, problems %v", w.names(), w.problems)
	}
	// The pipe comes after the root was found to be a file.
	pipe, end, err := os.Pipe()
	w.must(err)
	t.Cleanup(func() { _, _ = pipe.Close(), end.Close() })
	w.write("root.yaml", configMap("a", "1"))
	src, err := New(Options{Paths: []string{w.path("root.yaml")}})
	w.must(err)
	w.must(os.Remove(w.path("root.yaml")))
	w.must(os.Symlink(fmt.Sprintf("/proc/self/fd/%d", pipe.Fd()), w.path("root.yaml")))
	b, err := src.Load(t.Context())
	w.must(err)
	w.apply(b)
	w.wantProblem("root.yaml: is not a regular file")
	if end, steps := resolve(w.path("root.yaml")); leads(w.path("root.yaml"), end) || !slices.Contains(steps, end) {
		t.Errorf("%s is followed to %s by %v", w.path("root.yaml"), filepath.Base(end), steps)
	}
}
